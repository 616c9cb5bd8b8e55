"""The orderly goodbye of a pod to all its sessions.

Every session has a moment of its own, and the moments are spread evenly over a window, so that
whoever takes the clients over is not hit by all of them at once. A client that asked for notices is
told its moment, and is closed a little later: one that connects elsewhere as told is never without
a connection. One loop closes whose time has come; there is no task and no timer per session.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import NamedTuple

from . import notices
from .broker.link import Link
from .pod import Pod
from .session import Session
from .websocket import CloseCode

REASON = "the server is going away: please reconnect"

WINDOW_SHARE = 0.6
"""The part of a drain's time that its window may take; what follows is part of the same time."""

OVERLAP_SHARE = 0.1
"""The part in which a client that reconnects as told has both its connections: 0.5 of 5 seconds."""

PATIENCE_SHARE = 0.1
"""The part for which a Redis that does not answer holds up the close frames."""

CLOSES_PER_SECOND = 200
"""A pod with so few sessions that this is more than the window asks for is done sooner."""

TICK_SECONDS = 0.01

TOLD_PER_TURN = 256
"""Clients that are told their moment before everything else gets a turn."""

ANSWER_SECONDS = 2.0
"""How long a client that has been sent everything gets for its answering close frame."""


class _Departure(NamedTuple):
    """When a session is closed, and when its client is told to come back; in the loop's time."""

    close_at: float
    reconnect_at: float
    session: Session


async def drain_sessions(pod: Pod, *, grace: float, window: float, timeout: float) -> None:
    """Close every session with 1001; returns when all are gone.

    That is within `timeout` seconds after `grace`, which is not waited for without sessions. From
    the call on the pod takes no new session; the ones it has go on as before until each one's
    moment in the `window`. What is queued for a session by then, and what Redis had for it, is sent
    before its close frame. Who has not answered, or not read, in the end is aborted.
    """
    loop = asyncio.get_running_loop()
    pod.begin_drain()
    began = loop.time()
    deadline = began + grace + timeout
    sessions = pod.heartbeat.sessions()
    window = min(window, timeout * WINDOW_SHARE, len(sessions) / CLOSES_PER_SECOND)
    told = _departures(
        [session for session in sessions if session.system_events],
        begin=began + grace,
        window=window,
        overlap=timeout * OVERLAP_SHARE,
    )
    others = _departures(
        [session for session in sessions if not session.system_events],
        begin=began + grace,
        window=window,
        overlap=0.0,
    )
    await _tell(pod, told, began)
    await _close_in_time(pod, [*told, *others], patience=timeout * PATIENCE_SHARE)
    await _wait_for_answers(pod, deadline)
    for session in pod.heartbeat.sessions():
        session.abort()
    await asyncio.sleep(0)  # lets the transports report that they are gone


def _departures(
    sessions: list[Session], *, begin: float, window: float, overlap: float
) -> list[_Departure]:
    """Moments for sessions, evenly spread over a window."""
    moments = [begin + window * (index + 0.5) / len(sessions) for index in range(len(sessions))]
    return [
        _Departure(moment + overlap, moment, session)
        for moment, session in zip(moments, sessions, strict=True)
    ]


async def _tell(pod: Pod, told: list[_Departure], began: float) -> None:
    """Tell clients when to come back."""
    for start in range(0, len(told), TOLD_PER_TURN):
        for departure in told[start : start + TOLD_PER_TURN]:
            # Counted from the drain's beginning for all of them, so that no two get the same.
            reconnect_in_ms = round((departure.reconnect_at - began) * 1000)
            pod.notifier.tell(departure.session, notices.drain(reconnect_in_ms))
        await asyncio.sleep(0)


async def _close_in_time(pod: Pod, departures: list[_Departure], *, patience: float) -> None:
    """Close each session at its moment, or a few milliseconds later."""
    loop = asyncio.get_running_loop()
    waiting = deque(sorted(departures, key=lambda departure: departure.close_at))
    redis = _RedisBacklog(pod.subscriber.link, patience=patience)
    while waiting:
        await _all_gone(pod, by=max(waiting[0].close_at, loop.time() + TICK_SECONDS))
        if pod.closed_sessions.is_set():
            return
        now = loop.time()
        await redis.catch_up()
        while waiting and waiting[0].close_at <= now:
            waiting.popleft().session.close(CloseCode.GOING_AWAY, REASON)


class _RedisBacklog:
    """What Redis has sent to a pod and the pod has not read yet."""

    def __init__(self, link: Link, *, patience: float) -> None:
        self._link = link
        self._patience = patience
        self._question: asyncio.Future[None] | None = None

    async def catch_up(self) -> None:
        """Return when everything that Redis had for the pod at the time of the call was delivered.

        Redis answers in order, so the answer to a PING comes behind all that. It is waited for
        `patience` seconds at most, and not at all while an earlier one is missing.
        """
        if not self._link.is_up or not (self._question is None or self._question.done()):
            return
        self._question = question = asyncio.get_running_loop().create_future()
        self._link.ask(b"drain", lambda: question.set_result(None))
        await asyncio.wait([question], timeout=self._patience)


async def _wait_for_answers(pod: Pod, deadline: float) -> None:
    loop = asyncio.get_running_loop()
    await _all_gone(pod, by=min(deadline, loop.time() + ANSWER_SECONDS))
    for session in pod.heartbeat.sessions():
        if not session.has_unsent_bytes:
            session.abort()
    await _all_gone(pod, by=deadline)


async def _all_gone(pod: Pod, *, by: float) -> None:
    """Return when no session is connected, or at that time of the loop."""
    with suppress(TimeoutError):
        async with asyncio.timeout_at(by):
            await pod.closed_sessions.wait()
