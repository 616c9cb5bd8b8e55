"""A small TCP load balancer in a process of its own: least connections, among who is ready.

It asks each server's `/ready` at even intervals, and sends nobody to one that does not say 200.
Connections that are there stay, whatever it says.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import cast

import uvloop

READY = b"GET /api/chat-api/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
START_SECONDS = 10.0


class Balancer:
    """Listens on `port` from `start` to `close`."""

    def __init__(self, ports: list[int], *, check_seconds: float) -> None:
        self.port = 0
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(
            target=_balance, args=(ports, check_seconds, theirs), daemon=True
        )

    def start(self) -> None:
        """Start the process, and wait until it listens."""
        self._process.start()
        if not self._ours.poll(START_SECONDS):
            raise RuntimeError("the balancer does not start")
        self.port = self._ours.recv()

    def ready_ports(self) -> set[int]:
        """The servers that new connections go to, by now."""
        self._ours.send(None)
        ports: set[int] = self._ours.recv()
        return ports

    def close(self) -> None:
        """Kill it, and all connections with it."""
        self._process.kill()
        self._process.join()


class _Server:
    def __init__(self, port: int) -> None:
        self.port = port
        self.is_ready = False
        self.connections = 0

    async def check(self, seconds: float) -> None:
        while True:
            self.is_ready = await self._answers(seconds)
            await asyncio.sleep(seconds)

    async def _answers(self, seconds: float) -> bool:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(max(seconds, 1)):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(READY)
                answer = await reader.read(64)
                writer.close()
                return answer.startswith(b"HTTP/1.1 200 ")
        return False


class _End(asyncio.Protocol):
    """One end of a connection through the balancer; what comes in goes out at the other."""

    def __init__(self) -> None:
        self.other: _End | None = None
        self.transport: asyncio.Transport | None = None
        self._early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.other is None or self.other.transport is None:
            self._early += data
        else:
            self.other.transport.write(data)

    def join(self, other: _End) -> None:
        """Have `other` for the other end, which is connected."""
        self.other, other.other = other, self
        assert other.transport is not None
        if self.transport is None or self.transport.is_closing():
            other.transport.close()
        else:
            other.transport.write(self._early)

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class _ClientEnd(_End):
    """The end at the client: chooses a server, and counts as its connection."""

    def __init__(self, servers: list[_Server]) -> None:
        super().__init__()
        self._servers = servers
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        ready = [server for server in self._servers if server.is_ready]
        if not ready:
            transport.close()
            return
        self._server = min(ready, key=lambda server: server.connections)
        self._server.connections += 1
        self._task = asyncio.create_task(self._connect(self._server))

    async def _connect(self, server: _Server) -> None:
        try:
            _, end = await asyncio.get_running_loop().create_connection(
                _End, "127.0.0.1", server.port
            )
        except OSError:
            assert self.transport is not None
            self.transport.close()
        else:
            self.join(end)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._server is not None:
            self._server.connections -= 1


def _balance(ports: list[int], check_seconds: float, pipe: Connection) -> None:
    servers = [_Server(port) for port in ports]

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        checks = [loop.create_task(server.check(check_seconds)) for server in servers]
        listening = await loop.create_server(
            lambda: _ClientEnd(servers), "127.0.0.1", 0, backlog=4096
        )

        def answer() -> None:
            pipe.recv()
            pipe.send({server.port for server in servers if server.is_ready})

        loop.add_reader(pipe.fileno(), answer)
        pipe.send(listening.sockets[0].getsockname()[1])
        await asyncio.gather(*checks)

    uvloop.run(serve())
