"""The words in which the cluster is told of."""

from __future__ import annotations

import time

import msgspec

from sanic_chat.protocol.cluster import MAX_NAMED_ROOMS_BYTES, name_rooms, since
from sanic_chat.protocol.stamp import Stamper


def test_since() -> None:
    """A client ID tells its own moment, as the timestamp of a message made with it does."""
    stamper = Stamper()
    for _ in range(3):
        id, timestamp = stamper.stamp()
        assert since(id.decode()) == timestamp.decode()
        time.sleep(0.002)
    assert since("019c2b0e-0000-7000-8000-000000000000") == "2026-02-04T23:47:43.744Z"


def test_names_of_rooms_are_bounded() -> None:
    """Of a session in rooms with long names the first are told, and how many more there are."""
    assert name_rooms(["a", "b"]) == (["a", "b"], 0)
    assert name_rooms([]) == ([], 0)
    many = [f"{number:03}{'ä' * 100}" for number in range(128)]
    named, more = name_rooms(many)
    assert named == many[: len(named)]
    assert (len(named) + more, more > 0) == (128, True)
    assert len(msgspec.json.encode(named)) <= MAX_NAMED_ROOMS_BYTES
