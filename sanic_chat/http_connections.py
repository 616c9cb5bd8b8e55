"""Connections that are still HTTP: their protocol, their deadlines, and their end in a drain.

Knows Sanic's HTTP protocol from the inside, as `upgrade` does. What it touches there:
`HttpProtocol.check_timeouts`, `.connections`, `.http`, `.state["requests_count"]`,
`.close_if_idle`, `.transport`, `.HTTP_CLASS`, `Http.stage`, `.url`, `.create_empty_request`,
`Request._parsed_url`, and the `ssl` and `asyncio_server_kwargs` that a server is set up with. Tests
name each of them. Of asyncio's inside it knows the task of a TLS handshake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Protocol

import ujson
from sanic import Request
from sanic.exceptions import BadURL
from sanic.http import Http, Stage
from sanic.server import HttpProtocol

LOOKS = 10
"""Looks at each connection within the time for a request's head: it is cut between 10/10 and
11/10 of it."""

_LATE_BODY = ujson.dumps(
    {"code": "request_timeout", "message": "The request did not arrive in time"}
).encode()
_LATE = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_LATE_BODY), _LATE_BODY)
)


class Phase(Enum):
    HEAD = "head"  # a request's head is to come, or has begun
    IDLE = "idle"  # kept alive: a request was answered, and the next has not begun
    BUSY = "busy"  # a request is being answered


class HttpConnection(Protocol):
    """A connection that is still HTTP, as deadlines and drain see it."""

    transport: asyncio.Transport | None

    def look(self, limits: Mapping[Phase, int]) -> None:
        """Cut the connection if it has been in one phase of one request for too many looks."""

    def close_if_idle(self) -> bool:
        """Close the connection unless a request is under way; whether it was closed."""


class ChatRequest(Request[Any, Any]):
    """Sanic's request, which has a path: over one without it Sanic's router stumbles."""

    __slots__ = ()

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        if self._parsed_url.path is None:
            raise BadURL("The request's URL has no path")


class ChatHttp(Http):
    """Sanic's requests and responses, which also answers what is no request without a traceback."""

    __slots__ = ()

    def create_empty_request(self) -> None:
        """Make the request that an error is answered to when none could be read."""
        self.url = None  # what stands in its place may be no URL, and Sanic would stumble over it
        super().create_empty_request()


class ChatHttpProtocol(HttpProtocol):
    """Sanic's HTTP protocol, without a timer of its own: `HttpDeadlines` looks at all of them."""

    HTTP_CLASS = ChatHttp
    __slots__ = ("_looks", "_seen")

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._looks = 0
        self._seen: tuple[int, Phase] | None = None

    def take_over(self, transport: asyncio.Transport, data: bytes, *, looks: int) -> None:
        """Go on with a connection whose first bytes, and looks, another protocol has seen."""
        if looks >= 0:
            self._looks = looks
            self._seen = 0, Phase.HEAD
        transport.set_protocol(self)
        self.connection_made(transport)  # type: ignore[no-untyped-call]
        self.data_received(data)

    def check_timeouts(self) -> None:
        """In place of Sanic's, whose clock every byte that arrives puts back."""

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
            return
        if self.http is not None and self.http.stage is Stage.REQUEST:
            self.transport.write(_LATE)
            self.http.stage = Stage.FAILED  # or Sanic answers too
        # Not `self.close()`, after which Sanic stumbles over a request that never came.
        self.transport.close()

    def _phase(self) -> Phase:
        stage = Stage.IDLE if self.http is None else self.http.stage
        if stage is Stage.REQUEST:
            return Phase.HEAD
        if stage is Stage.IDLE:
            return Phase.IDLE if self.state["requests_count"] else Phase.HEAD
        return Phase.BUSY


class HttpDeadlines:
    """One timer for all connections that are still HTTP, which cuts those that take too long.

    Times are in seconds: for a request's head to arrive whole, from the first moment on; for a
    connection that is kept alive to begin another; and for an answer to be taken. Looks are
    counted and no clock is read, so that time in which this process was frozen counts once.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connections: Callable[[], set[HttpConnection]],
        *,
        head_timeout: float,
        idle_timeout: float,
        answer_timeout: float,
    ) -> None:
        self._loop = loop
        self._connections = connections
        self._pause = head_timeout / LOOKS
        self._limits = {
            Phase.HEAD: LOOKS,
            Phase.IDLE: max(1, round(idle_timeout / self._pause)),
            Phase.BUSY: max(1, round(answer_timeout / self._pause)),
        }
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look."""
        self._timer = self._loop.call_later(self._pause, self._tick)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self.start()
        for connection in tuple(self._connections()):
            connection.look(self._limits)


def limit_tls_handshakes(server: dict[str, Any], seconds: float) -> None:
    """Give a client of a server with these settings so long for its TLS handshake, if any.

    Before it is over no HTTP protocol sees the connection.
    """
    if server.get("ssl"):
        server["asyncio_server_kwargs"] = {"ssl_handshake_timeout": seconds}


async def close_http_connections(connections: set[HttpConnection], *, timeout: float) -> None:
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
