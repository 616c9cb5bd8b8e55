"""Events: the `data` of the system and presence messages that the server itself sends.

Answers to a client's own messages go to every client, other events only to clients that asked for
them with `?events=`. `encode` makes their JSON, in which `event` comes first.

May live here: the shape of each event. Must not know who gets it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class Event(msgspec.Struct, gc=False, tag_field="event"):
    """An event; its tag is the value of `event` in the JSON."""


class Error(Event, tag="error"):
    """A message was refused, or could not be passed on; `id` is the message's own, if known."""

    code: str
    message: str
    id: str | None
    room: str | msgspec.UnsetType = msgspec.UNSET
    """The room that may not be watched, if no command has asked just for that; or the one that
    Redis forbids."""


class Pong(Event, tag="pong"):
    """The answer to `ping`; `id` is the command's own, as in all answers."""

    id: str | None


class Refusal(msgspec.Struct, gc=False):
    """The reason why one room of a command with several was not joined, or left."""

    code: str
    message: str


class RoomResult(msgspec.Struct, gc=False):
    """One room of a command with several: it was joined, or left, unless there is an error."""

    room: str
    error: Refusal | msgspec.UnsetType = msgspec.UNSET


class Joined(Event, tag="joined"):
    """The answer to `join`, with `room` or with `rooms`, as the command had it."""

    room: str | msgspec.UnsetType = msgspec.UNSET
    rooms: list[RoomResult] | msgspec.UnsetType = msgspec.UNSET
    id: str | msgspec.UnsetType | None = msgspec.UNSET


class Left(Event, tag="left"):
    """The answer to `leave`, with `room` or with `rooms`, as the command had it."""

    room: str | msgspec.UnsetType = msgspec.UNSET
    rooms: list[RoomResult] | msgspec.UnsetType = msgspec.UNSET
    id: str | msgspec.UnsetType | None = msgspec.UNSET


class Rooms(Event, tag="rooms"):
    """The answer to `rooms`: those that the client is in, in the order in which it joined them."""

    rooms: list[str]
    id: str | None


class Welcome(Event, tag="welcome"):
    """The session is open, with this client ID, for this user, and with these bounds."""

    client_id: str
    user: str
    pod_id: str
    protocol: int
    features: list[str]
    heartbeat_seconds: float
    max_message_bytes: int


class Degraded(Event, tag="degraded"):
    """Redis is away: until `Recovered` only clients of the same pod are reached for certain."""

    reason: str = "redis"


class Recovered(Event, tag="recovered"):
    """Messages of other pods arrive again, in every room, after so long without certainty."""

    outage_ms: int


class Gap(Event, tag="gap"):
    """Messages to a room (None: global ones) are missing, or may be.

    With `redis` as the reason they are other pods', and nobody knows how many. With `slow` or
    `overload` so many were dropped here.
    """

    room: str | None
    reason: str = "redis"
    messages: int | msgspec.UnsetType = msgspec.UNSET


class Drain(Event, tag="drain"):
    """This pod is going away: the client is to connect anew at that time, counted from now.

    The session is served until then and a little longer, and closed with 1001.
    """

    reconnect_in_ms: int


class Ack(Event, tag="ack"):
    """A message that asked for a receipt was handed on.

    It was given to `local` members on this pod, and to `subscribers` other subscriptions on Redis.
    Both are left out for who is no member of the room.
    """

    id: str
    local: int | msgspec.UnsetType = msgspec.UNSET
    subscribers: int | msgspec.UnsetType = msgspec.UNSET


class Nack(Event, tag="nack"):
    """A message that asked for a receipt may not have reached other pods."""

    id: str
    code: str
    message: str


class RosterMember(msgspec.Struct, gc=False, omit_defaults=True):
    """A user in a room, and what its token says of it, if it says anything."""

    user: str
    info: msgspec.Raw | None = None


class Departed(msgspec.Struct, gc=False):
    """A user who is in a room no more: `left`, `lost` or `kicked`."""

    user: str
    reason: str


class Roster(Event, tag="roster"):
    """The users in a room on all pods. It replaces all that was told before.

    In a large room `members` is null, and `users` is the sum of the pods'. Without `complete` some
    may be missing, and another roster follows.
    """

    seq: int
    users: int
    sessions: int
    exact: bool
    complete: bool
    members: list[RosterMember] | None


class Changed(Event, tag="changed"):
    """The users who came and went within a moment; its `seq` follows that of the last one.

    In a large room the lists are null.
    """

    seq: int
    users: int
    sessions: int
    joined: list[RosterMember] | None
    updated: list[RosterMember] | None
    left: list[Departed] | None


class TokenExpiring(Event, tag="token_expiring"):
    """The token ends in so many seconds, unless a new one comes; see `Authenticated`."""

    seconds: int


class Authenticated(Event, tag="authenticated"):
    """The answer to `auth`: the new token counts, for so many seconds (None: without an end)."""

    expires_in: int | None
    id: str | None


class Kicked(Event, tag="kicked"):
    """The client is no longer in a room, and not by its own wish."""

    room: str
    code: str
    message: str


def forbidden_room(room: str, id: str | None) -> Error:
    """Redis does not let this pod subscribe to the room, which the client is not in (any more)."""
    message = f"Redis does not let this server into room {room!r}: choose another"
    return Error("forbidden_room", message, id, room)


def forbidden_presence(room: str, id: str | None) -> Error:
    """The client is in the room, and is not told who else is."""
    message = f"Your token does not allow you to see who is in room {room!r}"
    return Error("forbidden_presence", message, id, room)


RESERVED_EVENTS = ("roster", "changed")
"""The events in messages of type `presence` that only the server sends."""


class _Named(msgspec.Struct):
    event: str = ""


_read_name = msgspec.json.Decoder(_Named).decode


def is_ours(data: bytes) -> bool:
    """Whether a client's presence message would be taken for one of the server's."""
    try:
        return _read_name(data).event in RESERVED_EVENTS
    except msgspec.DecodeError:
        return False


encode: Callable[[Event], bytes] = msgspec.json.Encoder().encode
"""Makes an event's JSON, compact and in UTF-8."""
