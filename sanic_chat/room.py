"""A room on one pod: its members, and what they are still to get in this loop turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Member(Protocol):
    """What a room and its hub need of a session."""

    echo: bool
    rooms: tuple[Room, ...]
    writable: bool
    write: Callable[[bytes], None]

    def enqueue(self, frames: bytes, messages: int, room: Room) -> bool:
        """Put a room's frames into the send queue; False if the session is to be closed."""

    def overflow(self, messages: int) -> None:
        """Close a slow consumer."""


class Room:
    """A channel's members on this pod, and the frames they are still to get in this loop turn."""

    __slots__ = (
        "channel",
        "fan_outs",
        "is_global",
        "json_name",
        "members",
        "muted",
        "name",
        "pending",
        "shared",
    )

    def __init__(self, channel: bytes, name: str | None, json_name: bytes) -> None:
        self.channel = channel
        self.name = name
        self.json_name = json_name
        self.is_global = name is None
        self.members: dict[Member, None] = {}
        """Who is in it; who spoke last stands last."""
        self.shared = 0
        """How many members are in other rooms too."""
        self.pending: list[bytes] = []
        self.muted: dict[Member, set[int]] | None = None
        """For each sender that wants no echo, which of the pending frames are its own."""
        self.fan_outs = 0
        """How many fan-outs to its members are under way."""
