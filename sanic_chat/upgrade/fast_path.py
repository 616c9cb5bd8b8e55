"""The fast path of an upgrade: a plain handshake becomes a session without Sanic's request path.

    accept ─→ the first bytes ─┬→ reader: plain ─→ checker.check ─→ upgrader.accept, at once or
                               │                                    once Redis has confirmed
                               └→ anything else, and every refusal ─→ sanic_http, the same bytes

Sanic's protocol, task, request and routing would be a third of a new client's cost. Only Sanic
answers in HTTP.

May live here: a connection up to its first bytes. Of Sanic's inside it knows the arguments of a
protocol, the set of connections, and an application's request middleware: an application that has
any sees every handshake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sanic import Sanic

from ..errors import UpgradeRefused
from .checker import HandshakeChecker, UpgradeRequest
from .connection_limit import ConnectionLimit
from .deadlines import HttpConnection, Phase
from .reader import HandshakeReader
from .sanic_http import ChatHttpProtocol
from .upgrader import Upgrader

MAX_EARLY_BYTES = 64 * 1024
"""The bytes behind a handshake that are read before it is answered; more are left unread."""


class FastPathProtocol(asyncio.Protocol):
    """A connection up to its first bytes, or up to its session if they are a plain handshake."""

    __slots__ = (
        "_app",
        "_arguments",
        "_connection_limit",
        "_connections",
        "_early",
        "_handshake",
        "_looks",
        "_worker",
        "transport",
    )

    def __init__(self, **arguments: Any) -> None:
        self.transport: asyncio.Transport | None = None
        self._arguments = arguments
        """The arguments with which Sanic makes a protocol."""
        self._app: Sanic[Any, Any] = arguments["app"]
        self._connections: set[HttpConnection] = arguments["connections"]
        self._worker = self._app.ctx.worker
        self._worker.http_connections = self._connections  # lets the drain reach them
        self._connection_limit: ConnectionLimit = self._worker.connection_limit
        self._looks = -1
        self._handshake: asyncio.Task[None] | None = None
        self._early = b""

    # -- the socket ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if TYPE_CHECKING:  # uvloop's is none by inheritance
            assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._connections.add(self)
        self._connection_limit.add(transport)

    def data_received(self, data: bytes) -> None:
        if self._handshake is not None:
            self._early += data
            if len(self._early) > MAX_EARLY_BYTES and self.transport is not None:
                self.transport.pause_reading()
        elif not self._accepts(data):
            self._hand_to_sanic(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport is not None:
            self._connection_limit.discard(self.transport)
        self._leave()
        if self._handshake is not None:
            self._handshake.cancel()

    # -- a handshake -----------------------------------------------------------------------

    def _accepts(self, data: bytes) -> bool:
        """Accept a plain handshake, now or once Redis has confirmed; False if it is for Sanic."""
        app = self._app
        if app.request_middleware or app.named_request_middleware:
            return False
        reader: HandshakeReader = self._worker.handshake_reader
        checker: HandshakeChecker = self._worker.checker
        upgrader: Upgrader = self._worker.upgrader
        assert self.transport is not None
        secure = self.transport.get_extra_info("sslcontext") is not None
        plain = reader.read(data, secure=secure)
        if plain is None:
            return False
        handshake, self._early = plain
        try:
            request = checker.check(handshake, self.transport)
        except UpgradeRefused:
            return False
        if upgrader.is_subscribed(request):
            transport = self.transport
            self._leave()
            upgrader.accept(request, transport, self._early)
        else:
            head = data[: len(data) - len(self._early)]
            self._handshake = asyncio.get_running_loop().create_task(
                self._wait(upgrader, request, head), name="handshake"
            )
        return True

    async def _wait(self, upgrader: Upgrader, request: UpgradeRequest, head: bytes) -> None:
        transport = self.transport
        assert transport is not None
        try:
            await upgrader.accept_when_subscribed(request, self._take_socket)
        except UpgradeRefused:
            self._hand_to_sanic(head + self._early)
        except Exception as error:
            upgrader.failed(error)
            transport.abort()

    def _take_socket(self) -> tuple[asyncio.Transport, bytes] | None:
        transport = self.transport
        if transport is None or transport.is_closing():
            return None
        self._leave()
        return transport, self._early

    def _leave(self) -> None:
        self._connections.discard(self)
        self.transport = None

    # -- all else --------------------------------------------------------------------------

    def _hand_to_sanic(self, data: bytes) -> None:
        transport = self.transport
        if transport is None:
            return  # gone meanwhile
        self._leave()
        ChatHttpProtocol(**self._arguments).take_over(
            transport, data, looks=self._looks, connection_limit=self._connection_limit
        )

    # -- as one of Sanic's connections -----------------------------------------------------

    def look(self, limits: Mapping[Phase, int]) -> None:
        """Cut the connection if it has been silent for too many looks."""
        self._looks += 1
        if self._handshake is None and self._looks >= limits[Phase.HEAD] and self.transport:
            self.transport.close()

    def close_if_idle(self) -> bool:
        """Close the connection unless its handshake is under way. Returns whether it closed it."""
        if self._handshake is not None or self.transport is None:
            return False
        self.transport.close()
        return True

    evict = close_if_idle

    def abort(self) -> None:
        """Drop the socket at once."""
        if self.transport is not None:
            self.transport.abort()
