"""The audience of one room: the sessions of this pod that are told who is in it.

    add ─→ newcomers ─→ (they have got a roster) ─→ watchers ─→ changes

Both are channels of the hub that Redis never hears of, so a crowd is told as it is told messages.

May live here: who gets the next roster, and who the next change. Must not know what is in them.
"""

from __future__ import annotations

from typing import cast

from ..hub.channel import Channel, Member
from ..hub.hub import Hub
from ..protocol.channels import RedisNames
from ..protocol.message import json_text
from ..session.session import Session


class Audience:
    """The sessions that are told of one room. A session that is closed has left it."""

    def __init__(self, hub: Hub, names: RedisNames, room: str) -> None:
        json_room = json_text(room)
        self.newcomers = Channel(names.newcomers_channel(room), room, json_room)
        """Those who wait for a roster."""
        self.watchers = Channel(names.presence_channel(room), room, json_room)
        """Those who are told of changes to the last roster."""
        self._hub = hub
        self._served: dict[Member, None] = {}
        self._guests: set[Member] = set()

    @property
    def is_empty(self) -> bool:
        """Whether nobody is told."""
        return not (self.newcomers.members or self.watchers.members)

    def __contains__(self, session: Session) -> bool:
        """Whether a session is told of changes, or will be."""
        return session in self.watchers.members or (
            session in self.newcomers.members and session not in self._guests
        )

    def add(self, session: Session) -> None:
        """Give a session the next roster, and the changes after it."""
        self._guests.discard(session)
        if session not in self.watchers.members:
            self._hub.join(session, self.newcomers)

    def ask(self, session: Session) -> None:
        """Give a session the next roster; and nothing else, if it is not told of changes."""
        if session not in self:
            self._guests.add(session)
        self._hub.leave(session, self.watchers)
        self._served.pop(session, None)
        self._hub.join(session, self.newcomers)

    def discard(self, session: Session) -> bool:
        """Tell a session nothing any more; return whether it would have been told anything."""
        is_told = session in self.watchers.members or session in self.newcomers.members
        self._guests.discard(session)
        self._served.pop(session, None)
        for channel in (self.newcomers, self.watchers):
            self._hub.leave(session, channel)
        return is_told

    def send_roster(self, frame: bytes, *, to_newcomers: bool, to_watchers: bool) -> None:
        """Send a roster to those. Its newcomers then get what changes."""
        if to_newcomers and self.newcomers.members:
            self._hub.deliver(self.newcomers, frame)
            self._served = dict(self.newcomers.members)
        if to_watchers and self.watchers.members:
            self._hub.deliver(self.watchers, frame)

    def send_changes(self, frame: bytes) -> None:
        """Send what has changed to those who have a roster."""
        if self.watchers.members:
            self._hub.deliver(self.watchers, frame)

    def settle(self) -> None:
        """Count those who have got a roster as such; to be called some turns after it was sent."""
        served, self._served = self._served, {}
        for member in served:
            session = cast(Session, member)
            if session in self.newcomers.members:
                self._hub.leave(session, self.newcomers)
                if session in self._guests:
                    self._guests.discard(session)
                else:
                    self._hub.join(session, self.watchers)
        self._guests.intersection_update(self.newcomers.members)
