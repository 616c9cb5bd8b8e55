"""What the server says of its own accord, as the `data` of system and presence messages.

Pure functions that return plain dictionaries; who gets them is the pod's business. Errors go to
everybody who made one, the other notices only to who opted in with `?events=`.
"""

from __future__ import annotations

from typing import Any

Notice = dict[str, Any]

JOINED = "joined"
LEFT = "left"


def error(code: str, message: str, id: str | None) -> Notice:
    """A message was refused, or could not be passed on; `id` is the message's own, if known."""
    return {"event": "error", "code": code, "message": message, "id": id}


def welcome(*, client_id: str, pod_id: str, heartbeat_timeout: float, max_bytes: int) -> Notice:
    """The session is open: who the client is, and what it must keep to."""
    return {
        "event": "welcome",
        "client_id": client_id,
        "pod_id": pod_id,
        "heartbeat_seconds": heartbeat_timeout,
        "max_message_bytes": max_bytes,
    }


def degraded() -> Notice:
    """Redis is away: until `recovered` only clients of the same pod are reached for certain."""
    return {"event": "degraded", "reason": "redis"}


def recovered(outage_seconds: float) -> Notice:
    """What is published arrives again, in every room; for how long that was not certain."""
    return {"event": "recovered", "outage_ms": round(outage_seconds * 1000)}


def gap(room: str | None) -> Notice:
    """Messages of other pods to this room may be missing; how many cannot be known."""
    return {"event": "gap", "room": room, "reason": "redis"}


def missed(room: str | None, reason: str, messages: int) -> Notice:
    """So many messages to this room were dropped here, `slow` or by an `overload`."""
    return {"event": "gap", "room": room, "reason": reason, "messages": messages}


def drain(reconnect_in_ms: int) -> Notice:
    """This pod is going away: the client is to connect anew at that time, counted from now.

    The session is served until then and a little longer, and closed with 1001.
    """
    return {"event": "drain", "reconnect_in_ms": reconnect_in_ms}


def reply(event: str, id: str | None, **more: Any) -> Notice:
    """The answer to a command; `id` is the command's own, if it had one."""
    return {"event": event, **more, "id": id}


def presence(event: str) -> Notice:
    """The client in `from` joined or left the room."""
    return {"event": event}
