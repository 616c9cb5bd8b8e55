"""A straight line through measured points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Line:
    """`y = base + slope · x`, by least squares of the relative errors."""

    base: float
    slope: float
    worst: float
    """The largest distance of a measured point from the line, as a share of its value."""

    @classmethod
    def through(cls, points: list[tuple[float, float]]) -> Self:
        """The line through two points or more, not all with the same x, no y 0.

        Relative errors count, or the largest points alone would say what the base is.
        """
        weights = [1 / y**2 for _, y in points]
        total = sum(weights)
        x_mean = sum(w * x for w, (x, _) in zip(weights, points, strict=True)) / total
        y_mean = sum(w * y for w, (_, y) in zip(weights, points, strict=True)) / total
        both = sum(
            w * (x - x_mean) * (y - y_mean) for w, (x, y) in zip(weights, points, strict=True)
        )
        slope = both / sum(w * (x - x_mean) ** 2 for w, (x, _) in zip(weights, points, strict=True))
        base = y_mean - slope * x_mean
        return cls(base, slope, max(abs(base + slope * x - y) / y for x, y in points))

    def at(self, x: float) -> float:
        """The line's y there."""
        return self.base + self.slope * x

    def __str__(self) -> str:
        sign = "-" if self.slope < 0 else "+"
        return f"{self.base:,.4g} {sign} {abs(self.slope):,.4g}·x (within {self.worst:.0%})"
