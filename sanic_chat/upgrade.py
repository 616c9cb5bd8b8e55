"""The WebSocket handshake, and the moment in which Sanic lets go of the socket.

The only file that knows Sanic's HTTP protocol from the inside. What it touches there:
`HttpProtocol.transport`, `.connections`, `.recv_buffer`, `._callback_check_timeouts`,
`.close_if_idle`, `Http.upgrade_websocket` (as `request.stream`), and the
`is_websocket` attribute that lets a route's handler return nothing. Tests name each of them. And
of asyncio's inside it knows the task of a TLS handshake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from sanic import Request
from sanic.http import Http
from sanic.server import HttpProtocol

from .errors import UpgradeRefused
from .session import Session
from .websocket import accept_key

H = TypeVar("H", bound=Callable[..., Awaitable[Any]])


class ChatHttpProtocol(HttpProtocol):
    """Sanic's HTTP protocol, which also lets the drain reach the connections it holds."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.app.ctx.http_connections = self.connections


def answers_with_a_socket(handler: H) -> H:
    """Mark a route's handler that may return None because it has taken the socket over."""
    handler.is_websocket = True  # type: ignore[attr-defined]
    return handler


def check_handshake(request: Request) -> str:
    """Check a client's opening handshake (RFC 6455 section 4.2.1) and return its accept key.

    Raises UpgradeRefused: 426 for what is no WebSocket handshake or of another version, 400 for
    a broken one.
    """
    headers = request.headers
    if "websocket" not in _tokens(headers.get("upgrade", "")):
        raise UpgradeRefused(
            426,
            "upgrade_required",
            "This is a WebSocket endpoint: connect with a WebSocket client",
            {"Upgrade": "websocket"},
        )
    if request.version != "1.1":
        raise UpgradeRefused(400, "bad_handshake", "A WebSocket handshake needs HTTP/1.1")
    if "upgrade" not in _tokens(headers.get("connection", "")):
        raise UpgradeRefused(400, "bad_handshake", "The Connection header must contain Upgrade")
    if headers.get("sec-websocket-version", "").strip() != "13":
        raise UpgradeRefused(
            426,
            "unsupported_version",
            "Only version 13 of the WebSocket protocol is spoken here",
            {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"},
        )
    keys = headers.getall("sec-websocket-key", [])
    accept = accept_key(keys[0].strip()) if len(keys) == 1 else None
    if accept is None:
        raise UpgradeRefused(
            400, "bad_handshake", "Sec-WebSocket-Key must be 16 bytes in base64, once"
        )
    return accept


def is_connected(request: Request) -> bool:
    """Whether the client of a request is still there to be answered."""
    transport = request.transport
    return transport is not None and not transport.is_closing()


def take_over(request: Request, session: Session, accept: str, on_open: Callable[[], None]) -> None:
    """Answer 101 and make `session` the protocol of the request's socket.

    `on_open` is called when the session can send, and before it is given what the client sent
    right behind its handshake. Afterwards nothing of Sanic's refers to the socket; the handler
    must return None. Call only while `is_connected`.
    """
    protocol = request.transport.get_protocol()
    assert isinstance(protocol, HttpProtocol)
    transport = protocol.transport
    assert transport is not None
    early = bytes(protocol.recv_buffer)
    _release(protocol)
    # Sanic asks this, not the handler, whether a request may end without a response.
    cast(Http, request.stream).upgrade_websocket = True
    transport.set_protocol(session)
    session.connection_made(transport)
    session.write(
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept.encode()
    )
    on_open()
    if early:
        session.data_received(early)
    if not (transport.is_closing() or transport.is_reading()):
        transport.resume_reading()  # Sanic pauses it when much came early


def _release(protocol: HttpProtocol) -> None:
    protocol.recv_buffer.clear()
    protocol.connections.discard(protocol)
    protocol.transport = None
    if protocol._callback_check_timeouts is not None:
        protocol._callback_check_timeouts.cancel()
        protocol._callback_check_timeouts = None


async def close_http_connections(connections: set[HttpProtocol], *, timeout: float) -> None:
    """Close what Sanic still holds: idle connections now, others when their request is done.

    After `timeout` seconds they are aborted. Without this, `Server.wait_closed()` blocks on
    plain asyncio from Python 3.12 on for as long as one of them is open.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while connections and loop.time() < deadline:
        for connection in tuple(connections):
            connection.close_if_idle()
        await asyncio.sleep(0.02)
    for connection in tuple(connections):
        # Not `connection.abort()`, after which Sanic stumbles over a request that never came.
        if connection.transport is not None:
            connection.transport.abort()
    await _end_tls_handshakes()


async def _end_tls_handshakes() -> None:
    """Close connections that have not got through their TLS handshake: Sanic has not met them.

    Only asyncio's own loop waits for them when it ends; it has a task for each.
    """
    handshakes = [
        task
        for task in asyncio.all_tasks()
        if getattr(task.get_coro(), "__name__", "") == "_accept_connection2"
    ]
    for task in handshakes:
        task.cancel()
    if handshakes:
        await asyncio.wait(handshakes)


def _tokens(header: str) -> set[str]:
    return {token.strip().lower() for token in header.split(",")}
