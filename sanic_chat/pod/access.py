"""Access: who may join, speak and see where, by the client's token and by the settings.

    path, query, claim, command ─→ may ──────┐
    a message ─→ may, may_speak_to_everybody ┴→ identity, personal rooms, settings

May live here: what is allowed. Must not know what is done then, nor how a refusal is told.
"""

from __future__ import annotations

from ..protocol.identity import Identity
from ..protocol.permissions import Right
from ..protocol.personal_room import PERSONAL, personal_room


class Access:
    """The rules of one server.

    `global_publish` says whether all clients may speak to everybody, but for those whose token
    speaks of rooms. There are personal rooms if `personal_rooms`; `personal_publish` says whether
    all clients may speak in those of others, with the same exception.
    """

    def __init__(
        self, *, global_publish: bool, personal_rooms: bool, personal_publish: bool
    ) -> None:
        self.global_publish = global_publish
        self.personal_rooms = personal_rooms
        self._personal_publish = personal_publish

    def may(self, right: Right, room: str, *, user: str, identity: Identity | None) -> bool:
        """Whether a user has a right in a room, whose name is normalised and not `@me`.

        In a user's own personal room no token can take a right away, and in another's none can
        give one but `publish`.
        """
        permissions = None if identity is None else identity.permissions
        if not room.startswith(PERSONAL):
            return permissions is None or permissions.allows(right, room)
        if not self.personal_rooms:
            return False
        if room == personal_room(user):
            return True
        if right != "publish":
            return False
        return self._personal_publish if permissions is None else permissions.allows(right, room)

    def may_speak_to_everybody(self, identity: Identity | None) -> bool:
        """Whether a user may publish to all clients."""
        permissions = None if identity is None else identity.permissions
        return self.global_publish if permissions is None else permissions.global_publish
