"""The board: where each process of a server shows its metrics, and where any of them reads all.

    (once a second, and when this worker is asked) ─→ snapshot() ─→ slots.write
    collect ─→ slots.read ─→ an entry for each process

May live here: when metrics are written, and who is known by which name. Must not know what is in
them, nor how slots are shared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from ..errors import BadReport
from ..logs.logger import RateLimitedWarning
from .metrics import MainMetrics, Metrics, WorkerMetrics, encode_metrics, parse_metrics

WRITE_SECONDS = 1.0
"""The interval at which a process writes; so old may be what others tell of it."""

MAIN = "main"


class Content(Protocol):
    """The content of a slot."""

    @property
    def slot(self) -> int:
        """The number of the slot."""

    @property
    def age(self) -> float:
        """The seconds since it was written."""

    @property
    def content(self) -> bytes:
        """The bytes that were written."""


class Slots(Protocol):
    """Slots, one for each process of a server."""

    def write(self, content: bytes) -> None:
        """Put `content` into the own slot. Raises ValueError if it is too long."""

    def read(self) -> Sequence[Content]:
        """Return the content of all slots whose processes live, in the order of the slots."""


class Entry(NamedTuple):
    """The metrics of one process."""

    name: str
    """`main`, or the number of the worker's slot: no two at a time have the same."""
    age: float
    """The seconds since it wrote them."""
    metrics: Metrics


class Board:
    """Shows a worker's metrics from `start` to `close`, and reads those of all processes."""

    def __init__(self, slots: Slots, snapshot: Callable[[], WorkerMetrics]) -> None:
        self._slots = slots
        self._snapshot = snapshot
        self._timer: asyncio.TimerHandle | None = None
        self._unreadable = RateLimitedWarning()
        self._too_long = RateLimitedWarning()

    def start(self) -> None:
        """Begin to write."""
        self._tick()

    def close(self) -> None:
        """Write once more, and stop. What was written stays until the process ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.write()

    def collect(self) -> list[Entry]:
        """Write this worker's metrics, and return those of all processes.

        What another version has written, and cannot be read, is left out, and logged.
        """
        self.write()
        entries = []
        for slot, age, content in ((it.slot, it.age, it.content) for it in self._slots.read()):
            try:
                metrics = parse_metrics(content)
            except BadReport as reason:
                self._unreadable.log("Left the metrics of a process out: %s", reason)
                continue
            name = MAIN if isinstance(metrics, MainMetrics) else str(slot)
            entries.append(Entry(name, age, metrics))
        return entries

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(WRITE_SECONDS, self._tick)
        self.write()

    def write(self) -> None:
        """Show this worker's metrics as they are now."""
        content = encode_metrics(self._snapshot())
        try:
            self._slots.write(content)
        except ValueError as error:
            self._too_long.log("The metrics of this worker are not written: %s", error)
