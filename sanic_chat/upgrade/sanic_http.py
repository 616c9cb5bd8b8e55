"""Sanic's HTTP, as this server needs it: its requests, its protocol, and how a socket leaves it.

The one file that knows Sanic's HTTP protocol from the inside. What it touches there:
`HttpProtocol.check_timeouts`, `.connections`, `.http`, `.state["requests_count"]`,
`.close_if_idle`, `.transport`, `.HTTP_CLASS`, `Http.stage`, `.url`, `.create_empty_request`,
`.error_response`, `.request`, `.protocol`, `.HEADER_MAX_SIZE`, `._safe_int`, `.read`,
`.request_bytes_left`, `.expecting_continue`, `._send`, `._receive_more`, `Request._parsed_url`,
`.raw_url`, `.head`, `.recv_buffer`, `Router.resolve`, of `request.stream` `Http.upgrade_websocket`,
`.request_max_size`, `.request_body`, `.request_bytes`, `.keep_alive` and of its protocol
`.request_max_size`, the `is_websocket` attribute that lets a route's handler return nothing, and of
several certificates `CertSelector.sanic_select`, `.sanic_fallback`, and `.sanic` of each. Tests
name each of them.
"""

from __future__ import annotations

import asyncio
import copyreg
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, cast

import ujson
from sanic import Request
from sanic.exceptions import BadRequest, BadURL, PayloadTooLarge, SanicException
from sanic.http import Http, Stage
from sanic.http.tls.context import CertSelector, SanicSSLContext, process_to_context
from sanic.router import Router
from sanic.server import HttpProtocol

from ..websocket.handshake import HEADERS, Handshake
from .connection_limit import ConnectionLimit
from .deadlines import Phase
from .reader import MAX_ESCAPES

H = TypeVar("H", bound=Callable[..., Awaitable[Any]])

_HEAD = re.compile(rb"[^\0\r\n]*(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\0\r\n]*)*+")
"""A request's line, and fields whose names are tokens (RFC 9112 section 5): proxies read blanks
there, or a line break without its other half, as they like, and one may hide a length."""
_DIGITS = {10: re.compile("[0-9]+[ \t]*"), 16: re.compile("[0-9A-Fa-f]+[ \t]*")}

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_MAX_CHUNK_LINE_BYTES = 64
"""The bytes of a chunk's length, after which its end is waited for no more: Sanic's bound."""

_LATE_BODY = ujson.dumps(
    {"code": "request_timeout", "message": "The request did not arrive in time"}
).encode()
_LATE = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_LATE_BODY), _LATE_BODY)
)


class ChatRequest(Request[Any, Any]):
    """Sanic's request, with a path. Without one Sanic's router raises an error of its own."""

    __slots__ = ("is_admins",)

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        if not _HEAD.fullmatch(self.head):
            raise BadRequest("A line of the request's head is no field")
        if len(self.headers.getall("host", ())) > 1:
            raise BadRequest("A request has one Host (RFC 9112 section 3.2)")
        self.is_admins = self.transport is not None and isinstance(
            self.transport.get_protocol(), AdminProtocol
        )
        """Whether it came by the admin socket."""
        if self._parsed_url.path is None:
            raise BadURL("The request's URL has no path")
        if self.raw_url.count(b"%") > MAX_ESCAPES:
            raise BadURL(f"The request's URL has more than {MAX_ESCAPES} percent signs")


class ChatRouter(Router):
    """Sanic's router, without its recursion for each slash at a path's end."""

    def resolve(self, path: str, **more: Any) -> Any:
        """Return the route of a path; of the slashes at its end at most one is looked at."""
        bare = path.rstrip("/")
        return super().resolve(path=f"{bare}/" if len(path) > len(bare) + 1 else path, **more)


class HeadTooLarge(SanicException):
    """A request's head does not end within the bytes that it may have."""

    status_code = 431  # RFC 6585 section 5
    quiet = True

    def __init__(self, limit: int) -> None:
        super().__init__(f"The head of a request may have {limit} bytes (CHAT_MAX_HEADER_BYTES)")


