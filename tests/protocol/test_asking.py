"""Questions and replies between pods: their JSON, and what is none."""

from __future__ import annotations

import json

import pytest

from sanic_chat.errors import BadEnvelope
from sanic_chat.protocol.asking import (
    ID_DIGITS,
    MAX_REPLY_BYTES,
    encode_question,
    encode_reply,
    parse_question,
    parse_reply,
)

ID = "0123456789abcdef"


def test_a_question() -> None:
    """It tells its ID, its kind, and what the kind needs to know."""
    text = encode_question(ID, "rooms", {"limit": 7})
    assert json.loads(text) == {"id": ID, "kind": "rooms", "arguments": {"limit": 7}}
    question = parse_question(text)
    assert (question.id, question.kind) == (ID, "rooms")
    assert bytes(question.arguments) == b'{"limit":7}'
    assert len(ID) == ID_DIGITS


def test_a_reply() -> None:
    """It has the answer, which may be null; without one the pod can't tell."""
    assert parse_reply(encode_reply(ID, b"null")) == (ID, b"null")
    assert parse_reply(encode_reply(ID, b'{"a":[1]}')) == (ID, b'{"a":[1]}')
    assert json.loads(encode_reply(ID, None)) == {"id": ID}
    assert parse_reply(encode_reply(ID, None)) == (ID, None)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b'{"id":7}', b'{"id":"%b"}' % ID.encode(), b"[" * 100_000]
)
def test_what_is_no_question(text: bytes) -> None:
    with pytest.raises(BadEnvelope):
        parse_question(text)


def test_ids_of_questions() -> None:
    """They have one length."""
    with pytest.raises(BadEnvelope, match="17"):
        parse_question(encode_question(ID + "0", "rooms", {}))


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"id":7,"answer":1}', b"[" * 100_000])
def test_what_is_no_reply(text: bytes) -> None:
    with pytest.raises(BadEnvelope):
        parse_reply(text)


def test_answers_are_bounded() -> None:
    largest = b'"%b"' % (b"x" * (MAX_REPLY_BYTES - 2))
    assert parse_reply(encode_reply(ID, largest)) == (ID, largest)
    with pytest.raises(BadEnvelope, match="32769"):
        parse_reply(encode_reply(ID, b"%b " % largest[:-1] + b'"'))
