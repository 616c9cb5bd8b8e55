"""TCP proxies in front of a Redis, each in a thread of its own: what a bad network does."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from typing import Any, Self

from .harness import DEADLINE

DRIBBLE_BYTES = 64
DRIBBLE_SECONDS = 0.002


class ProxyThread:
    """Accepts connections on a port of loopback; what becomes of them is a subclass's business."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.connections = 0
        """How many connections were accepted so far."""
        self.port = 0
        self.tls = tls
        self._open: dict[asyncio.StreamWriter, Any] = {}
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listening.wait(DEADLINE)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()

    def cut(self) -> None:
        """End every connection there is."""
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for writer in tuple(self._open):
            writer.transport.abort()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        await self._listen()
        self._listening.set()
        await self._stop.wait()
        self._server.close()
        self._cut()
        async with asyncio.timeout(DEADLINE):
            while self._open:
                await asyncio.sleep(0.01)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class Direction(Enum):
    TO_REDIS = "to Redis"
    FROM_REDIS = "from Redis"


class TcpProxy(ProxyThread):
    """Passes bytes on between pods and a Redis, until it is told to do worse."""

    def __init__(self, redis_port: int) -> None:
        super().__init__()
        self.redis_port = redis_port
        """Where new connections go; those there are stay where they are."""
        self._flows = {direction: asyncio.Event() for direction in Direction}
        for flow in self._flows.values():
            flow.set()
        self._dribbles: Direction | None = None
        self._swallows = False
        self._silenced: set[asyncio.StreamWriter] = set()

    @contextmanager
    def stalled(self, direction: Direction) -> Iterator[None]:
        """What goes in that direction waits, and goes on afterwards."""
        self._loop.call_soon_threadsafe(self._flows[direction].clear)
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._flows[direction].set)

    @contextmanager
    def dribbling(self, direction: Direction) -> Iterator[None]:
        """What goes in that direction does so in bits, at some 30 kB/s a connection."""
        self._dribbles = direction
        try:
            yield
        finally:
            self._dribbles = None

    @contextmanager
    def swallowing(self) -> Iterator[None]:
        """Connections live, new ones are accepted, and nothing that is sent on them arrives; what
        there is of them afterwards stays silent for ever."""
        self._swallows = True
        try:
            yield
        finally:
            self.silence()
            self._loop.call_soon_threadsafe(setattr, self, "_swallows", False)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """All connections are reset, and new ones refused."""
        asyncio.run_coroutine_threadsafe(self._refuse(), self._loop).result(DEADLINE)
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(DEADLINE)

    def silence(self) -> None:
        """The connections there are stay up, and never carry anything again; new ones do."""
        self._loop.call_soon_threadsafe(lambda: self._silenced.update(self._open))

    async def _refuse(self) -> None:
        self._server.close()
        self._cut()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open[writer] = None
        try:
            answers, redis = await asyncio.open_connection("127.0.0.1", self.redis_port)
        except OSError:
            writer.transport.abort()
            del self._open[writer]
            return
        pumps = [
            asyncio.create_task(self._pump(reader, redis, Direction.TO_REDIS, writer)),
            asyncio.create_task(self._pump(answers, writer, Direction.FROM_REDIS, writer)),
        ]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        await asyncio.wait(pumps)
        for stream in (redis, writer):
            stream.transport.abort()
            with suppress(OSError):
                await stream.wait_closed()
        self._silenced.discard(writer)
        del self._open[writer]

    async def _pump(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        direction: Direction,
        connection: asyncio.StreamWriter,
    ) -> None:
        """Pass bytes on until one side ends."""
        with suppress(OSError):
            while data := await source.read(65536):
                await self._flows[direction].wait()
                if self._swallows or connection in self._silenced:
                    continue
                step = DRIBBLE_BYTES if self._dribbles is direction else len(data)
                for start in range(0, len(data), step):
                    target.write(data[start : start + step])
                    await target.drain()
                    if step == DRIBBLE_BYTES:
                        await asyncio.sleep(DRIBBLE_SECONDS)
