"""The cluster as backends see it: what pods ask each other for them, and what they are told.

May live here: the JSON of both. Must not know where an answer comes from.
"""

from __future__ import annotations

import time
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from .api import Code, Limit, Reason, Spared, User
from .pages import Page

MAX_NAMED_ROOMS_BYTES = 8 * 1024
"""The bytes of room names that are told of one session; of the others only the number is."""


# -- questions -----------------------------------------------------------------------------


class RoomsQuery(msgspec.Struct, frozen=True):
    """The rooms whose names begin with `prefix` and come behind `after`."""

    prefix: str
    after: str
    limit: Limit


class RoomQuery(msgspec.Struct, frozen=True):
    """The members of a room, those behind `after`."""

    name: str
    after: str
    limit: Limit


class UserQuery(msgspec.Struct, frozen=True):
    """The sessions of a user, those whose client IDs are behind `after`."""

    user: str
    after: str
    limit: Limit


class Removal(msgspec.Struct, frozen=True, omit_defaults=True):
    """The sessions of a user, or the one of a client ID, are to be closed."""

    code: Code
    reason: Reason
    user: User | None = None
    client_id: str | None = None
    spared: Spared = []
    """The client IDs of sessions of the user that stay."""
    revoked_before: float | None = None
    """Tokens of the user that were issued before this moment, in seconds since 1970, are refused
    from now on. None: no token is."""
    id: Annotated[str, Meta(max_length=32)] = ""
    """Its own, by which a pod that is told of it twice knows. Empty: it is told once."""
    seconds_ago: float = 0.0
    """The time since it was asked for, as it was told: sessions that have begun later stay."""

    def aged(self, seconds: float) -> Removal:
        """Return the same as it is told so many seconds after it was asked for."""
        return msgspec.structs.replace(self, seconds_ago=seconds)


class Revoked(NamedTuple):
    """A user whose tokens that were issued before a moment, in seconds since 1970, are revoked."""

    before: float
    user: str


# -- what a backend is told ----------------------------------------------------------------


class Room(msgspec.Struct, frozen=True):
    """A room and the number of sessions in it."""

    name: str
    sessions: int


class RoomsPage(msgspec.Struct, frozen=True):
    """Rooms, by name."""

    rooms: list[Room]
    next: str | None
    """The name to ask for the next page with; None: this is the last one."""
    complete: bool
    missing: list[str]


class Member(msgspec.Struct, frozen=True):
    """A user in a room, and the number of his sessions there."""

    user: str
    sessions: int


class RoomHere(msgspec.Struct, frozen=True):
    """A room on one pod."""

    sessions: int
    users: int
    members: Page[Member]


class RoomPage(msgspec.Struct, frozen=True):
    """A room, and its members by user."""

    name: str
    sessions: int
    """The number of all its sessions."""
    users: int
    """The number of all its users; if it is not exact, the sum of the pods' numbers."""
    exact: bool
    """Whether no user is counted on two pods."""
    members: list[Member]
    next: str | None
    complete: bool
    missing: list[str]


class SessionOf(msgspec.Struct, frozen=True):
    """A session of a user."""

    client_id: str
    pod_id: str
    since: str
    """The moment of its handshake, an RFC 3339 date-time."""
    rooms: list[str]
    more_rooms: int
    """The number of further rooms, whose names would be too long together."""
    queue: int
    """The messages that it is still to get, because it does not keep up."""


class UserPage(msgspec.Struct, frozen=True):
    """The sessions of a user, by client ID."""

    user: str
    sessions: list[SessionOf]
    next: str | None
    complete: bool
    missing: list[str]


class Disconnected(msgspec.Struct, frozen=True):
    """The number of sessions that were closed."""

    disconnected: int
    complete: bool
    missing: list[str]


class Drained(msgspec.Struct, frozen=True):
    """Whether a pod was found, which drains then."""

    found: bool
    complete: bool
    missing: list[str]


def milliseconds_of(client_id: str) -> int:
    """The moment that a client ID tells, which is a UUIDv7 (RFC 9562), since 1970."""
    return int(client_id[:8] + client_id[9:13], 16)


def since(client_id: str) -> str:
    """The moment that a client ID tells, as a date-time."""
    seconds, rest = divmod(milliseconds_of(client_id), 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:03d}Z"


def name_rooms(rooms: list[str]) -> tuple[list[str], int]:
    """Return as many of these names as may be told of a session, and the number of the others."""
    left = MAX_NAMED_ROOMS_BYTES
    for index, room in enumerate(rooms):
        left -= len(room.encode()) + 3
        if left < 0:
            return rooms[:index], len(rooms) - index
    return rooms, 0
