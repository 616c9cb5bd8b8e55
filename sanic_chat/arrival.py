"""Connections that have just been accepted: plain handshakes are let in, all else goes to Sanic.

Of what a new client costs, a third would be Sanic's: its protocol's objects, a task, the request,
its way to a handler. A handshake that comes whole in its first packet needs none of that. Whatever
is not quite like that, and every refusal, is left to Sanic's own protocol with the same bytes, so
that there is one place that answers in HTTP.

Of Sanic's inside it knows what a protocol is made with, what the set of connections is for, and
where an application has its request middleware: one that has any sees every handshake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from sanic import Sanic

from .entrance import Entrance, Visitor
from .errors import UpgradeRefused
from .handshake import HandshakeReader
from .http_connections import ChatHttpProtocol, HttpConnection, Phase
from .logs import logger

MAX_EARLY_BYTES = 64 * 1024
"""What a client may send behind its handshake before it has the answer; more is left unread."""


class ArrivalProtocol(asyncio.Protocol):
    """A connection up to its first bytes, and up to its session's first if they are a handshake."""

    __slots__ = (
        "_app",
        "_arguments",
        "_connections",
        "_early",
        "_looks",
        "_visit",
        "transport",
    )

    def __init__(self, **arguments: Any) -> None:
        self.transport: asyncio.Transport | None = None
        self._arguments = arguments
        """What Sanic makes its own protocol with."""
        self._app: Sanic[Any, Any] = arguments["app"]
        self._connections: set[HttpConnection] = arguments["connections"]
        self._app.ctx.http_connections = self._connections  # lets the drain reach them
        self._looks = -1
        self._visit: asyncio.Task[None] | None = None
        self._early = b""

    # -- the socket ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._visit is not None:
            self._early += data
            if len(self._early) > MAX_EARLY_BYTES and self.transport is not None:
                self.transport.pause_reading()
        elif not self._is_let_in(data):
            self._hand_to_sanic(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        if self._visit is not None:
            self._visit.cancel()

    # -- a handshake -----------------------------------------------------------------------

    def _is_let_in(self, data: bytes) -> bool:
        """Whether the client is in now, or waits for no more than Redis."""
        app = self._app
        if app.request_middleware or app.named_request_middleware:
            return False
        reader: HandshakeReader = app.ctx.handshake_reader
        entrance: Entrance = app.ctx.entrance
        assert self.transport is not None
        secure = self.transport.get_extra_info("sslcontext") is not None
        plain = reader.read(data, secure=secure)
        if plain is None:
            return False
        handshake, self._early = plain
        try:
            visitor = entrance.examine(handshake)
        except UpgradeRefused:
            return False
        if entrance.is_ready_for(visitor):
            transport = self.transport
            self._leave()
            entrance.let_in(visitor, transport, self._early)
        else:
            head = data[: len(data) - len(self._early)]
            self._visit = asyncio.get_running_loop().create_task(
                self._wait(entrance, visitor, head), name="handshake"
            )
        return True

    async def _wait(self, entrance: Entrance, visitor: Visitor, head: bytes) -> None:
        transport = self.transport
        assert transport is not None
        try:
            await entrance.admit(visitor, self._take_socket)
        except UpgradeRefused:
            self._hand_to_sanic(head + self._early)
        except Exception:
            logger.exception("A handshake failed")
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

    # -- what Sanic does -------------------------------------------------------------------

    def _hand_to_sanic(self, data: bytes) -> None:
        transport = self.transport
        if transport is None:
            return  # gone meanwhile
        self._leave()
        ChatHttpProtocol(**self._arguments).take_over(transport, data, looks=self._looks)

    # -- as one of Sanic's connections -----------------------------------------------------

    def look(self, limits: Mapping[Phase, int]) -> None:
        """Cut the connection if it has been silent for too many looks."""
        self._looks += 1
        if self._visit is None and self._looks >= limits[Phase.HEAD] and self.transport:
            self.transport.close()

    def close_if_idle(self) -> bool:
        """Close the connection unless its handshake is under way; whether it was closed."""
        if self._visit is not None or self.transport is None:
            return False
        self.transport.close()
        return True

    def abort(self) -> None:
        """Drop the socket at once."""
        if self.transport is not None:
            self.transport.abort()
