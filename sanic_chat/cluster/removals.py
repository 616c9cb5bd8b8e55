"""Removals: clients whom a backend has disconnected, on whatever pod they are.

    disconnect ─→ asking ─→ (each pod) ─┬→ the user's sessions ─→ close frame
                                        ├→ who is shaking hands: remembered, until it is over
                                        └→ revocations
    a pod is back ─→ asks the others for what it has missed, and tells what they have
    drain ─→ asking ─→ (that pod) drain_here

May live here: who is to go, and is told so. Must not know who wants it.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple, cast

from ..errors import TooManyQuestions
from ..hub.hub import Hub
from ..protocol.cluster import Disconnected, Drained, Removal, milliseconds_of
from ..session.handler import EndedBy
from ..session.session import Session
from ..websocket.frames import CloseCode
from .asking import Asking
from .catching_up import CatchingUp, entries_of_all
from .recent_removals import RecentRemovals
from .remembered import Remembered
from .revocations import SENTENCE, Revocations

DISCONNECT, DRAIN, REMOVALS = "disconnect", "drain", "removals"
"""The kinds of questions."""

REMEMBER_SECONDS = 10.0
"""The least time for which a user who was disconnected is remembered."""

MAX_REMEMBERED = 10_000
"""The users who are remembered; beyond them the first one is forgotten."""

PER_TURN = 128
"""The sessions that are closed before everything else gets a turn."""


class Kick(NamedTuple):
    """The way in which a user was disconnected."""

    at: float
    """The moment (`time.monotonic()`) in which this pod was told."""
    code: int
    reason: str


class Removals:
    """Disconnects clients of all pods.

    A handshake takes at most `handshake_seconds`, and whoever was shaking hands when his user was
    disconnected does not become a session. `pods()` is the number of pods that there may be.
    """

    def __init__(
        self,
        pod_id: str,
        asking: Asking,
        *,
        hub: Hub,
        sessions_of: Callable[[str], Sequence[Session]],
        revocations: Revocations,
        handshake_seconds: float,
        pods: Callable[[], int],
    ) -> None:
        self.drain_here: Callable[[], None] | None = None
        """Begins the orderly end of this pod, as SIGTERM does; None: it can't be asked to."""
        self.catching_up = CatchingUp(self._catch_up, name="removals")
        """Does what this pod has missed, and has the others do what it alone was asked for."""
        self._pod_id = pod_id
        self._asking = asking
        self._hub = hub
        self._sessions_of = sessions_of
        self._revocations = revocations
        revocations.on_learned = self._close_revoked
        self._kicks: Remembered[Kick] = Remembered(
            seconds=max(REMEMBER_SECONDS, handshake_seconds), most=MAX_REMEMBERED
        )
        self._recent = RecentRemovals()
        self._pods = pods
        self._loop = asyncio.get_running_loop()
        asking.handle(DISCONNECT, Removal, self._disconnect_here, acts=True)
        asking.handle(DRAIN, str, self._drain_here, acts=True)
        asking.handle(REMOVALS, str, self._recent.page)

    async def disconnect(
        self,
        *,
        user: str | None = None,
        client_id: str | None = None,
        code: int,
        reason: str = "",
        spared: Sequence[str] = (),
        revoke: bool = False,
    ) -> Disconnected:
        """Close all sessions of a user but those of `spared` client IDs, or that of a client ID.

        Their clients get a close frame with `code` and `reason`, behind what was sent to them
        before. With `revoke` the user's tokens that were issued before now are refused from now on.
        Raises TooManyQuestions as `Asking.ask` does. A pod that is missing does it when it hears of
        it. If that pod, or this one, is cut off, it hears of it later, for some minutes.
        """
        removal = Removal(
            code,
            reason,
            user=user,
            client_id=client_id,
            spared=[*spared],
            revoked_before=time.time() if revoke else None,
            id=secrets.token_hex(8),
        )
        outcome = await self._asking.ask(DISCONNECT, removal, int)
        self._recent.asked(removal, complete=outcome.complete)
        return Disconnected(sum(outcome.answers.values()), outcome.complete, outcome.missing)

    async def drain(self, pod_id: str) -> Drained:
        """Have a pod drain and end, as SIGTERM does. Raises TooManyQuestions."""
        outcome = await self._asking.ask(DRAIN, pod_id, bool)
        return Drained(any(outcome.answers.values()), outcome.complete, outcome.missing)

    def kick_of(self, user: str, began: float) -> Kick | None:
        """Return how a user was disconnected since `began` (`time.monotonic()`), if he was."""
        kick = self._kicks.get(user)
        return kick if kick is not None and kick.at >= began else None

    # -- after an outage -----------------------------------------------------------------------

    async def _catch_up(self) -> None:
        async for removal in entries_of_all(
            self._asking,
            REMOVALS,
            Removal,
            first="",
            behind=lambda one: one.id,
            key=lambda one: one.id,
            add=lambda one, other: max(one, other, key=lambda each: each.seconds_ago),
            pods=self._pods,
        ):
            self._disconnect_here(removal)
        await self._revocations.caught_up()  # before that no outcome is complete
        for removal in self._recent.untold():
            with suppress(TooManyQuestions):  # then the next time
                outcome = await self._asking.ask(DISCONNECT, removal, int, replies=self._pods())
                self._recent.asked(removal, complete=outcome.complete)

    # -- on this pod ---------------------------------------------------------------------------

    def _disconnect_here(self, removal: Removal) -> int:
        if not self._recent.note(removal):
            return 0
        sessions: list[Session] = []
        if removal.user is not None:
            sessions = self._with_user(removal.user, removal)
        elif removal.client_id is not None:
            sessions = self._with_client_id(removal.client_id)
        if removal.seconds_ago:
            until = (time.time() - removal.seconds_ago) * 1000
            sessions = [
                one
                for one in sessions
                if milliseconds_of(one.client_id) <= until or self._is_revoked(one)
            ]
        self._close(sessions, removal.code, removal.reason)
        return len(sessions)

    def _with_user(self, user: str, removal: Removal) -> list[Session]:
        """The sessions of a user that are to go. Notes that he was disconnected."""
        at = time.monotonic() - removal.seconds_ago
        if self.kick_of(user, at) is None:
            self._kicks.keep(user, Kick(at, removal.code, removal.reason))
        if removal.revoked_before is not None:
            self._revocations.revoke(user, removal.revoked_before)
        spared = frozenset(removal.spared)
        return [one for one in self._sessions_of(user) if one.client_id not in spared]

    def _with_client_id(self, client_id: str) -> list[Session]:
        # A register would cost each session more than this costs a question: 2 ms for 50 000.
        sessions = cast("dict[Session, None]", self._hub.everyone.members)
        with_tokens = (session for session in sessions if session.identity is not None)
        found = (*self._sessions_of(client_id), *with_tokens)  # else it is the user's ID
        return [session for session in found if session.client_id == client_id][:1]

    def _close(
        self, sessions: Sequence[Session], code: int, reason: str, by: EndedBy = EndedBy.BACKEND
    ) -> None:
        for session in sessions[:PER_TURN]:
            self._hub.catch_up(session)
            session.close(code, reason, by=by)
        if len(sessions) > PER_TURN:
            self._loop.call_soon(self._close, sessions[PER_TURN:], code, reason, by)

    def _close_revoked(self, user: str) -> None:
        sessions = [*filter(self._is_revoked, self._sessions_of(user))]
        self._close(sessions, CloseCode.UNAUTHORIZED, SENTENCE, EndedBy.SERVER)

    def _is_revoked(self, session: Session) -> bool:
        identity = session.identity
        return identity is not None and self._revocations.has_revoked(identity)

    def _drain_here(self, pod_id: str) -> bool:
        if pod_id != self._pod_id or self.drain_here is None:
            return False
        self._loop.call_soon(self.drain_here)
        return True
