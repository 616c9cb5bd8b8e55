"""What a backend may say, to whom, and the envelope that it becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sanic_chat.errors import BadMessage
from sanic_chat.protocol.channels import RedisNames
from sanic_chat.protocol.envelope import parse_envelope
from sanic_chat.protocol.message import MESSAGE_OVERHEAD_BYTES
from sanic_chat.protocol.publication import Publication, make_publication, room_of

ID = "01a21e1a-17c0-77f1-8c93-3297a1a64900"


def make(room: str | None = "lobby", data: bytes = b"1", **fields: Any) -> Publication:
    return make_publication(
        RedisNames("realtime"), room, data, **{"max_message_bytes": 1024, **fields}
    )


def test_an_envelope() -> None:
    """It is the message whole, with an ID of its own, and of no pod: so every pod delivers it."""
    made = make("Caf\u0065\u0301", b'{"a" :1}')
    envelope = parse_envelope(made.payload)
    assert made.channel == "realtime:room:Caf\u00e9".encode()
    assert (envelope.id, envelope.pod_id, bytes(envelope.data)) == (made.id, "", b'{"a" :1}')
    assert (envelope.type, envelope.sender) == ("notification", "server")
    assert envelope.timestamp
    assert json.loads(made.payload)["room"] == "Caf\u00e9"


def test_everybody() -> None:
    made = make(None)
    assert made.channel == b"realtime:global"
    assert json.loads(made.payload)["room"] is None


def test_what_is_given() -> None:
    """Type, sender and ID are as they were given."""
    made = make(type="chat", sender='"anna"', id=ID)
    envelope = parse_envelope(made.payload)
    assert made.id == ID
    assert (envelope.id, envelope.type, envelope.sender) == (ID, "chat", '"anna"')


def test_ids_differ() -> None:
    assert len({make().id for _ in range(1000)}) == 1000


def test_a_user() -> None:
    """A user's room is written as pods write it, whatever is in the name."""
    assert room_of("auth0|5f7c") == "@auth0%7C5f7c"
    assert make(room_of("auth0|5f7c")).channel == b"realtime:room:@auth0%7C5f7c"


def test_the_largest() -> None:
    """What is allowed is never larger than a pod takes, whatever the room and the sender are."""
    made = make(room_of("\U0001f600" * 256), b'"' + b"x" * 1022 + b'"', sender="\x01" * 256)
    assert len(made.payload) <= 1024 + MESSAGE_OVERHEAD_BYTES


@pytest.mark.parametrize(
    ("code", "told", "wrong"),
    [
        ("bad_room", "a room name has 1 to 128", {"room": "a*b"}),
        ("bad_room", "a room name has 1 to 128", {"room": ""}),
        ("bad_room", "a room name has 1 to 128", {"room": 5}),
        ("bad_room", "name the user", {"room": "@me"}),
        ("bad_id", "is a UUID", {"id": "5"}),
        ("bad_id", "is a UUID", {"id": ""}),
        ("bad_message", "one of chat, presence", {"type": "shout"}),
        ("bad_message", "1 to 256 characters", {"sender": ""}),
        ("bad_message", "1 to 256 characters", {"sender": "x" * 257}),
        ("bad_message", "1 to 256 characters", {"sender": "\ud800"}),
        ("bad_message", "1 to 256 characters", {"sender": None}),
        ("bad_message", "1025 bytes as JSON; allowed are 1024", {"data": b"1" * 1025}),
    ],
)
def test_what_is_refused(code: str, told: str, wrong: dict[str, Any]) -> None:
    """In a sentence that says what is allowed."""
    with pytest.raises(BadMessage, match=told) as refusal:
        make(**wrong)
    assert refusal.value.code == code


@pytest.mark.parametrize("user", ["", "x" * 257, "\ud800", None, 5])
def test_no_user(user: Any) -> None:
    with pytest.raises(BadMessage, match="text of 1 to 256 characters") as refusal:
        room_of(user)
    assert refusal.value.code == "bad_room"
