"""Requests of backends: what may be in one, and what is said of one that is wrong."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from sanic_chat.errors import MAX_SENTENCE_CHARACTERS, ApiRefused
from sanic_chat.protocol.api import MAX_MESSAGES, RoomsParameters, encode
from sanic_chat.protocol.api_requests import (
    Post,
    parse_disconnect,
    parse_drain,
    parse_posts,
    parse_query,
)

LARGEST = 1000


def parsed(body: Any) -> tuple[list[Post], bool]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_posts(content, max_message_bytes=LARGEST)


def refusal(body: Any) -> ApiRefused:
    with pytest.raises(ApiRefused) as raised:
        parsed(body)
    assert raised.value.__cause__ is None
    assert len(raised.value.message) <= MAX_SENTENCE_CHARACTERS
    return raised.value


@pytest.mark.parametrize(
    ("target", "rooms"),
    [
        ({"room": "lobby"}, ["lobby"]),
        ({"room": "@anna"}, ["@anna"]),
        ({"room": "e\u0301"}, ["é"]),
        ({"rooms": ["a", "b", "a", "e\u0301", "é"]}, ["a", "b", "é"]),
        ({"user": "auth0|5f7c"}, ["@auth0%7C5f7c"]),
        ({"user": "e\u0301"}, ["@e%CC%81"]),
        ({"global": True}, [None]),
        ({"global": False, "room": "lobby"}, ["lobby"]),
    ],
)
def test_whom_it_is_for(target: dict[str, Any], rooms: list[str | None]) -> None:
    """Names are normalised and each room counts once; a user is nobody but himself."""
    [post], are_many = parsed({"data": 1, **target})
    assert (post.rooms, are_many) == (rooms, False)


def test_data_is_left_alone() -> None:
    """Its bytes are those of the request."""
    [post], _ = parsed(b'{"room":"a", "data":  {"b" :\t[1.0,"\\u00e9"]} }')
    assert bytes(post.message.data) == b'{"b" :\t[1.0,"\\u00e9"]}'


def test_what_may_be_left_out() -> None:
    """Without more it is as if the server had something to say."""
    [post], _ = parsed({"room": "a", "data": 1})
    assert (post.message.type, post.message.sender) == ("notification", "server")
    assert post.message.id is msgspec.UNSET


def test_an_array() -> None:
    """The messages keep their order, and one in an array is many."""
    posts, are_many = parsed([{"room": name, "data": 1} for name in "cab"])
    assert ([post.rooms for post in posts], are_many) == ([["c"], ["a"], ["b"]], True)
    assert parsed([{"room": "a", "data": 1}])[1] is True
    assert len(parsed([{"room": "a", "data": 1}] * MAX_MESSAGES)[0]) == MAX_MESSAGES


GOOD = {"room": "a", "data": 1}


@pytest.mark.parametrize(
    ("body", "status", "code", "sentence"),
    [
        (b"", 400, "bad_json", "The body is no JSON: "),
        (b"{", 400, "bad_json", "The body is no JSON: "),
        (b"data=1", 400, "bad_json", "The body is no JSON: "),
        (b'{"room":"a","data":"\xff"}', 400, "bad_json", "The body is not UTF-8"),
        (b'{"room":"a","data":' + b"[" * 60_000, 400, "bad_json", "The JSON is nested too deeply"),
        (b"[" * 9000, 400, "bad_body", "Expected `"),
        ("x", 400, "bad_body", "Expected `object | array`, got `str`; it is like {"),
        (None, 400, "bad_body", "Expected `object | array`, got `null`"),
        ([1], 400, "bad_body", "Expected `object`, got `int` - at `$[0]`; it is like"),
        ({}, 400, "bad_body", "Object missing required field `data`"),
        (GOOD | {"rom": 1}, 400, "bad_body", "Object contains unknown field `rom`"),
        (GOOD | {"room": 1}, 400, "bad_body", "Expected `str`, got `int` - at `$.room`"),
        (GOOD | {"type": "x"}, 400, "bad_body", "Invalid enum value 'x' - at `$.type`"),
        (GOOD | {"from": ""}, 400, "bad_body", "Expected `str` of length >= 1 - at `$.from`"),
        (GOOD | {"from": "x" * 257}, 400, "bad_body", "Expected `str` of length <= 256"),
        ({"user": "", "data": 1}, 400, "bad_body", "Expected `str` of length >= 1"),
        (GOOD | {"id": "x"}, 400, "bad_id", "The message has an id that is no UUID"),
        (GOOD | {"id": ""}, 400, "bad_id", "The message has an id that is no UUID"),
        ([GOOD, GOOD | {"id": "x"}], 400, "bad_id", "Message 2 has an id that is no UUID"),
        (GOOD | {"room": "<b>"}, 400, "bad_room", "The message is for '<b>'. Not a room name"),
        (GOOD | {"room": "@me"}, 400, "bad_room", "The message is for '@me'. @me is the room of"),
        (GOOD | {"room": ""}, 400, "bad_room", "The message is for ''"),
        ({"rooms": ["a", "?" * 999], "data": 1}, 400, "bad_room", "The message is for '????"),
        ({"user": "me", "data": 1}, 400, "bad_room", "The message is for '@me'"),
        ({"data": 1}, 400, "bad_body", "The message is for nobody, or for too many"),
        ({"global": False, "data": 1}, 400, "bad_body", "The message is for nobody"),
        (GOOD | {"global": True}, 400, "bad_body", "The message is for nobody, or for too"),
        (GOOD | {"user": "b"}, 400, "bad_body", "The message is for nobody, or for too many"),
        ([], 400, "bad_body", "A request has 1 to 100 messages"),
        ({"rooms": [], "data": 1}, 400, "bad_body", "A request has 1 to 100 messages"),
        ([GOOD] * 101, 400, "too_many_messages", "A request has 1 to 100 messages"),
        (
            [{"rooms": [*map(str, range(60))], "data": 1}] * 2,
            400,
            "too_many_messages",
            "A request has 1 to 100 messages, of which one for several rooms counts for each of "
            "them; this one has 120",
        ),
        (
            [GOOD, GOOD | {"data": "x" * LARGEST}],
            413,
            "message_too_large",
            "Message 2 has 1002 bytes of data; allowed are 1000 (CHAT_MAX_MESSAGE_BYTES)",
        ),
    ],
)
def test_what_is_no_message(body: Any, status: int, code: str, sentence: str) -> None:
    """It is said what is wrong, where, and what is allowed."""
    found = refusal(body)
    assert (found.status, found.code) == (status, code)
    assert found.message.startswith(sentence)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("", RoomsParameters()),
        ("prefix=&after=&limit=100", RoomsParameters()),
        ("prefix=a%2Fb+c&after=%C3%A9&limit=1", RoomsParameters("a/b c", "é", 1)),
        ("limit=1000", RoomsParameters(limit=1000)),
        ("prefix=10&after=null", RoomsParameters("10", "null")),
    ],
)
def test_queries(text: str, query: RoomsParameters) -> None:
    """Names and values are percent-decoded, and only numbers become some."""
    assert parse_query(text, RoomsParameters) == query


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("limit=0", "Expected `int` >= 1 - at `$.limit`"),
        ("limit=1001", "Expected `int` <= 1000 - at `$.limit`"),
        ("limit=ten", "Expected `int`, got `str` - at `$.limit`"),
        ("limit=", "Expected `int`, got `str` - at `$.limit`"),
        ("limit=1&limit=2", "one name stands there twice"),
        ("first=1", "Object contains unknown field `first`"),
        ("prefix=%ff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (f"after={'x' * 3074}", "Expected `str` of length <= 3073 - at `$.after`"),
        ("&".join(f"a{number}=" for number in range(11)), "Max number of fields exceeded"),
    ],
)
def test_bad_queries(text: str, why: str) -> None:
    """It is said what is wrong, and which names there are."""
    with pytest.raises(ApiRefused) as raised:
        parse_query(text, RoomsParameters)
    assert (raised.value.status, raised.value.code) == (400, "bad_query")
    assert raised.value.message == (
        f"The query cannot be read: {why}; it may have prefix, after, limit"
    )


@pytest.mark.parametrize(
    "body",
    [
        b'{"user": "anna"}',
        b'{"user": "anna", "code": 4999, "reason": "bye", "except": ["a"], "revoke": true}',
        b'{"client_id": "019c2b0e-0000-7000-8000-000000000000", "code": 4000}',
    ],
)
def test_whom_to_disconnect(body: bytes) -> None:
    """What is read is what was written, with 4000 for no code."""
    assert json.loads(encode(parse_disconnect(body))) == {
        "code": 4000,
        "reason": "",
        "except": [],
        "revoke": False,
    } | json.loads(body)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({}, 'Allowed is one of "user" and "client_id"'),
        ({"user": "a", "client_id": "b"}, 'Allowed is one of "user" and "client_id"'),
        ({"client_id": "b", "revoke": True}, '"revoke" and "except" go with "user" only'),
        ({"client_id": "b", "except": ["a"]}, '"revoke" and "except" go with "user" only'),
        ({"user": "a", "code": 3999}, "Expected `int` >= 4000 - at `$.code`; it is like {"),
        ({"user": "a", "code": 5000}, "Expected `int` <= 4999 - at `$.code`"),
        ({"user": "a", "reason": "x" * 124}, "Expected `str` of length <= 123 - at `$.reason`"),
        ({"user": "a", "except": ["x"] * 101}, "Expected `array` of length <= 100"),
        ({"user": ""}, "Expected `str` of length >= 1 - at `$.user`"),
        ({"user": "a", "room": "b"}, "Object contains unknown field `room`"),
        ([], "Expected `object`, got `array`"),
    ],
)
def test_whom_not_to_disconnect(body: Any, why: str) -> None:
    with pytest.raises(ApiRefused) as raised:
        parse_disconnect(json.dumps(body).encode())
    assert (raised.value.status, raised.value.code) == (400, "bad_body")
    assert raised.value.message.startswith(why)


def test_what_to_drain() -> None:
    assert parse_drain(b'{"pod_id": "web-1"}').pod_id == "web-1"
    for body in (b"{}", b'{"pod_id": ""}', b'{"pod_id": "a", "force": true}'):
        with pytest.raises(ApiRefused) as raised:
            parse_drain(body)
        assert raised.value.code == "bad_body"
