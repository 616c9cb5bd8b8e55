"""One checkout beside another: what the rounds of both say, and what they cannot say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from statistics import median
from typing import Any

from ..scenarios import SCENARIOS, Mixed
from .result import Result, latency_ratios, median_of, ratios

OLD, AGAIN, NEW = "old", "old again", "new"

MAX_OTHERS = 0.1
"""Cores that others may take in a round that counts."""

ALWAYS_EXCUSED, NEVER_EXCUSED = 0.02, 0.05
"""No difference up to the first is called slower, and every one above the second."""

MAX_BESIDE = 1.5
"""Times the plain scenario beside a mixed one; what is above stands out in the table."""


@dataclass(frozen=True)
class Comparison:
    """One scenario, as medians over the rounds."""

    old: float
    again: float
    new: float
    spread: float
    """The distance, as a share, of the old one from itself within a round."""
    ratio: float
    """The new one beside both of the old."""
    latency_ratios: Mapping[str, float]
    """The new one's p50 and p99 beside both of the old, and the pair's if there was one."""
    disturbed: int
    """Rounds that others disturbed, and that count all the same."""
    result: Result
    """The new one's medians."""

    @property
    def distance(self) -> float:
        """The distance, as a share, of the old one's two medians from each other."""
        return abs(_quotient(self.again, self.old) - 1)

    @property
    def excused(self) -> float:
        """The share that noise explains: the distance, the spread or 2 %, but 5 % at most."""
        return min(max(self.distance, self.spread, ALWAYS_EXCUSED), NEVER_EXCUSED)

    @property
    def is_slower(self) -> bool:
        """Whether the new one takes more than the old one, and more than noise explains."""
        return self.ratio > 1 + self.excused

    def to_json(self) -> dict[str, Any]:
        """Returns it as plain data, with the new one's latencies in ms."""
        latency = self.result.latency
        return {
            "scenario": self.result.scenario,
            "old": self.old,
            "again": self.again,
            "new": self.new,
            "ratio": self.ratio,
            "spread": self.spread,
            "excused": self.excused,
            "is_slower": self.is_slower,
            "disturbed": self.disturbed,
            "latency_ratios": dict(self.latency_ratios),
            "latency_ms": {"p50": latency.p50, "p99": latency.p99} if latency else {},
        }


def compare(results: list[Result]) -> Comparison:
    """Compare what the rounds of one scenario say; those of the three systems come in turns.

    Each system has a result for each round, in which it was measured.
    """
    by_system = {name: [r for r in results if r.system == name] for name in (OLD, AGAIN, NEW)}
    costs = {name: [cost(result) for result in rounds] for name, rounds in by_system.items()}
    pairs = zip(costs[OLD], costs[AGAIN], strict=True)
    new = median_of(by_system[NEW])
    both_old = median_of(by_system[OLD] + by_system[AGAIN])
    return Comparison(
        old=median(costs[OLD]),
        again=median(costs[AGAIN]),
        new=median(costs[NEW]),
        spread=median(abs(_quotient(again, old) - 1) for old, again in pairs),
        ratio=_quotient(median(costs[NEW]), median(costs[OLD] + costs[AGAIN])),
        latency_ratios=latency_ratios(new, both_old),
        disturbed=sum(is_disturbed(result) for result in results),
        result=new,
    )


def _quotient(cost: float, other: float) -> float:
    """How many times another cost one is; the clock of CPU time may have seen nothing of either."""
    if other:
        return cost / other
    return inf if cost else 1.0


def cost(result: Result) -> float:
    """The figure that is compared: CPU per event, or memory per connection where they idle."""
    return result.cpu_us if result.kib_per_connection is None else result.kib_per_connection


def is_disturbed(result: Result) -> bool:
    """Whether others took more of the cores than a round may stand; memory stands any."""
    return result.kib_per_connection is None and result.others_cpu > MAX_OTHERS


def beside(found: Comparison, measured: Mapping[str, Comparison]) -> dict[str, float]:
    """The new one's figures in a mixed scenario, as times those in its plain one.

    Empty if it is not mixed, or the plain one is not among the `measured`, by name.
    """
    scenario = SCENARIOS.get(found.result.scenario)
    plain = measured.get(scenario.beside) if isinstance(scenario, Mixed) else None
    return ratios(found.result, plain.result) if plain else {}


HEAD = """\
| | old | old again | new | old against old | new against old | new, p50 / p99 ms \
| p50 / p99, new against old | against the plain one |
|---|--:|--:|--:|--:|--:|--:|--:|---|"""


def row(found: Comparison, measured: Mapping[str, Comparison]) -> str:
    """A line of the table."""
    told = " **slower**" if found.is_slower else ""
    if found.disturbed:
        told += f" ({found.disturbed} rounds disturbed)"
    latency = found.result.latency
    cells = (
        f"`{found.result.scenario}`",
        *(f"{each:.3f}" for each in (found.old, found.again, found.new)),
        f"{found.spread:.1%}",
        f"{found.ratio - 1:+.1%}{told}",
        f"{latency.p50:.3g} / {latency.p99:.3g}" if latency else "",
        " / ".join(f"{ratio - 1:+.0%}" for ratio in found.latency_ratios.values()),
        ", ".join(_times(*each) for each in beside(found, measured).items()),
    )
    return f"| {' | '.join(cells)} |"


def _times(figure: str, ratio: float) -> str:
    return f"{figure} **{ratio:.2f}**" if ratio > MAX_BESIDE else f"{figure} {ratio:.2f}"
