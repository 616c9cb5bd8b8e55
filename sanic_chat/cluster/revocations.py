"""Revocations: tokens of a user that were issued before a moment, and count no more.

    revoke ─→ (each pod) the table ─→ check: a handshake, a new token on an open connection
    a pod that has just started, or was cut off ─→ asks the others for their tables

Nothing of it stands on Redis: it lasts as long as one pod that knows it.

May live here: which tokens are revoked, and how pods hand that on. Must not know sockets, nor how a
token is read.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import nsmallest

from ..errors import UpgradeRefused
from ..logs.logger import RateLimitedWarning
from ..protocol.cluster import Revoked
from ..protocol.identity import Identity
from ..protocol.pages import Page, cut
from .asking import Asking
from .catching_up import PAGE, CatchingUp, entries_of_all

MAX_REVOCATIONS = 10_000
"""The users whose tokens may be revoked at a time; beyond them the earliest one is forgotten."""

CATCH_UP_SECONDS = 3.0
"""The time for which a starting pod waits for the others' tables before it serves clients."""

REVOCATIONS = "revocations"
"""The kind of question by which pods hand their tables on."""

SENTENCE = "The token has been revoked: connect anew with one that was issued later"


class Revocations:
    """The tokens that are refused on this pod, though they have not ended.

    They are refused for good, or until the table is full: a token that has ended is refused anyway.
    `on_learned(user)` is called for each entry that this pod has of another one. `pods()` is the
    number of pods that there may be.
    """

    def __init__(self, asking: Asking, *, pods: Callable[[], int]) -> None:
        self.on_learned: Callable[[str], None] = lambda user: None
        self.catching_up = CatchingUp(self._catch_up, name="revocations")
        """Takes over the other pods' tables."""
        self._asking = asking
        self._pods = pods
        self._before: dict[str, float] = {}
        self._full = RateLimitedWarning()
        asking.handle(REVOCATIONS, Revoked, self._page)

    def __len__(self) -> int:
        """The number of users with revoked tokens."""
        return len(self._before)

    def revoke(self, user: str, before: float) -> bool:
        """Refuse from now on the tokens of a user that were issued before a moment.

        Returns whether that is new.
        """
        if before <= self._before.get(user, float("-inf")):
            return False
        self._before.pop(user, None)
        if len(self._before) >= MAX_REVOCATIONS:
            earliest = min(self._before, key=self._before.__getitem__)
            del self._before[earliest]
            self._full.log(
                "Tokens of %d users are revoked, the most that a pod remembers: those of %r count "
                "again, unless they have ended",
                MAX_REVOCATIONS,
                earliest,
            )
        self._before[user] = before
        return True

    def has_revoked(self, identity: Identity) -> bool:
        """Whether the token of a client is revoked. One without `iat` is, if any of its user is."""
        before = self._before.get(identity.user)
        if before is None:
            return False
        return identity.issued_at is None or identity.issued_at < before

    def check(self, identity: Identity) -> None:
        """Raise UpgradeRefused for a token that is revoked."""
        if self._before and self.has_revoked(identity):
            raise UpgradeRefused(401, "token_revoked", SENTENCE, {"WWW-Authenticate": "Bearer"})

    # -- from pod to pod -----------------------------------------------------------------------

    async def caught_up(self) -> None:
        """Wait until the others' tables are known here, for `CATCH_UP_SECONDS` at most."""
        await self.catching_up.wait(CATCH_UP_SECONDS)

    async def _catch_up(self) -> None:
        async for before, user in entries_of_all(
            self._asking,
            REVOCATIONS,
            Revoked,
            first=Revoked(0.0, ""),
            behind=lambda one: one,
            key=lambda one: one,
            add=lambda one, _: one,
            pods=self._pods,
        ):
            if self.revoke(user, before):
                self.on_learned(user)

    def _page(self, after: Revoked) -> Page[Revoked]:
        entries = [Revoked(before, user) for user, before in self._before.items()]
        return cut(nsmallest(PAGE + 1, [one for one in entries if one > after]), PAGE)
