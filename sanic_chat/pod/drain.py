"""The drain: the orderly goodbye of a pod to all its sessions.

    begin ─→ (grace) ─→ window: each session told its moment, and closed a little behind it ─→ abort

The moments are spread evenly over a window, so that the pods that take the clients over do not get
all of them at once. A client with `?events=system` is told its moment. If it connects elsewhere as
told, it is never without a connection. One loop closes the sessions in turn; there is no task and
no timer per session.

May live here: the order and the moments of a drain. Must not know why the pod ends.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple, TypeVar

from ..protocol import events
from ..session.session import Session
from ..websocket.frames import CloseCode
from .pod import Pod

T = TypeVar("T")

REASON = "the server is going away: please reconnect"

WINDOW_SHARE = 0.6
"""The share of a drain's time that its window may take; the rest is for what follows."""

OVERLAP_SHARE = 0.1
"""The share in which a client that reconnects as told has both connections: 0.5 of 5 seconds."""

TELLING_SHARE = 0.2
"""The share in which they are told: if it takes longer, the last ones have less of the overlap."""

PATIENCE_SHARE = 0.1
MAX_PATIENCE_SECONDS = 0.5
"""The share for which a Redis that does not answer holds up the close frames, and its bound."""

CLOSES_PER_SECOND = 200
"""The least pace of a drain: with few sessions it is done before the window is over."""

TICK_SECONDS = 0.01

PER_TURN = 128
"""The sessions that are told, closed or aborted before everything else gets a turn."""

ANSWER_SECONDS = 2.0
"""The time that a client which has been sent everything has for its own close frame."""


class _Departure(NamedTuple):
    """The moments at which a session is closed, and its client to come back; in the loop's time."""

    close_at: float
    reconnect_at: float
    session: Session


async def drain_sessions(pod: Pod, *, grace: float, window: float, timeout: float) -> None:
    """Close every session with 1001; return when all are gone.

    That takes at most `grace` and then `timeout` seconds; without sessions it takes no time. The
    pod accepts no new session from the call on. Each session goes on as before until its moment in
    the `window`. Messages that are queued for it by then, or that Redis has for it, are sent before
    its close frame. A client that has not read or not answered in the end is aborted.
    """
    loop = asyncio.get_running_loop()
    pod.begin_drain()
    began = loop.time()
    deadline = began + grace + timeout
    sessions = pod.heartbeat.sessions()
    window = min(window, timeout * WINDOW_SHARE, len(sessions) / CLOSES_PER_SECOND)
    told = _Departures(
        [session for session in sessions if session.system_events],
        begin=began + grace,
        window=window,
        overlap=timeout * OVERLAP_SHARE,
    )
    others = _Departures(
        [session for session in sessions if not session.system_events],
        begin=began + grace,
        window=window,
        overlap=0.0,
    )
    await _tell(pod, told, began)
    # They count from when they were told, and the last of them is to have all of the overlap too.
    told.overlap += min(loop.time() - began, timeout * TELLING_SHARE)
    patience = min(timeout * PATIENCE_SHARE, MAX_PATIENCE_SECONDS)
    await _close_in_time(pod, told, others, patience=patience)
    await _wait_for_answers(pod, deadline)
    await _abort(pod.heartbeat.sessions())
    await asyncio.sleep(0)  # lets the transports report that they are gone


class _Departures:
    """The moments of sessions, evenly spread over a window; made when they are asked for."""

    def __init__(
        self, sessions: list[Session], *, begin: float, window: float, overlap: float
    ) -> None:
        self._sessions = sessions
        self._begin = begin
        self._window = window
        self.overlap = overlap
        """The seconds between the moment of a client and that of its close frame."""

    def __iter__(self) -> Iterator[_Departure]:
        for index, session in enumerate(self._sessions):
            moment = self._begin + self._window * (index + 0.5) / len(self._sessions)
            yield _Departure(moment + self.overlap, moment, session)


async def _tell(pod: Pod, told: _Departures, began: float) -> None:
    """Tell clients with `?events=system` the moment at which to come back."""
    async for departure in _in_turns(told):
        # Counted from the drain's beginning for all of them, so that no two get the same.
        reconnect_in_ms = round((departure.reconnect_at - began) * 1000)
        pod.notifier.send(departure.session, events.Drain(reconnect_in_ms))
        pod.presence.told_to_reconnect(departure.session, departure.reconnect_at)


async def _close_in_time(pod: Pod, *departures: _Departures, patience: float) -> None:
    """Close each session at its moment, or a few milliseconds later."""
    loop = asyncio.get_running_loop()
    now = -math.inf
    async for departure in _in_turns(heapq.merge(*departures, key=lambda each: each.close_at)):
        if departure.close_at > now:
            await _all_gone(pod, by=max(departure.close_at, loop.time() + TICK_SECONDS))
            if pod.closed_sessions.is_set():
                return
            now = loop.time()
            await pod.broker.flush(patience)
        pod.hub.catch_up(departure.session)
        departure.session.close(CloseCode.GOING_AWAY, REASON)


async def _wait_for_answers(pod: Pod, deadline: float) -> None:
    loop = asyncio.get_running_loop()
    await _all_gone(pod, by=min(deadline, loop.time() + ANSWER_SECONDS))
    await _abort([s for s in pod.heartbeat.sessions() if not s.has_unsent_bytes])
    await _all_gone(pod, by=deadline)


async def _abort(sessions: list[Session]) -> None:
    async for session in _in_turns(sessions):
        session.abort()


async def _in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield `items`, with a turn of the loop after each `PER_TURN` of them."""
    for count, item in enumerate(items, 1):
        yield item
        if count % PER_TURN == 0:
            await asyncio.sleep(0)


async def _all_gone(pod: Pod, *, by: float) -> None:
    """Return when no session is connected, or at that time of the loop."""
    with suppress(TimeoutError):
        async with asyncio.timeout_at(by):
            await pod.closed_sessions.wait()