class ChatHttp(Http):
    """Sanic's requests and responses, without tracebacks for bytes that are no request."""

    __slots__ = ()

    @property
    def HEADER_MAX_SIZE(self) -> int:  # type: ignore[override]
        """The bytes that a head may have before the blank line at its end."""
        return self._max_head_bytes - 3

    @property
    def _max_head_bytes(self) -> int:
        # Sanic lets nobody set more than 16 KiB, which is little behind an authenticating proxy.
        return int(self.protocol.app.config.REQUEST_MAX_HEADER_SIZE)

    @staticmethod
    def _safe_int(value: str, base: int = 10) -> int:
        """Read the length of a body, or of a chunk: digits, and nothing that a proxy reads
        otherwise (RFC 9112 sections 6.2 and 7.1)."""
        if not _DIGITS[base].fullmatch(value):
            raise ValueError("a length has digits only")
        return int(value, base)

    async def read(self) -> bytes | None:
        """Return some bytes of a body. Raises BadRequest where a chunk does not end, or its length
        does not, with a line break of both halves (RFC 9112 section 7.1)."""
        is_chunked = cast(object, self.request_body) == "chunked"
        if is_chunked and self.request_bytes_left == 0:
            if self.expecting_continue:
                self.expecting_continue = False
                await self._send(_CONTINUE)
            buffer = self.recv_buffer
            while (end := buffer.find(b"\n", 2)) < 0 and len(buffer) <= _MAX_CHUNK_LINE_BYTES:
                await self._receive_more()
            if buffer[:2] != b"\r\n" or buffer[end - 1 : end] != b"\r":
                self.keep_alive = False
                raise BadRequest("A chunk of the body is broken")
        return await super().read()

    async def error_response(self, exception: Exception) -> None:
        """Answer an error; a head that is too large gets 431, where Sanic would say 413."""
        if self.request is None and isinstance(exception, PayloadTooLarge):
            exception = HeadTooLarge(self._max_head_bytes)
        await super().error_response(exception)

    def create_empty_request(self) -> None:
        """Make the request to which an error is answered when none could be read."""
        self.url = None  # what stands in its place may be no URL, and Sanic would stumble over it
        super().create_empty_request()


class ChatHttpProtocol(HttpProtocol):
    """Sanic's HTTP protocol, without a timer of its own: `Deadlines` looks at all of them."""

    HTTP_CLASS = ChatHttp
    __slots__ = ("_connection_limit", "_looks", "_seen")

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._looks = 0
        self._seen: tuple[int, Phase] | None = None
        self._connection_limit: ConnectionLimit | None = None

    def take_over(
        self,
        transport: asyncio.Transport,
        data: bytes,
        *,
        looks: int,
        connection_limit: ConnectionLimit,
    ) -> None:
        """Go on with a connection whose first bytes, `data`, the fast path has seen.

        `looks` are those since it was accepted; -1: none yet.
        """
        self._connection_limit = connection_limit
        if looks >= 0:
            self._looks = looks
            self._seen = 0, Phase.HEAD
        transport.set_protocol(self)
        self.connection_made(transport)  # type: ignore[no-untyped-call]
        self.data_received(data)

    def check_timeouts(self) -> None:
        """Do nothing: `Deadlines` cuts. Sanic's own clock starts anew with every byte."""

    def look(self, limits: Mapping[Phase, int]) -> None:
        """Cut the connection if it has been in one phase of one request for too many looks."""
        seen = self.state["requests_count"], self._phase()
        if seen != self._seen:
            self._seen = seen
            self._looks = 0
            return
        self._looks += 1
        if self._looks < limits[seen[1]] or self.transport is None:
            return
        if seen[1] is Phase.BUSY:
            self.transport.abort()  # it does not take its answer
        else:
            self._cut(self.transport, _LATE)

    def evict(self) -> bool:
        """Close the connection unless a request is being answered. Returns whether it closed it."""
        if self.transport is None or self._phase() is Phase.BUSY:
            return False
        self._cut(self.transport, b"")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection_limit is not None and self.transport is not None:
            self._connection_limit.discard(self.transport)
        super().connection_lost(exc)  # type: ignore[no-untyped-call]

    def _cut(self, transport: asyncio.Transport, answer: bytes) -> None:
        """Close the connection, with an answer if a request has begun, and has none."""
        stage = Stage.IDLE if self.http is None else self.http.stage
        if stage in (Stage.REQUEST, Stage.HANDLER):
            transport.write(answer)
        if stage is Stage.REQUEST:
            self.http.stage = Stage.FAILED  # or Sanic answers too
        # Not `self.close()`, after which Sanic stumbles over a request that never came.
        transport.close()

    def _phase(self) -> Phase:
        stage = Stage.IDLE if self.http is None else self.http.stage
        if stage is Stage.REQUEST:
            return Phase.HEAD
        if stage is Stage.IDLE:
            return Phase.IDLE if self.state["requests_count"] else Phase.HEAD
        # The body is read before anything else is done.
        is_read = stage is not Stage.HANDLER or self.http.request_body is None
        return Phase.BUSY if is_read else Phase.BODY


