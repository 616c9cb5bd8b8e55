"""A Redis inside the test, over which it has full power, and a loop whose clock it sets.

It freezes, answers one command at a time, forbids channels, and dies in the middle of anything, all
without a process, a socket or a moment's waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import hiredis

from sanic_chat.broker.endpoint import Endpoint

from .clients import resp

P = TypeVar("P", bound=asyncio.BaseProtocol)


class ClockedLoop(asyncio.SelectorEventLoop):
    """An event loop in which time passes only when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 1000.0

    def time(self) -> float:
        return self._now

    def turns(self, count: int = 1) -> None:
        """Run what is due, so often."""

        async def turn() -> None:
            for _ in range(count):
                await asyncio.sleep(0)

        self.run_until_complete(turn())

    def pass_(self, seconds: float, *, step: float = 0.25) -> None:
        """Let time pass, with turns in between."""
        until = self._now + seconds
        while self._now < until:
            self._now = min(until, self._now + step)
            self.turns(8)


class ModelRedis:
    """The server."""

    def __init__(self, loop: ClockedLoop) -> None:
        self.is_up = True
        self.is_frozen = False
        self.forbidden: set[bytes] = set()
        """Channels that nobody may subscribe to."""
        self.published: list[tuple[bytes, bytes]] = []
        """The channels and payloads that it has passed on."""
        self._loop = loop
        self._connections: list[ModelConnection] = []
        self._is_due = False

    def endpoint(self) -> ModelEndpoint:
        """The way to it, for a pod."""
        return ModelEndpoint(self)

    def connect(self, protocol: asyncio.Protocol) -> None:
        """Take a new client."""
        if not self.is_up:
            raise ConnectionRefusedError("connection refused")
        connection = ModelConnection(self, protocol)
        self._connections.append(connection)
        protocol.connection_made(connection)

    # -- what the test does to it ----------------------------------------------------------

    def die(self) -> None:
        """All connections are lost; answers on their way with them."""
        self.is_up = False
        for connection in tuple(self._connections):
            connection.abort()

    def execute(self, count: int, *, answers: bool = True) -> None:
        """Execute so many of the waiting commands of each client; have the answers lost, or not."""
        for connection in tuple(self._connections):
            connection.execute(count, answers=answers)

    def thaw(self) -> None:
        """Execute what waits, and all that comes, soon after it has come."""
        self.is_frozen = False
        self.soon()

    # -- what its clients cause ------------------------------------------------------------

    def soon(self) -> None:
        """Execute what waits in the next turn, unless it is frozen."""
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._is_due = False
        if not self.is_frozen:
            self.execute(10**6)

    def drop(self, connection: ModelConnection) -> None:
        """Forget a client."""
        if connection in self._connections:
            self._connections.remove(connection)

    def answer(self, client: ModelConnection, command: list[bytes]) -> bytes:
        """Execute a command; return its answer."""
        name, *words = command
        match name:
            case b"HELLO":
                return resp([b"server", b"redis", b"proto", 2, b"mode", b"standalone"])
            case b"ROLE":
                return resp([b"master", 0, []])
            case b"CLIENT":
                return b"+OK\r\n"
            case b"PING" if client.channels:
                return resp([b"pong", words[0] if words else b""])
            case b"PING":
                return resp(words[0]) if words else b"+PONG\r\n"
            case b"PUBLISH":
                return resp(self._publish(*words))
            case b"SUBSCRIBE" if self.forbidden.intersection(words):
                return b"-NOPERM No permissions to access a channel\r\n"
            case b"SUBSCRIBE" | b"UNSUBSCRIBE":
                change = client.channels.add if name == b"SUBSCRIBE" else client.channels.discard
                replies = b""
                for channel in words:
                    change(channel)
                    replies += resp([name.lower(), channel, len(client.channels)])
                return replies
        raise AssertionError(f"a command that it does not know: {command}")

    def _publish(self, channel: bytes, payload: bytes) -> int:
        self.published.append((channel, payload))
        heard = [each for each in self._connections if channel in each.channels]
        for connection in heard:
            connection.say(resp([b"message", channel, payload]))
        return len(heard)


class ModelConnection(asyncio.Transport):
    """The server's end of a connection, and the client's transport."""

    def __init__(self, redis: ModelRedis, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.channels: set[bytes] = set()
        self._redis = redis
        self._protocol = protocol
        self._reader = hiredis.Reader()
        self._waiting: list[list[bytes]] = []
        self._is_closing = False

    def write(self, data: Any) -> None:
        self._reader.feed(data)
        while (command := self._reader.gets()) is not False:
            self._waiting.append(command)
        self._redis.soon()

    def execute(self, count: int, *, answers: bool) -> None:
        """Execute so many waiting commands."""
        some, self._waiting = self._waiting[:count], self._waiting[count:]
        replies = b"".join([self._redis.answer(self, command) for command in some])
        if answers:
            self.say(replies)

    def say(self, data: bytes) -> None:
        """Have the client get bytes."""
        if data and not self._is_closing:
            self._redis._loop.call_soon(self._arrives, data)

    def _arrives(self, data: bytes) -> None:
        if not self._is_closing:
            self._protocol.data_received(data)

    def is_closing(self) -> bool:
        return self._is_closing

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Everything is taken."""

    def pause_reading(self) -> None:
        """Nothing waits here."""

    def resume_reading(self) -> None:
        """The same."""

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._redis.drop(self)
            self._redis._loop.call_soon(self._protocol.connection_lost, None)


class ModelEndpoint(Endpoint):
    """The way to a model."""

    def __init__(self, redis: ModelRedis) -> None:
        super().__init__("redis://model:6379")
        self._redis = redis

    async def addresses(self) -> list[tuple[str, int]]:
        return []

    async def open(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol_factory: Callable[[], P],
        addresses: Sequence[tuple[str, int]],
        *,
        turn: int = 0,
    ) -> P:
        protocol = protocol_factory()
        assert isinstance(protocol, asyncio.Protocol)
        self._redis.connect(protocol)
        return protocol
