"""The fan-out: `deliver`, and the loop turns until everybody has it, with real sessions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from sanic_chat.hub.channel import Channel
from sanic_chat.hub.hub import Hub
from sanic_chat.session.session import Session
from sanic_chat.websocket.frames import text_frame
from tests.support.sessions import RecordingHandler

from .transports import NullTransport

FRAME = text_frame(
    b'{"id":"0","type":"chat","room":"r","from":"me","data":"%b","timestamp":"now"}' % (b"x" * 64)
)


@pytest.mark.parametrize("messages", [1, 16])
@pytest.mark.parametrize("members", [1, 100, 1000])
def test_flush(benchmark: Any, members: int, messages: int) -> None:
    soon: deque[Callable[[], None]] = deque()
    hub = Hub(
        call_soon=soon.append,
        everyone=Channel(b"global", None, b"null"),
        write_messages=128,
        write_bytes=2**19,
    )
    room = Channel(b"room", "room", b'"room"')
    handler = RecordingHandler()
    transports = [NullTransport() for _ in range(members)]
    for transport in transports:
        session = Session(handler, client_id="me")
        session.connection_made(transport)
        hub.add(session)
        assert hub.join(session, room)

    def turn() -> None:
        for _ in range(messages):
            hub.deliver(room, FRAME)
        while soon:
            soon.popleft()()

    benchmark(turn)
    turns, rest = divmod(hub.deliveries, members * messages)
    assert (rest, {transport.writes for transport in transports}) == (0, {turns})
