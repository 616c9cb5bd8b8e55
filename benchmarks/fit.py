"""A straight line through measured points."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Line:
    """`y = base + slope · x`, by least squares."""

    base: float
    slope: float
    fit: float
    """R²: the share of the variation that the line explains."""

    @classmethod
    def through(cls, points: list[tuple[float, float]]) -> Self:
        """The line through two points or more, not all with the same x."""
        xs, ys = [x for x, _ in points], [y for _, y in points]
        slope, base = statistics.linear_regression(xs, ys)
        flat = len(set(ys)) == 1  # a constant has no correlation, and is explained fully
        return cls(base, slope, 1.0 if flat else statistics.correlation(xs, ys) ** 2)

    def at(self, x: float) -> float:
        """The line's y there."""
        return self.base + self.slope * x

    def __str__(self) -> str:
        return f"{self.base:,.4g} + {self.slope:,.4g}·x (R² {self.fit:.3f})"
