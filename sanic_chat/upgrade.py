"""Upgrades that come through Sanic: their request, and the moment it lets go of the socket.

Knows Sanic's HTTP protocol from the inside, as only `http_connections` and `arrival` do. What it
touches there: `HttpProtocol.transport`, `.connections`, `.recv_buffer`, `Http.upgrade_websocket`
(as `request.stream`), and the `is_websocket` attribute that lets a route's handler return nothing.
Tests name each of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from sanic import Request
from sanic.http import Http
from sanic.server import HttpProtocol

from .handshake import HEADERS, Handshake

H = TypeVar("H", bound=Callable[..., Awaitable[Any]])


def answers_with_a_socket(handler: H) -> H:
    """Mark a route's handler that may return None because it has taken the socket over."""
    handler.is_websocket = True  # type: ignore[attr-defined]
    return handler


def handshake_of(request: Request, room: str | None = None) -> Handshake:
    """What a request says, if it is a handshake; `room` is the one in its path."""
    headers = request.headers
    connection = request.conn_info
    return Handshake(
        path_room=room,
        query=dict(request.get_args(keep_blank_values=True)),  # Sanic's own says the first only
        headers={
            name: [value.strip() for value in headers.getall(name)]
            for name in HEADERS
            if name in headers
        },
        http_version=request.version,
        secure=connection is not None and bool(connection.ssl),
    )


def take_socket(request: Request) -> tuple[asyncio.Transport, bytes] | None:
    """The socket of a request, and what came behind the request; None if the client is gone.

    Afterwards nothing of Sanic's refers to the socket; the handler must return None.
    """
    if request.transport is None or request.transport.is_closing():
        return None
    protocol = request.transport.get_protocol()
    assert isinstance(protocol, HttpProtocol)
    transport = protocol.transport
    assert transport is not None
    early = bytes(protocol.recv_buffer)
    protocol.recv_buffer.clear()
    protocol.connections.discard(protocol)
    protocol.transport = None
    # Sanic asks this, not the handler, whether a request may end without a response.
    cast(Http, request.stream).upgrade_websocket = True
    return transport, early
