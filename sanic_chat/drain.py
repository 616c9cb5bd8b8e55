"""The orderly goodbye of a pod to all its sessions."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from .pod import Pod
from .session import Session
from .websocket import CloseCode

REASON = "the server is going away: please reconnect"

CLOSING_SHARE = 0.5
"""The part of the drain's time over which the close frames are spread."""

CLOSES_PER_SECOND = 10_000
"""With fewer sessions the close frames take less than their share."""

PAUSE_SECONDS = 0.02

ANSWER_SECONDS = 2.0
"""How long a client that has been sent everything gets for its answering close frame."""


async def drain_sessions(pod: Pod, *, timeout: float) -> None:
    """Close every session with 1001 within `timeout` seconds; returns when all are gone.

    No new session comes in any more. What is pending or queued for a session is sent before its
    close frame. Sessions that have not answered, or not read, by then are aborted.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    pod.draining = True
    sessions = pod.heartbeat.sessions()
    window = min(timeout * CLOSING_SHARE, len(sessions) / CLOSES_PER_SECOND)
    pod.notifier.drain(round(window * 1000))
    batch = max(1, round(len(sessions) * PAUSE_SECONDS / window)) if window else 1
    for start in range(0, len(sessions), batch):
        _close(sessions[start : start + batch])
        await asyncio.sleep(min(PAUSE_SECONDS, max(0.0, deadline - loop.time())))
    _close(pod.heartbeat.sessions())  # upgrades that were under way when it began
    await _wait_until_gone(pod, deadline)
    for session in pod.heartbeat.sessions():
        session.abort()
    await asyncio.sleep(0)  # lets the transports report that they are gone


def _close(sessions: list[Session]) -> None:
    for session in sessions:
        session.close(CloseCode.GOING_AWAY, REASON)


async def _wait_until_gone(pod: Pod, deadline: float) -> None:
    loop = asyncio.get_running_loop()
    answer_by = min(deadline, loop.time() + ANSWER_SECONDS)
    with suppress(TimeoutError):
        async with asyncio.timeout_at(answer_by):
            await pod.closed_sessions.wait()
    for session in pod.heartbeat.sessions():
        if not session.has_unsent_bytes:
            session.abort()
    with suppress(TimeoutError):
        async with asyncio.timeout_at(deadline):
            await pod.closed_sessions.wait()
