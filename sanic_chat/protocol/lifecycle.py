"""Lifecycle events: what backends are told on Redis of sessions that open and close.

May live here: the JSON of these events. Must not know when one is due.

Each is an object without `data`, so that no pod takes one for an envelope. `envelope_head` makes
the start of those that a pod tells of itself.
"""

from __future__ import annotations

from .message import json_text

OBJECT = b"{"
"""The start of an event that a pod tells of another one."""


def opened(json_user: bytes, client_id: str) -> bytes:
    """The rest of the event of a session that has opened."""
    return b'"event":"open","user":%b,"client_id":"%b"}' % (json_user, client_id.encode())


def closed(json_user: bytes, client_id: str, code: int) -> bytes:
    """The rest of the event of a session that has ended with a close code."""
    return b'"event":"close","user":%b,"client_id":"%b","code":%d}' % (
        json_user,
        client_id.encode(),
        code,
    )


def pod_opened(sessions: int) -> bytes:
    """The rest of the event of a pod that tells of all its sessions next, so many."""
    return b'"event":"pod_open","sessions":%d}' % sessions


def pod_lost(pod_id: str, *, silent_seconds: float, told_by: str) -> bytes:
    """The rest of the event of a pod that another one has not heard for so long."""
    return b'"event":"pod_lost","pod_id":%b,"silent_seconds":%.1f,"told_by":%b}' % (
        json_text(pod_id),
        silent_seconds,
        json_text(told_by),
    )
