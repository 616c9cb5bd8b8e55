"""Which rooms this pod has: their members in the hub, and their subscriptions on Redis.

Keeps the two together: a room's channels are subscribed before its first member is let in, and
given up some time after its last one has left. Must not know what is said in a room.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator

from .broker import Subscriber
from .distinct import DistinctSample
from .hub import Hub
from .message import json_text
from .names import ROOM_CHANNEL_PREFIX, presence_channel, room_channel
from .notices import JOINED, LEFT
from .room import Room
from .session import Session

Announce = Callable[[Session, str, str], None]
"""Tells who asked for presence that a session (1) of a room (2) joined or left (3)."""


class Rooms:
    """The rooms of one pod. A session that asked for presence is in two: the room, and who comes
    and goes there."""

    def __init__(
        self, hub: Hub, subscriber: Subscriber, *, subscribe_timeout: float, announce: Announce
    ) -> None:
        self.sample = DistinctSample()
        """A sample of the rooms' channels, for counting them over all pods."""
        self._hub = hub
        self._subscriber = subscriber
        self._subscribe_timeout = subscribe_timeout
        self._announce = announce

    # -- before a session is let in --------------------------------------------------------

    async def prepare(self, name: str | None, *, presence: bool) -> bool:
        """Make sure that what is published to a room from now on reaches this pod.

        True once Redis has confirmed it; False if Redis is away or does not confirm within
        `subscribe_timeout` seconds. Follow it up with `enter` or `forget` in the same loop turn;
        after a cancellation too, with `forget`.
        """
        waiting = [
            confirmation
            for channel in _channels(name, presence=presence)
            if (confirmation := self._subscriber.subscribe(channel)) is not None
        ]
        if not waiting:
            return True
        if not self._subscriber.link.is_up:
            return False
        _, pending = await asyncio.wait(waiting, timeout=self._subscribe_timeout)
        return not pending

    def are_confirmed(self, name: str | None, *, presence: bool) -> bool:
        """Whether `prepare` would have nothing to wait for, nor anything else to do."""
        return self._subscriber.confirmed.issuperset(_channels(name, presence=presence))

    def forget(self, name: str | None, *, presence: bool) -> None:
        """What was prepared does not come: let go of what nobody else needs."""
        for channel in _channels(name, presence=presence):
            if channel not in self._hub.rooms:
                self._subscriber.unsubscribe_later(channel)

    def confirmation(self, name: str) -> asyncio.Future[None] | None:
        """What to wait for until Redis has confirmed a room of this pod.

        None if it has, or if nobody is in that room: who has just joined may have been closed in
        that moment, and a subscription made now would never be given up.
        """
        channel = room_channel(name)
        return self._subscriber.subscribe(channel) if channel in self._hub.rooms else None

    # -- coming and going ------------------------------------------------------------------

    def find(self, session: Session, name: str) -> Room | None:
        """The room of that name, if the session is in it."""
        channel = room_channel(name)
        return next((room for room in session.rooms if room.channel == channel), None)

    def enter(self, session: Session, name: str) -> Room | None:
        """A session joins a room. None if it was closed as a slow consumer meanwhile."""
        room = self._join(session, room_channel(name), name)
        if room is None:
            return None
        if session.room is not None and session.room.name == name:
            session.room = room  # it may have been gone in between
        self._announce(session, name, JOINED)
        if session.presence:
            self._join(session, presence_channel(name), name)
        return room

    def leave(self, session: Session, name: str) -> None:
        """A session leaves a room that it is in."""
        rooms = [room for room in session.rooms if room.name == name]  # and its presence
        self._gone([room for room in rooms if self._hub.leave(session, room)])
        self._announce(session, name, LEFT)

    def remove(self, session: Session) -> None:
        """A session receives nothing any more."""
        names = [room.name for room in session.rooms if _is_room(room.channel)]
        self._gone(self._hub.remove(session))
        for name in names:
            assert name is not None  # only the global room has none
            self._announce(session, name, LEFT)

    def _join(self, session: Session, channel: bytes, name: str) -> Room | None:
        room = self._hub.rooms.get(channel)
        if room is None:
            room = Room(channel, name, json_text(name))
            self._subscriber.subscribe(channel)
            if _is_room(channel):
                self.sample.add(channel)
        if self._hub.join(session, room):
            return room
        if channel not in self._hub.rooms:
            self._gone([room])
        return None

    def _gone(self, rooms: Iterable[Room]) -> None:
        for room in rooms:
            self._subscriber.unsubscribe_later(room.channel)
            if _is_room(room.channel):
                self.sample.discard(room.channel, self._room_channels())

    def _room_channels(self) -> Iterator[bytes]:
        return filter(_is_room, self._hub.rooms)


def _is_room(channel: bytes) -> bool:
    return channel.startswith(ROOM_CHANNEL_PREFIX)


def _channels(name: str | None, *, presence: bool) -> list[bytes]:
    if name is None:
        return []
    return [room_channel(name), presence_channel(name)] if presence else [room_channel(name)]
