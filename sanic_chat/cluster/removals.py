"""Removals: clients whom a backend has disconnected, on whatever pod they are.

    disconnect ─→ asking ─→ (each pod) ─┬→ the user's sessions ─→ close frame
                                        ├→ who is shaking hands: remembered, until it is over
                                        └→ revocations
    drain ─→ asking ─→ (that pod) drain_here

May live here: who is to go, and is told so. Must not know who wants it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

from ..hub.hub import Hub
from ..protocol.cluster import Disconnected, Drained, Removal
from ..protocol.frames import CloseCode
from ..session.handler import EndedBy
from ..session.session import Session
from .asking import Asking
from .revocations import SENTENCE, Revocations

DISCONNECT, DRAIN = "disconnect", "drain"
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
    disconnected does not become a session.
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
    ) -> None:
        self.drain_here: Callable[[], None] | None = None
        """Begins the orderly end of this pod, as SIGTERM does; None: it can't be asked to."""
        self._pod_id = pod_id
        self._asking = asking
        self._hub = hub
        self._sessions_of = sessions_of
        self._revocations = revocations
        revocations.on_learned = self._close_revoked
        self._remember_seconds = max(REMEMBER_SECONDS, handshake_seconds)
        self._kicks: dict[str, Kick] = {}
        self._forgetting: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        asking.handle(DISCONNECT, Removal, self._disconnect_here)
        asking.handle(DRAIN, str, self._drain_here)

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
        it, unless it never does.
        """
        removal = Removal(
            code,
            reason,
            user=user,
            client_id=client_id,
            spared=[*spared],
            revoked_before=time.time() if revoke else None,
        )
        outcome = await self._asking.ask(DISCONNECT, removal, int)
        return Disconnected(sum(outcome.answers.values()), outcome.complete, outcome.missing)

    async def drain(self, pod_id: str) -> Drained:
        """Have a pod drain and end, as SIGTERM does. Raises TooManyQuestions."""
        outcome = await self._asking.ask(DRAIN, pod_id, bool)
        return Drained(any(outcome.answers.values()), outcome.complete, outcome.missing)

    def kick_of(self, user: str, began: float) -> Kick | None:
        """Return how a user was disconnected since `began` (`time.monotonic()`), if he was."""
        kick = self._kicks.get(user)
        return kick if kick is not None and kick.at >= began else None

    # -- on this pod ---------------------------------------------------------------------------

    def _disconnect_here(self, removal: Removal) -> int:
        if removal.user is None:
            sessions = self._with_client_id(removal.client_id)
        else:
            self._remember(removal.user, removal.code, removal.reason)
            if removal.revoked_before is not None:
                self._revocations.revoke(removal.user, removal.revoked_before)
            spared = frozenset(removal.spared)
            sessions = [
                session
                for session in self._sessions_of(removal.user)
                if session.client_id not in spared
            ]
        self._close(sessions, removal.code, removal.reason)
        return len(sessions)

    def _with_client_id(self, client_id: str | None) -> list[Session]:
        # A register would cost each session more than this costs a question: 2 ms for 50 000.
        sessions = cast("dict[Session, None]", self._hub.everyone.members)
        return [session for session in sessions if session.client_id == client_id][:1]

    def _remember(self, user: str, code: int, reason: str) -> None:
        kicks = self._kicks
        kicks.pop(user, None)
        if len(kicks) >= MAX_REMEMBERED:
            del kicks[next(iter(kicks))]
        kicks[user] = Kick(time.monotonic(), code, reason)
        if self._forgetting is None:
            self._forgetting = self._loop.call_later(self._remember_seconds, self._forget)

    def _forget(self) -> None:
        self._forgetting = None
        now = time.monotonic()
        while self._kicks:
            earliest = next(iter(self._kicks))
            seconds = self._kicks[earliest].at + self._remember_seconds - now
            if seconds > 0:
                self._forgetting = self._loop.call_later(seconds, self._forget)
                break
            del self._kicks[earliest]

    def _close(
        self, sessions: Sequence[Session], code: int, reason: str, by: EndedBy = EndedBy.BACKEND
    ) -> None:
        for session in sessions[:PER_TURN]:
            self._hub.catch_up(session)
            session.close(code, reason, by=by)
        if len(sessions) > PER_TURN:
            self._loop.call_soon(self._close, sessions[PER_TURN:], code, reason, by)

    def _close_revoked(self, user: str) -> None:
        sessions = [
            session
            for session in self._sessions_of(user)
            if session.identity is not None and self._revocations.has_revoked(session.identity)
        ]
        self._close(sessions, CloseCode.UNAUTHORIZED, SENTENCE, EndedBy.SERVER)

    def _drain_here(self, pod_id: str) -> bool:
        if pod_id != self._pod_id or self.drain_here is None:
            return False
        self._loop.call_soon(self.drain_here)
        return True
