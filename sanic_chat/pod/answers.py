"""Answers to commands, for each session in the order of its commands.

    commands ─→ send, send_when ─→ (Redis has confirmed; earlier answers are sent) ─→ notifier

May live here: which answers wait, for what, and how many may. Must not know what is asked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping
from functools import partial

from ..hub.hub import Hub
from ..protocol.events import Event
from ..session.inbound import Hold
from ..session.session import Session
from .notifier import Notifier

MAX_WAITING = 128
"""The answers of one session that may wait; with so many the session is held."""

MAX_WAITING_ROOMS = 256
"""The rooms that they may wait for; with so many the session is held, too."""

MakeAnswer = Callable[[Collection[str]], Event]
"""Makes an answer, given the rooms that Redis has forbidden."""


class Answers:
    """The answers that sessions of a pod are still to get.

    An answer follows all messages that were delivered before it. One that waits for Redis holds up
    the later ones of its own session only. A session with `MAX_WAITING` answers, with answers that
    wait for `MAX_WAITING_ROOMS`, or with two that wait for the same room, is held: its messages
    wait too.
    """

    def __init__(self, hub: Hub, notifier: Notifier) -> None:
        self._hub = hub
        self._notifier = notifier
        self.waiting: dict[Session, deque[_Answer]] = {}
        """The answers that wait, of each session that has any."""

    def send(self, session: Session, event: Event) -> None:
        """Answer a session, behind its answers that still wait."""
        if session in self.waiting:
            self._append(session, _Answer(lambda forbidden: event))
        else:
            self._send_now(session, event)

    def send_when(
        self,
        session: Session,
        confirmations: Mapping[str, asyncio.Future[None]],
        make: MakeAnswer,
    ) -> None:
        """Answer a session once all `confirmations`, the futures of rooms' subscriptions, are done.

        `make` is called with the rooms whose future has raised, when it is the answer's turn.
        """
        if not confirmations and session not in self.waiting:
            self._send_now(session, make(()))
            return
        answer = _Answer(make, confirmations)
        self._append(session, answer)
        for room, confirmed in confirmations.items():
            confirmed.add_done_callback(partial(self._is_done, session, answer, room))

    def is_waiting(self, session: Session, room: str) -> bool:
        """Whether an answer to a session waits for a room."""
        return any(room in answer.rooms for answer in self.waiting.get(session, ()))

    def refusals(self, session: Session) -> Callable[[], set[str]]:
        """Return a function that tells which rooms Redis has forbidden since, of those that answers
        to a session wait for now."""
        awaited = [(answer, {*answer.rooms}) for answer in self.waiting.get(session, ())]
        return lambda: {room for answer, rooms in awaited for room in rooms & {*answer.forbidden}}

    def stop_waiting(self) -> None:
        """Send all answers that wait for Redis, which is away and confirms nothing."""
        for session, answers in tuple(self.waiting.items()):
            for answer in answers:
                answer.rooms.clear()
            self._give(session)

    def discard(self, session: Session) -> None:
        """Drop a session's answers, since it is closed."""
        if self.waiting.pop(session, None) is not None:
            session.release(Hold.ANSWER)

    def _append(self, session: Session, answer: _Answer) -> None:
        answers = self.waiting.setdefault(session, deque())
        repeated = any(not answer.rooms.isdisjoint(earlier.rooms) for earlier in answers)
        answers.append(answer)
        rooms = sum(len(each.rooms) for each in answers)
        if repeated or len(answers) >= MAX_WAITING or rooms >= MAX_WAITING_ROOMS:
            session.hold(Hold.ANSWER)

    def _is_done(
        self, session: Session, answer: _Answer, room: str, future: asyncio.Future[None]
    ) -> None:
        if room in answer.rooms:
            answer.rooms.discard(room)
            if not future.cancelled() and future.exception() is not None:
                answer.forbidden.append(room)
            if not answer.rooms:
                self._give(session)

    def _give(self, session: Session) -> None:
        """Send the answers that wait for nothing any more."""
        answers = self.waiting.get(session)
        if answers is None:
            return
        while answers and not answers[0].rooms:
            answer = answers.popleft()
            self._send_now(session, answer.make(answer.forbidden))
        if not answers and self.waiting.get(session) is answers:
            del self.waiting[session]
            session.release(Hold.ANSWER)

    def _send_now(self, session: Session, event: Event) -> None:
        self._hub.catch_up(session)
        self._notifier.send(session, event)


class _Answer:
    """An answer, the rooms that it still waits for, and those that were forbidden."""

    __slots__ = ("forbidden", "make", "rooms")

    def __init__(self, make: MakeAnswer, rooms: Collection[str] = ()) -> None:
        self.make = make
        self.rooms = set(rooms)
        self.forbidden: list[str] = []
