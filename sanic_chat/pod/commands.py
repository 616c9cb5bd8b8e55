"""Commands: what clients ask of the server itself, in messages of type `system`.

    message ─→ execute ─→ rooms, renewal ─→ answers

May live here: what a command needs, does and answers. Must not know how it came, nor what other
messages mean.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from ..errors import BadMessage
from ..protocol import events
from ..protocol.commands import parse_command
from ..protocol.events import Refusal, RoomResult
from ..protocol.message import ClientMessage, parse_room_name
from ..protocol.personal_room import resolve
from ..session.session import Session
from .answers import Answers
from .renewal import Renewal
from .rooms import Rooms

ACTIONS = ("join", "leave", "rooms", "who", "ping", "auth")

Enter = Callable[[Session, str, ClientMessage, int], bool]
"""Puts a session, which is in so many rooms, into another one; whether it is in one more then."""


class Commands:
    """Executes the commands of a pod's sessions, each of which may be in `rooms_per_session` rooms.

    `is_connected()` tells whether there is a Redis to confirm a subscription.
    """

    def __init__(
        self,
        rooms: Rooms,
        answers: Answers,
        renewal: Renewal,
        *,
        is_connected: Callable[[], bool],
        rooms_per_session: int,
    ) -> None:
        self._rooms = rooms
        self._answers = answers
        self._renewal = renewal
        self._is_connected = is_connected
        self._rooms_per_session = rooms_per_session

    def execute(self, session: Session, message: ClientMessage) -> None:
        """Execute the command in a system message, and answer it.

        Raises BadMessage: `bad_command`, `unknown_action`, `bad_room`, `forbidden_room`,
        `too_many_rooms`, `not_in_room`, `forbidden_presence`, `too_soon`, and what `Renewal.renew`
        raises. What is wrong with one of several rooms stands in the answer instead.
        """
        command = parse_command(message)
        id = message.id or None
        if command.action == "ping":
            self._answers.send(session, events.Pong(id))
        elif command.action == "rooms":
            self._tell_rooms(session, id)
        elif command.action == "auth":
            self._renewal.renew(session, command.token, id)
        elif command.action == "who":
            self._who(session, resolve(parse_room_name(command.room, message), session.user), id)
        elif command.action in ("join", "leave"):
            joins = command.action == "join"
            enter = self._enter_and_watch if command.presence else self._enter
            if command.rooms is not None:
                names = self._named(command.rooms, command.room, id)
                if joins:
                    self._join_all(session, names, message, enter)
                else:
                    self._leave_all(session, names, message)
                return
            name = resolve(parse_room_name(command.room, message), session.user)
            if joins:
                self._join(session, name, message, enter)
            else:
                self._leave(session, name, message)
        else:
            raise BadMessage(
                "unknown_action",
                f"There is no action {command.action!r}; there are {', '.join(ACTIONS)}",
                id,
            )

    def _named(self, names: list[str], name: str | None, id: str | None) -> list[str]:
        """The rooms of one command, each once. Raises BadMessage."""
        if name is not None or not names or len(names) > self._rooms_per_session:
            raise BadMessage(
                "bad_command",
                f"A command names one room, or in rooms 1 to {self._rooms_per_session}",
                id,
            )
        return [*dict.fromkeys(names)]

    def _tell_rooms(self, session: Session, id: str | None) -> None:
        names = self._rooms.of(session)
        refused = self._answers.refusals(session)

        def answer(_: Collection[str]) -> events.Event:
            gone = refused()
            return events.Rooms([name for name in names if name not in gone], id)

        self._answers.send_when(session, {}, answer)

    # -- one room --------------------------------------------------------------------------

    def _join(self, session: Session, name: str, message: ClientMessage, enter: Enter) -> None:
        enter(session, name, message, self._rooms.count(session))

        def answer(forbidden: Collection[str]) -> events.Event:
            id = message.id or None
            return events.forbidden_room(name, id) if forbidden else events.Joined(name, id=id)

        self._answer_when_confirmed(session, [name], answer)

    def _leave(self, session: Session, name: str, message: ClientMessage) -> None:
        self._exit(session, name, message)
        self._answers.send(session, events.Left(name, id=message.id or None))

    # -- several rooms ---------------------------------------------------------------------

    def _join_all(
        self, session: Session, names: list[str], message: ClientMessage, enter: Enter
    ) -> None:
        rooms = self._rooms.count(session)

        def enter_one(session: Session, name: str, message: ClientMessage) -> None:
            nonlocal rooms
            rooms += enter(session, name, message, rooms)

        results = [self._attempt(enter_one, session, name, message) for name in names]
        joined = [result.room for result in results if not result.error]

        def answer(forbidden: Collection[str]) -> events.Event:
            for result in results:
                if result.room in forbidden and not result.error:
                    error = events.forbidden_room(result.room, None)
                    result.error = Refusal(error.code, error.message)
            return events.Joined(rooms=results, id=message.id or None)

        self._answer_when_confirmed(session, joined, answer)

    def _leave_all(self, session: Session, names: list[str], message: ClientMessage) -> None:
        results = [self._attempt(self._exit, session, name, message) for name in names]
        self._answers.send(session, events.Left(rooms=results, id=message.id or None))

    def _attempt(
        self,
        step: Callable[[Session, str, ClientMessage], None],
        session: Session,
        text: str,
        message: ClientMessage,
    ) -> RoomResult:
        """Take a step for one room of several; return what became of it."""
        try:
            name = resolve(parse_room_name(text, message), session.user)
            step(session, name, message)
        except BadMessage as refusal:
            return RoomResult(text, Refusal(refusal.code, refusal.message))
        return RoomResult(name)

    # -- steps -----------------------------------------------------------------------------

    def _enter(self, session: Session, name: str, message: ClientMessage, rooms: int) -> bool:
        """Put a session, which is in so many rooms, into another one, unless it is in it already.

        Returns whether it is in one more now. Raises BadMessage if it may not be.
        """
        id = message.id or None
        if not self._rooms.may(session, "join", name):
            raise BadMessage("forbidden_room", f"You are not allowed into room {name!r}", id)
        if self._rooms.find(session, name) is not None:
            return False
        if rooms >= self._rooms_per_session:
            raise BadMessage(
                "too_many_rooms",
                f"You are in {rooms} rooms, and {self._rooms_per_session} are allowed",
                id,
            )
        self._rooms.join(session, name)
        if session.presence and not self._rooms.may(session, "presence", name):
            self._answers.send(session, events.forbidden_presence(name, id))
        return True

    def _enter_and_watch(
        self, session: Session, name: str, message: ClientMessage, rooms: int
    ) -> bool:
        """Do so, and tell it who is there from now on, in a room that it was in before, too."""
        is_new = self._enter(session, name, message, rooms)
        if self._rooms.may(session, "presence", name):
            self._rooms.watch(session, name)
        elif not (is_new and session.presence):  # else it was told just now
            self._answers.send(session, events.forbidden_presence(name, message.id or None))
        return is_new

    def _exit(self, session: Session, name: str, message: ClientMessage) -> None:
        self._check_is_in(session, name, message.id or None)
        self._rooms.leave(session, name)

    def _who(self, session: Session, name: str, id: str | None) -> None:
        self._check_is_in(session, name, id)
        if not self._rooms.may(session, "presence", name):
            raise BadMessage("forbidden_presence", events.forbidden_presence(name, id).message, id)
        if not self._rooms.ask(session, name):
            raise BadMessage("too_soon", "One roster a second is sent; this was one more", id)

    def _check_is_in(self, session: Session, name: str, id: str | None) -> None:
        if self._rooms.find(session, name) is None:
            raise BadMessage("not_in_room", f"You are not in room {name!r}", id)

    def _answer_when_confirmed(
        self, session: Session, names: list[str], make: Callable[[Collection[str]], events.Event]
    ) -> None:
        confirmations = {}
        if self._is_connected():
            for name in names:
                confirmation = self._rooms.confirmation(name)
                if confirmation is not None:
                    confirmations[name] = confirmation
        self._answers.send_when(session, confirmations, make)
