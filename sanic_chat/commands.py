"""What clients ask of the server itself, in messages of type `system`: join, leave, ping.

May live here: what a command needs, does and answers. Must not know how it came, nor what other
messages mean.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from . import notices
from .errors import BadMessage
from .hub import Hub
from .message import ClientMessage, parse_command, parse_room_name
from .notifier import Notifier
from .rooms import Rooms
from .session import Session

ACTIONS = ("join", "leave", "ping")


class Commands:
    """Obeys the commands of a pod's sessions, each of which may be in `rooms_per_session` rooms.

    `is_connected()` tells whether there is a Redis to confirm a subscription.
    """

    def __init__(
        self,
        hub: Hub,
        rooms: Rooms,
        notifier: Notifier,
        *,
        is_connected: Callable[[], bool],
        rooms_per_session: int,
    ) -> None:
        self._hub = hub
        self._rooms = rooms
        self._notifier = notifier
        self._is_connected = is_connected
        self._rooms_per_session = rooms_per_session

    def obey(self, session: Session, message: ClientMessage) -> None:
        """Do what a system message asks for, and answer it.

        Raises BadMessage: `bad_command`, `unknown_action`, `bad_room`, `too_many_rooms`,
        `not_in_room`.
        """
        command = parse_command(message)
        self._hub.catch_up(session)  # the answer comes after what the client sent before it
        id = message.id or None
        if command.action == "ping":
            self._notifier.tell(session, notices.reply("pong", id))
        elif command.action == "join":
            self._join(session, parse_room_name(command.room, message), id)
        elif command.action == "leave":
            self._leave(session, parse_room_name(command.room, message), id)
        else:
            raise BadMessage(
                "unknown_action",
                f"There is no action {command.action!r}; there are {', '.join(ACTIONS)}",
                id,
            )

    def _join(self, session: Session, name: str, id: str | None) -> None:
        joined = len({room.name for room in session.rooms})  # presence is no second room
        if self._rooms.find(session, name) is None:
            if joined >= self._rooms_per_session:
                raise BadMessage(
                    "too_many_rooms",
                    f"You are in {joined} rooms, and {self._rooms_per_session} are allowed",
                    id,
                )
            self._rooms.enter(session, name)
        confirmed = self._rooms.confirmation(name)
        reply = partial(self._notifier.tell, session, notices.reply(notices.JOINED, id, room=name))
        if confirmed is None or not self._is_connected():
            reply()
        else:
            confirmed.add_done_callback(lambda future: future.cancelled() or reply())

    def _leave(self, session: Session, name: str, id: str | None) -> None:
        if self._rooms.find(session, name) is None:
            raise BadMessage("not_in_room", f"You are not in room {name!r}", id)
        self._rooms.leave(session, name)
        self._notifier.tell(session, notices.reply(notices.LEFT, id, room=name))
