"""Restarts: when a worker that has ended starts again, and when that is given up.

    died, stopped ─→ (a pause) ─→ take_due       died too often ─→ GiveUp

May live here: counts, pauses and bounds. Must not know processes.
"""

from __future__ import annotations

from collections import deque

WINDOW_SECONDS = 60.0
MAX_PAUSE_SECONDS = 30.0
MAX_FAILED_STARTS = 5
"""The failed starts of one worker in a row that are too many: 15 seconds from first to last."""


class GiveUp(Exception):
    """To start a worker again makes no sense; the text says why."""


class Restarts:
    """Tells, for each end of a worker, the pause after which it starts again.

    After the first death within a minute there is no pause, after further ones, of any worker, one
    of 1, 2, 4 … 30 s. More than `limit` deaths within a minute raise GiveUp, and so do
    `MAX_FAILED_STARTS` of one worker in a row, each before it was up. A worker that stops in good
    order has not died; it waits only if it has stopped within the minute before too.

    Times are in seconds, of one clock that never goes back.
    """

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._deaths = _LastMinute()
        self._stops: dict[str, _LastMinute] = {}
        self._failed_starts: dict[str, int] = {}
        self._due: dict[str, float] = {}

    def is_up(self, name: str) -> None:
        """Note that a worker serves. If it is due, somebody else has started it."""
        self._failed_starts.pop(name, None)
        self._due.pop(name, None)

    def stopped(self, name: str, now: float) -> float:
        """Note that a worker that was up has stopped in good order; return its pause."""
        pause = _pause(self._stops.setdefault(name, _LastMinute()).add(now))
        self._due[name] = now + pause
        return pause

    def died(self, name: str, now: float, *, was_up: bool) -> float:
        """Note that a worker has died, or could not be made; return its pause. Raises GiveUp."""
        count = self._deaths.add(now)
        if count > self._limit:
            raise GiveUp(f"death number {count} within {WINDOW_SECONDS:g} s")
        failed = 0 if was_up else self._failed_starts.get(name, 0) + 1
        self._failed_starts[name] = failed
        if failed >= MAX_FAILED_STARTS:
            raise GiveUp(f"start number {failed} in a row that failed")
        pause = _pause(count)
        self._due[name] = now + pause
        return pause

    def take_due(self, now: float, *, but: str | None = None) -> list[str]:
        """Return the workers whose pause is over, each once; `but` that one, which stays due."""
        due = [name for name, at in self._due.items() if at <= now and name != but]
        for name in due:
            del self._due[name]
        return due


class _LastMinute:
    """The number of events within the last minute."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def add(self, now: float) -> int:
        while self._times and now - self._times[0] > WINDOW_SECONDS:
            self._times.popleft()
        self._times.append(now)
        return len(self._times)


def _pause(count: int) -> float:
    return 0.0 if count == 1 else min(2.0 ** (count - 2), MAX_PAUSE_SECONDS)
