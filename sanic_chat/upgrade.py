"""The WebSocket handshake, and the moment in which Sanic lets go of the socket.

Knows Sanic's HTTP protocol from the inside, as `http_connections` does and nobody else. What it
touches there: `HttpProtocol.transport`, `.connections`, `.recv_buffer`, `Http.upgrade_websocket`
(as `request.stream`), and the `is_websocket` attribute that lets a route's handler return nothing.
Tests name each of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from sanic import Request
from sanic.http import Http
from sanic.server import HttpProtocol

from .errors import UpgradeRefused
from .session import Session
from .websocket import accept_key

H = TypeVar("H", bound=Callable[..., Awaitable[Any]])


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
    if not _has_token(headers.get("upgrade", ""), "websocket"):
        raise UpgradeRefused(
            426,
            "upgrade_required",
            "This is a WebSocket endpoint: connect with a WebSocket client",
            {"Upgrade": "websocket"},
        )
    if request.version != "1.1":
        raise UpgradeRefused(400, "bad_handshake", "A WebSocket handshake needs HTTP/1.1")
    if not _has_token(headers.get("connection", ""), "upgrade"):
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


def _has_token(header: str, token: str) -> bool:
    """Whether a comma-separated header contains a token, which is given in lower case."""
    header = header.lower()
    return header == token or token in map(str.strip, header.split(","))
