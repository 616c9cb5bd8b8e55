"""The fan-out: `deliver` and the flush at the end of a loop turn, with real sessions."""

from __future__ import annotations

from typing import Any

import pytest

from sanic_chat.hub import Hub
from sanic_chat.room import Room
from sanic_chat.session import Session
from tests.sessions import RecordingOwner

from .conftest import NullTransport

MESSAGE = b'{"id":"0","type":"chat","room":"r","from":"me","data":"%b","timestamp":"now"}' % (
    b"x" * 64
)


@pytest.mark.parametrize("messages", [1, 16])
@pytest.mark.parametrize("members", [1, 100, 1000])
def test_flush(benchmark: Any, members: int, messages: int) -> None:
    hub = Hub(call_soon=lambda callback: None, everyone=Room(b"global", None, b"null"))
    room = Room(b"room", "room", b'"room"')
    owner = RecordingOwner()
    transports = [NullTransport() for _ in range(members)]
    for transport in transports:
        session = Session(owner, sender=b'"me"')
        session.connection_made(transport)
        hub.add(session)
        assert hub.join(session, room)

    def turn() -> None:
        for _ in range(messages):
            hub.deliver(room, MESSAGE)
        hub.flush()

    benchmark(turn)
    turns, rest = divmod(hub.deliveries, members * messages)
    assert (rest, {transport.writes for transport in transports}) == (0, {turns})
