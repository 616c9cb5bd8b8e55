"""Receipts: asked for, counted by Redis, and told to a client that takes them at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sanic_chat.hub.channel import Channel
from sanic_chat.pod.notifier import Notifier
from sanic_chat.pod.receipts import Receipts
from sanic_chat.protocol.stamp import Stamper
from sanic_chat.session.session import Session
from tests.support.sessions import RecordingHandler

from .transports import NullTransport

ID = b"019c2b0e-0000-7000-8000-000000000000"
BATCH = 1000


@pytest.mark.parametrize("at_once", [1, 16, 128])
def test_tell(benchmark: Any, loop: asyncio.AbstractEventLoop, at_once: int) -> None:
    """1 000 receipts, of which so many are answered in one loop turn."""
    room = Channel(b"realtime:room:bench", "bench", b'"bench"')
    transport = NullTransport()
    session = Session(RecordingHandler(), client_id="me")
    session.connection_made(transport)
    room.members[session] = None
    receipts = Receipts(
        loop, Notifier(Stamper()), is_subscribed=lambda name: True, queue_messages=256
    )

    async def tell() -> None:
        for _ in range(BATCH // at_once):
            asked = [receipts.ask(session, ID, room) for _ in range(at_once)]
            for one in asked:
                one.on_published(2)
            await asyncio.sleep(0)

    benchmark(lambda: loop.run_until_complete(tell()))
    assert transport.writes % (BATCH // at_once) == 0
    assert transport.writes
