"""The handover: workers that have been replaced leave, and refuse nobody on their way.

    replaced ─→ LEAVE: accepts no more ─→ (a pause) ─→ its turn ─→ SIGTERM: drains ─→ (late) SIGKILL

All of them leave the listening socket together, before the first one drains: so a client that has
to come back comes to a new worker, and not to one that drains next. The pause is for connections
that are accepted and have not asked for anything yet.

May live here: the order, and the moments. Must not know processes, nor why they were replaced.
"""

from __future__ import annotations

import signal
from collections.abc import Collection, Iterator

from .os_signals import LEAVE


class Handover:
    """Tells which signal each replaced worker gets, and when. Workers are PIDs, times seconds.

    They drain one after the other, each for `stop_timeout` at most.
    """

    def __init__(self, *, pause: float, stop_timeout: float) -> None:
        self.pause = pause
        self.stop_timeout = stop_timeout
        self._turns: dict[int, float] = {}
        """The moments at which workers may drain, in their order."""
        self._deadlines: dict[int, float] = {}
        """The moments at which those that drain are killed."""
        self._killed: set[int] = set()

    def look(
        self, replaced: Collection[int], now: float, *, may_leave: bool, at_once: Collection[int]
    ) -> Iterator[tuple[int, signal.Signals]]:
        """Yield what to send to whom of the `replaced` workers that live.

        While not `may_leave` nobody begins to. Those in `at_once` drain without waiting.
        """
        for known in (self._turns, self._deadlines):
            for pid in known.keys() - set(replaced):
                del known[pid]
        self._killed.intersection_update(replaced)
        for pid in replaced:
            if pid not in self._turns and (may_leave or pid in at_once):
                self._turns[pid] = now + self.pause
                yield pid, LEAVE
        for pid, deadline in self._deadlines.items():
            if now > deadline and pid not in self._killed:
                self._killed.add(pid)
                yield pid, signal.SIGKILL
        for pid, turn in self._turns.items():
            is_free = self._deadlines.keys() <= self._killed and turn <= now
            if pid not in self._deadlines and (is_free or pid in at_once):
                self._deadlines[pid] = now + self.stop_timeout
                yield pid, signal.SIGTERM
