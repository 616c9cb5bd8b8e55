"""Presence between pods: the JSON of each kind of words, its bounds, and what is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from sanic_chat.errors import BadEnvelope
from sanic_chat.protocol.control import MAX_CONTROL_BYTES
from sanic_chat.protocol.envelope import MAX_POD_ID_CHARACTERS
from sanic_chat.protocol.info import MAX_INFO_BYTES
from sanic_chat.protocol.personal_room import MAX_USER_CHARACTERS
from sanic_chat.protocol.presence import (
    ENVELOPE_BYTES,
    MAX_HOLD_MS,
    MAX_WORDS_BYTES,
    Canary,
    Info,
    Member,
    Numbers,
    Parts,
    Stream,
    Want,
    encode,
    read_canary,
    read_parts,
    read_stream,
    read_want,
    size_of,
)

READERS = [read_stream, read_canary, read_want, read_parts]
MEMBERS = [
    Member("anna", 2),
    Member("bert", 0, 750, "kicked"),
    Member("carl", 1, info=Info.of("1", b'{"a":1}')),
]


@pytest.mark.parametrize(
    ("words", "text", "read"),
    [
        (
            Stream(7, watching=True, watch=["a"], req=3, changes={"b": [Member("anna", 1)]}),
            '{"n":7,"watching":true,"watch":["a"],"req":3,'
            '"changes":{"b":[["anna",1,0,"left",null]]}}',
            read_stream,
        ),
        (Stream(7), '{"n":7}', read_stream),
        (
            Stream(8, first=["a"], unwatch=["b"], changes={"c": Numbers(5, 4)}, leaving=True),
            '{"n":8,"unwatch":["b"],"first":["a"],"changes":{"c":{"sessions":5,"users":4}},'
            '"leaving":true}',
            read_stream,
        ),
        (
            Stream(9, forgot=["pod"], came={"a": ["anna", "bert"]}),
            '{"n":9,"forgot":["pod"],"came":{"a":["anna","bert"]}}',
            read_stream,
        ),
        (Canary(7, True), '{"n":7,"watching":true}', read_canary),
        (Want(3, ["a", "b"]), '{"req":3,"rooms":["a","b"]}', read_want),
        (
            Parts(7, 3, {"a": MEMBERS, "b": []}),
            '{"n":7,"req":3,"rooms":{"a":[["anna",2,0,"left",null],["bert",0,750,"kicked",null],'
            '["carl",1,0,"left",["1",{"a":1}]]],"b":[]}}',
            read_parts,
        ),
    ],
)
def test_words(words: Any, text: str, read: Callable[[bytes], Any]) -> None:
    assert encode(words).decode() == text
    assert read(text.encode()) == words


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"7", b"{}", b'{"n":"7","req":"1","rooms":[]}', b"\xff", b"[" * 100_000,
     b'{"n":1,"req":1,"rooms":7,"watching":7,"changes":7}'],
)  # fmt: skip
def test_what_is_none(read: Callable[[bytes], Any], text: bytes) -> None:
    """It is refused with a sentence that says what it was taken for."""
    with pytest.raises(BadEnvelope, match=r"^(stream|canary|want|parts): \w+"):
        read(text)


@pytest.mark.parametrize(
    "member",
    ['["anna"]', '["anna","1"]', "[1,1]", '["anna",1,0,"bored"]', '["anna",1,0,"left",[]]'],
)
def test_what_is_no_member(member: str) -> None:
    with pytest.raises(BadEnvelope):
        read_parts(b'{"n":1,"req":1,"rooms":{"a":[%b]}}' % member.encode())


@pytest.mark.parametrize("number", ["-1", "1e3", "1.5", "9007199254740993", "1" + "0" * 30, '"1"'])
def test_what_is_no_number(number: str) -> None:
    """A number that is none, or that no JSON library counts on with, is refused, wherever."""
    for read, text in (
        (read_canary, '{"n":%s}'),
        (read_stream, '{"n":%s}'),
        (read_stream, '{"n":1,"req":%s}'),
        (read_stream, '{"n":1,"changes":{"a":[["anna",%s]]}}'),
        (read_stream, '{"n":1,"changes":{"a":[["anna",0,%s]]}}'),
        (read_stream, '{"n":1,"changes":{"a":{"sessions":%s,"users":1}}}'),
        (read_parts, '{"n":1,"req":1,"rooms":{"a":{"sessions":1,"users":%s}}}'),
        (read_want, '{"req":%s,"rooms":[]}'),
    ):
        with pytest.raises(BadEnvelope):
            read((text % number).encode())


@pytest.mark.parametrize(
    ("user", "hold_ms"),
    [("", 0), ("x" * (MAX_USER_CHARACTERS + 1), 0), ("anna", MAX_HOLD_MS + 1)],
)
def test_what_no_pod_says(user: str, hold_ms: int) -> None:
    """There is no such user, and no such drain; clients are told of neither."""
    member = [user, 1, hold_ms]
    with pytest.raises(BadEnvelope):
        read_parts(msgspec.json.encode({"n": 1, "req": 1, "rooms": {"a": [member]}}))


def test_the_longest() -> None:
    """What a token may say is read."""
    info = Info.of("1", b'{"a":"%b"}' % (b"x" * (MAX_INFO_BYTES - 8)))
    member = Member("\N{PILE OF POO}" * MAX_USER_CHARACTERS, 1, MAX_HOLD_MS, "lost", info)
    parts = Parts(1, 1, {"a": [member]})
    assert read_parts(encode(parts)) == parts


def test_keys_of_a_later_version() -> None:
    """They are ignored."""
    assert read_canary(b'{"n":1,"mood":"good"}') == Canary(1)


def test_a_canary_of_a_pod_without_presence() -> None:
    """It says nothing, which is none."""
    with pytest.raises(BadEnvelope):
        read_canary(b"{}")


@pytest.mark.parametrize("character", ["x", "é", '"', "\x00", "\N{PILE OF POO}"])
def test_sizes(character: str) -> None:
    """A member takes at most what is reckoned, and so does an envelope without its rooms."""
    info = Info.of("1" * 36, json.dumps({"name": "i" * 240}).encode())
    for user in ("", 256 * character):
        for each in (None, info):
            member = Member(user, 10**9, MAX_HOLD_MS, "drained", each)
            assert len(encode(member)) < size_of(user, each)
    lists = ',"watch":[],"unwatch":[],"first":[],"forgot":[],"came":{},"changes":{}'
    stream = Stream(10**12, watching=True, req=10**12, in_use_ms=60_000, leaving=True)
    assert len(encode(stream)) + len(lists) < ENVELOPE_BYTES
    assert MAX_WORDS_BYTES + MAX_POD_ID_CHARACTERS * 6 < MAX_CONTROL_BYTES


def test_an_info_does_not_keep_its_envelope() -> None:
    """Its bytes are a copy."""
    envelope = b'{"n":1,"req":1,"rooms":{"a":[["anna",1,0,"left",["1",{"a":1}]]]}}'
    [member] = read_parts(envelope).rooms["a"]
    copy = Info.of(member.info.client_id, member.info.content)
    assert copy == member.info
    assert isinstance(copy.content, msgspec.Raw)
    assert bytes(copy.content) == b'{"a":1}'
