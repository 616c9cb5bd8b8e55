"""Recent removals: what pods that were cut off have missed, and are told when they are back.

    note ─→ (ten minutes) ─┬→ page: for another pod that was cut off
                           └→ untold: those that this pod was asked for when it was cut off itself

May live here: which there were, and for how long that is known. Must not know sessions.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from ..protocol.cluster import Removal
from ..protocol.pages import Page, cut
from .catching_up import PAGE
from .remembered import Remembered

KEPT_SECONDS = 600.0
"""The time for which a removal is known."""

MAX_KEPT = 1000
"""The removals that are known; beyond them the first one is forgotten."""


class _Asked(NamedTuple):
    at: float
    """The moment (`time.monotonic()`) in which a backend asked for it."""
    removal: Removal

    def aged(self) -> Removal:
        """The removal as it is told now."""
        return self.removal.aged(time.monotonic() - self.at)


class RecentRemovals:
    """The removals that one pod has been told of lately, by their IDs."""

    def __init__(self) -> None:
        self._known: Remembered[_Asked] = Remembered(seconds=KEPT_SECONDS, most=MAX_KEPT)
        self._untold: Remembered[_Asked] = Remembered(seconds=KEPT_SECONDS, most=MAX_KEPT)

    def note(self, removal: Removal) -> bool:
        """Note a removal. Returns whether it is new, as each is that has no ID."""
        if not removal.id:
            return True
        if removal.id in self._known:
            return False
        self._known.keep(removal.id, _Asked(time.monotonic() - removal.seconds_ago, removal))
        return True

    def asked(self, removal: Removal, *, complete: bool) -> None:
        """Note that this pod has told all others of a removal, and whether it was `complete`."""
        known = self._known.get(removal.id)
        if complete:
            self._untold.discard(removal.id)
        elif known is not None:
            self._untold.keep(removal.id, known)

    def untold(self) -> list[Removal]:
        """Return those that perhaps not all others know, though this pod was to tell them."""
        return [asked.aged() for asked in self._untold.values()]

    def page(self, after: str) -> Page[Removal]:
        """Return a page of all of them, by ID, those behind one."""
        found = [asked for asked in self._known.values() if asked.removal.id > after]
        found.sort(key=lambda asked: asked.removal.id)
        return cut((asked.aged() for asked in found), PAGE)
