"""Renewal: a new token on an open connection, and what follows from what it allows, or no more.

    auth ─→ authenticate ─→ the same user? ─→ the session's identity ─→ each of its rooms
                                                                        ├→ kicked, or no presence
                                                                        ├→ presence again
                                                                        └→ a new info is told

May live here: when a new token is taken, and what it changes. Must not know how a token is read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ..errors import BadMessage, UpgradeRefused
from ..protocol import events
from ..protocol.identity import Identity
from ..session.session import Session
from .answers import Answers
from .expiry import Expiry
from .rooms import Rooms

INTERVAL_SECONDS = 1.0
"""The time between two tokens of one session: each costs as much as a handshake."""

Authenticate = Callable[[str], Identity]
"""Returns who a token speaks for. Raises UpgradeRefused."""


class Renewal:
    """Takes new tokens of a pod's sessions; `authenticate` is None if there are no tokens.

    `check` raises UpgradeRefused for who is in order and not to be let in all the same.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        authenticate: Authenticate | None,
        *,
        check: Callable[[Identity], None],
        rooms: Rooms,
        answers: Answers,
        expiry: Expiry,
    ) -> None:
        self._loop = loop
        self._authenticate = authenticate
        self._check = check
        self._rooms = rooms
        self._answers = answers
        self._expiry = expiry
        self._lately: set[Session] = set()
        """The sessions that have brought a token within `INTERVAL_SECONDS`."""

    def renew(self, session: Session, token: str, id: str | None) -> None:
        """Have a token take the place of a session's, and answer it.

        What was said before stays said, and what waits in the send queue of a room that is lost is
        still written. Raises BadMessage: `no_tokens`, `too_soon`, `wrong_user`, `unauthorized`
        or `token_expired`; the old token then still counts.
        """
        if self._authenticate is None:
            raise BadMessage("no_tokens", "This server asks for no tokens", id)
        if session in self._lately:
            raise BadMessage("too_soon", "One token a second is looked at; this one was not", id)
        self._lately.add(session)
        self._loop.call_later(INTERVAL_SECONDS, self._lately.discard, session)
        try:
            identity = self._authenticate(token)
            self._check(identity)
        except UpgradeRefused as refusal:
            if refusal.code == "token_expired":
                raise BadMessage("token_expired", refusal.message, id) from None
            raise BadMessage("unauthorized", refusal.message, id) from None
        if identity.user != session.user:
            raise BadMessage(
                "wrong_user", "The token is another user's; for that one, connect anew", id
            )
        old = session.identity
        self._expiry.discard(session)
        session.identity = identity
        self._expiry.add(session)
        left = None if identity.expires_at is None else round(identity.expires_at - time.time())
        self._answers.send(session, events.Authenticated(left, id))
        self._judge_rooms(session)
        if old is None or old.info != identity.info:
            self._rooms.info_changed(session)

    def _judge_rooms(self, session: Session) -> None:
        """Take away what is not allowed any more. Who wants presence in all rooms has it again."""
        for room in dict.fromkeys(channel.room for channel in session.channels):
            if room is None:
                continue
            if not self._rooms.may(session, "join", room):
                self._rooms.leave(session, room, "kicked")
                message = f"Your token does not allow you in room {room!r} any more"
                self._answers.send(session, events.Kicked(room, "forbidden_room", message))
            elif self._rooms.may(session, "presence", room):
                if session.presence:
                    self._rooms.watch(session, room)
            elif self._rooms.stop_presence(session, room):
                self._answers.send(session, events.forbidden_presence(room, None))