class AdminProtocol(ChatHttpProtocol):
    """The protocol of a connection to the admin socket: always HTTP, and bounded as all others."""

    __slots__ = ()

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        worker = self.app.ctx.worker
        worker.http_connections = self.connections  # lets the drain reach them
        self._connection_limit = worker.connection_limit

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)  # type: ignore[no-untyped-call]
        assert self._connection_limit is not None
        self._connection_limit.add(transport)


def answers_with_a_socket(handler: H) -> H:
    """Mark a route's handler that may return None because it has taken the socket over."""
    handler.is_websocket = True  # type: ignore[attr-defined]
    return handler


def handshake_of(request: Request, room: str | None = None) -> Handshake:
    """Return a request's fields as a handshake, not checked; `room` is the one in its path."""
    headers = request.headers
    connection = request.conn_info
    return Handshake(
        path_room=room,
        query=request.query_string,
        headers={
            name: [value.strip() for value in headers.getall(name)]
            for name in HEADERS
            if name in headers
        },
        http_version=request.version,
        secure=connection is not None and bool(connection.ssl),
    )


def peername_of(request: Request) -> object:
    """The peer's name of a request's socket; None if the client is gone."""
    return None if request.transport is None else request.transport.get_extra_info("peername")


def take_socket(request: Request) -> tuple[asyncio.Transport, bytes] | None:
    """Take a request's socket, and the bytes behind the request; None if the client is gone.

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


async def read_body(request: Request, *, limit: int) -> bytes | None:
    """Return the body of a request whose route is a stream; None if it is over `limit` bytes.

    Of a longer one no more is read, and its connection is closed with the answer.
    """
    stream = cast(Http, request.stream)
    stream.request_max_size = limit
    try:
        await request.receive_body()  # type: ignore[no-untyped-call]
    except PayloadTooLarge:
        return None
    return bytes(request.body)


def leave_body(request: Request) -> None:
    """Answer a request without its body; if it is too long to be dropped, so is the connection."""
    stream = cast(Http, request.stream)
    limit = stream.protocol.request_max_size
    is_long = "transfer-encoding" in request.headers or (stream.request_bytes or 0) > limit
    if stream.request_body and is_long:
        stream.keep_alive = False


def files_of(tls: Any) -> Any:
    """Return the files of what a server's workers are given as `ssl`, each time they start anew."""
    return _as_files(tls)[1][0] if isinstance(tls, CertSelector) else tls


def _as_files(selector: CertSelector) -> tuple[Callable[..., Any], tuple[list[Any]]]:
    files = [cast(SanicSSLContext, one).sanic for one in selector.sanic_select]
    # A first one that is none: there is no certificate for who names no host, or another one.
    return process_to_context, (files if selector.sanic_fallback else [None, *files],)


# A server with several certificates gives them to its workers as files, as Sanic does with one.
copyreg.pickle(CertSelector, _as_files)
