"""The members of rooms on this pod, as presence sees them: users, not sessions.

May live here: which users are in a room, and with how many sessions. Must not know who is told.
"""

from __future__ import annotations

from typing import cast

from ..hub.hub import Hub
from ..protocol.channels import RedisNames
from ..protocol.presence import Info
from ..session.session import Session
from .users import Users


class RoomMembers:
    """Looks up who is in a room of this pod."""

    def __init__(self, hub: Hub, users: Users, names: RedisNames) -> None:
        self._hub = hub
        self._users = users
        self._room_channel = names.room_channel

    def users(self, room: str) -> set[str]:
        """Return the users in a room."""
        channel = self._hub.channels.get(self._room_channel(room))
        members = () if channel is None else channel.members
        return {cast(Session, member).user for member in members}

    def presences(self, room: str, user: str) -> tuple[int, Info | None]:
        """Return the sessions of a user in a room, and the info of the newest that has one."""
        channel = self._hub.channels.get(self._room_channel(room))
        if channel is None:
            return 0, None
        sessions = [each for each in self._users.of(user) if each in channel.members]
        infos = [
            Info.of(each.client_id, each.identity.info)
            for each in sessions
            if each.identity is not None and each.identity.info is not None
        ]
        return len(sessions), max(infos, key=lambda info: info.client_id, default=None)
