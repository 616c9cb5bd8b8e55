"""Histograms: how often something took how long, or how much.

May live here: counting by size. Must not know what is measured.
"""

from __future__ import annotations

from bisect import bisect_left

SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
)  # fmt: skip
"""The bounds of a histogram of durations."""

MESSAGES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0)
"""The bounds of a histogram of messages that wait."""


class Histogram:
    """Counts values by the first of the `bounds` that they do not pass, and those beyond all."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        """Upper bounds, in their order; a value that is one counts below it."""
        self.counts = [0] * (len(bounds) + 1)
        """The number of values for each bound alone, and at last of those beyond all bounds."""
        self.sum = 0.0
        """The sum of all values."""

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
