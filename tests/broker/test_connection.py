"""One socket to Redis on its own: how its bytes become replies, however they come."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sanic_chat.broker.connection import FEED_BYTES, Connection, Reply

from ..support.clients import resp

REPLIES: list[Reply] = [
    [b"message", b"a channel", b"x" * size] for size in (300, 1, FEED_BYTES, 0, 3 * FEED_BYTES)
] * 3 + [[b"message", b"a channel", b"%d" % number] for number in range(FEED_BYTES // 10)]
REPLIES += [1, 0, 2]  # 0 is what hiredis says of itself when there is none, nearly: False


class Owner:
    """Keeps the replies of a connection."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []

    def replies_received(self, replies: list[Reply]) -> None:
        self.replies += replies

    def link_writable(self) -> None: ...

    def link_unwritable(self) -> None: ...


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Connection, Owner]]:
    """A connection to a Redis that says nothing by itself, and its handler."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with theirs:
        transport, connection = await loop.create_connection(lambda: Connection(loop), sock=ours)
        handler = Owner()
        connection.hand_over(handler)
        try:
            yield connection, handler
        finally:
            transport.abort()
            await connection.lost


@pytest.mark.parametrize(
    "chunk", [7, FEED_BYTES - 1, FEED_BYTES, FEED_BYTES + 1, 2**24], ids="{} bytes".format
)
async def test_replies_do_not_depend_on_the_chunks(chunk: int) -> None:
    stream = b"".join(map(resp, REPLIES))
    async with connected() as (connection, handler):
        for start in range(0, len(stream), chunk):
            connection.data_received(stream[start : start + chunk])
        assert handler.replies == REPLIES
        assert not connection.lost.done()


async def test_what_comes_before_garbage_counts() -> None:
    """Also when both are in one chunk, and far apart."""
    async with connected() as (connection, handler):
        connection.data_received(b"".join(map(resp, REPLIES)) + b"garbage\r\n" + resp(b"lost"))
        assert handler.replies == REPLIES
        await asyncio.wait_for(connection.lost, 10)
        assert connection.reason.startswith("not RESP")
