"""Deadlines of connections that are still HTTP, and their end in a drain.

    Deadlines ─(10 looks within a head's time)─→ HttpConnection.look

May live here: how long each phase of a request may take. Must not know Sanic. Of asyncio's inside
it knows the task of a TLS handshake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Protocol

LOOKS = 10
"""The looks at each connection within the time for a request's head. A late one is cut after 10/10
to 11/10 of it."""


class Phase(Enum):
    """The phases of a connection that is still HTTP, each with a bound of its own."""

    HEAD = "head"  # a request's head is to come, or has begun
    IDLE = "idle"  # kept alive: a request was answered, and the next has not begun
    BODY = "body"  # a request's body is to come
    BUSY = "busy"  # a request is being answered


class HttpConnection(Protocol):
    """A connection that is still HTTP, as deadlines and drain see it."""

    @property
    def transport(self) -> asyncio.Transport | None:
        """Its transport; None if it has left it to another."""

    def look(self, limits: Mapping[Phase, int]) -> None:
        """Cut the connection if it has been in one phase of one request for too many looks."""

    def close_if_idle(self) -> bool:
        """Close the connection unless a request is under way. Returns whether it closed it."""


class Deadlines:
    """Cuts connections that are still HTTP and take too long, with one timer for all.

    Times are in seconds. `head_timeout` is for a request's head to arrive whole, from the first
    moment on; `idle_timeout` for a connection that is kept alive to begin another request;
    `answer_timeout` for a body to arrive, and for an answer to be taken. Looks are counted and no
    clock is read, so time in which this process was frozen counts once.
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
            Phase.BODY: max(1, round(answer_timeout / self._pause)),
            Phase.BUSY: max(1, round(answer_timeout / self._pause)),
        }
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look."""
        self._timer = self._loop.call_later(self._pause, self._tick)

    def end_idle(self) -> None:
        """From now on, cut connections that are kept alive as soon as they are idle."""
        self._limits[Phase.IDLE] = 1

    def stop(self) -> None:
        """Stop looking."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self.start()
        for connection in tuple(self._connections()):
            connection.look(self._limits)


async def close_http_connections(connections: set[HttpConnection], *, timeout: float) -> None:
    """Close the connections that are still HTTP: idle ones now, others after their request.

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
    """Close connections whose TLS handshake is under way, which Sanic does not know yet.

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
