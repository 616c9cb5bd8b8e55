"""The rooms of this pod: their members in the hub, and their subscriptions on Redis, in step.

    subscribe ─→ (Redis confirms) ─→ join ─→ … ─→ leave ─→ (the last one) ─→ unsubscribe, later

A room's channel is subscribed to before its first member joins, and given up some time after its
last one has left.

May live here: when a room's channel is subscribed to, and who is told of joins and leaves. Must not
know what is said in a room.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, cast

from ..broker.broker import Broker
from ..hub.channel import Channel
from ..hub.hub import Hub
from ..presence.presence import Presence
from ..protocol.channels import RedisNames
from ..protocol.message import json_text
from ..protocol.permissions import Right
from ..protocol.presence import Reason
from ..session.session import Session
from .access import Access


class Wanted(NamedTuple):
    """A room that a client is to be put into when it connects."""

    room: str
    """Its normalised name."""
    presence: bool
    """Whether the client is told who is in it."""


class Rooms:
    """The rooms of one pod."""

    def __init__(
        self,
        hub: Hub,
        broker: Broker,
        presence: Presence,
        names: RedisNames,
        access: Access,
        *,
        subscribe_timeout: float,
    ) -> None:
        self._access = access
        self._hub = hub
        hub.on_empty = self._emptied
        self._broker = broker
        self._names = names
        self._room_channel = names.room_channel  # asked for each message that names its room
        self._subscribe_timeout = subscribe_timeout
        self._presence = presence

    # -- before a session joins ------------------------------------------------------------

    async def subscribe(self, wanted: Sequence[Wanted]) -> bool:
        """Subscribe to rooms, so that all that is published there from now on reaches this pod.

        Returns True once Redis has confirmed them, and False if Redis is away or does not confirm
        within `subscribe_timeout` seconds. Raises SubscribeRefused if Redis forbids one of them.
        The caller then calls `join` or `release` in the same loop turn; after an error or a
        cancellation `release`.
        """
        waiting = [
            confirmation
            for channel in self._channels(wanted)
            if (confirmation := self._broker.subscribe(channel)) is not None
        ]
        if not waiting:
            return True
        if not self._broker.is_connected:
            return False
        done, pending = await asyncio.wait(waiting, timeout=self._subscribe_timeout)
        for confirmation in done:
            if not confirmation.cancelled():
                confirmation.result()
        return not pending

    def are_subscribed(self, wanted: Sequence[Wanted]) -> bool:
        """Whether Redis has confirmed all of these, so that `subscribe` need not be called."""
        return self._broker.subscriber.confirmed.issuperset(self._channels(wanted))

    def release(self, wanted: Sequence[Wanted]) -> None:
        """Take back a `subscribe`: give up the channels of the rooms that have no members."""
        for channel in self._channels(wanted):
            if channel not in self._hub.channels:
                self._broker.unsubscribe_later(channel)

    def confirmation(self, name: str) -> asyncio.Future[None] | None:
        """Return a future that is done when Redis confirms a room of this pod.

        It raises SubscribeRefused if Redis forbids the room. None if Redis has confirmed it, or if
        the room has no members: the session that has just joined may be closed already, and a
        subscription made now would never be given up.
        """
        channel = self._room_channel(name)
        return self._broker.subscribe(channel) if channel in self._hub.channels else None

    def may(self, session: Session, right: Right, name: str) -> bool:
        """Whether a session has a right in a room; see `Access.may`."""
        return self._access.may(right, name, user=session.user, identity=session.identity)

    # -- coming and going ------------------------------------------------------------------

    def find(self, session: Session, name: str) -> Channel | None:
        """Return the channel of a room if the session is in it, else None."""
        channel = self._hub.channels.get(self._room_channel(name))
        return channel if channel is not None and session in channel.members else None

    def channel(self, name: str) -> Channel:
        """Return the channel of a room; one without members, and for this once, if it has none."""
        channel_name = self._room_channel(name)
        channel = self._hub.channels.get(channel_name)
        return Channel(channel_name, name, json_text(name)) if channel is None else channel

    def of(self, session: Session) -> list[str]:
        """Return the rooms that a session is in, in the order in which it joined them."""
        return [
            channel.room
            for channel in session.channels
            if channel.room is not None and self._names.is_room(channel.name)
        ]

    def count(self, session: Session) -> int:
        """Return the number of rooms that a session is in."""
        return sum(map(self._names.is_room, (channel.name for channel in session.channels)))

    def join(self, session: Session, name: str) -> Channel | None:
        """Make a session a member of a room. Returns None if it was closed meanwhile."""
        channel_name = self._room_channel(name)
        channel = self._hub.channels.get(channel_name)
        is_first = channel is None
        if channel is None:
            channel = Channel(channel_name, name, json_text(name))
            self._broker.subscribe(channel_name)
        if not self._hub.join(session, channel):
            if channel_name not in self._hub.channels:
                self._emptied(channel)
            return None
        if session.default_channel is not None and session.default_channel.room == name:
            session.default_channel = channel  # it may have been gone in between
        self._presence.joined(session, name, is_first=is_first)
        if session.presence and self.may(session, "presence", name):
            self._presence.watch(session, name)
        return channel

    def leave(self, session: Session, name: str, reason: Reason = "left") -> None:
        """Take a session out of a room; first it is written what was delivered there before."""
        channel = self._hub.channels.get(self._room_channel(name))
        if channel is not None:
            self._hub.leave(session, channel)
        self._presence.unwatch(session, name)
        self._presence.left(session, name, reason)

    def put_out(self, channel_name: bytes) -> list[tuple[Session, str]]:
        """Take all members out of a room whose channel Redis forbids; return each with the room."""
        channel = self._hub.channels.get(channel_name)
        if channel is None or channel.room is None:
            return []
        sessions = [cast(Session, member) for member in channel.members]
        for session in sessions:
            self.leave(session, channel.room, "kicked")
        return [(session, channel.room) for session in sessions]

    def leave_all(self, session: Session) -> None:
        """Take a session out of all rooms; it gets nothing any more."""
        self._hub.remove(session)

    def _emptied(self, channel: Channel) -> None:
        self._broker.unsubscribe_later(channel.name)

    # -- who is told who is there ------------------------------------------------------------

    def watch(self, session: Session, name: str) -> None:
        """Tell a session, which is in a room and may see that, who else is."""
        self._presence.watch(session, name)

    def ask(self, session: Session, name: str) -> bool:
        """Tell it once, or once more; False if it has asked within a second."""
        return self._presence.ask(session, name)

    def stop_presence(self, session: Session, name: str) -> bool:
        """Tell a session no longer who is in a room. Returns whether it would have been told."""
        return self._presence.unwatch(session, name)

    def info_changed(self, session: Session) -> None:
        """Tell who watches its rooms that a session has another info."""
        for name in self.of(session):
            self._presence.info_changed(session, name)

    def _channels(self, wanted: Sequence[Wanted]) -> list[bytes]:
        return [self._room_channel(each.room) for each in wanted]
