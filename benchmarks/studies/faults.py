"""Measures what clients notice of Redis faults: the figures of docs/reliability.md.

    python -m benchmarks.studies.faults --rounds 3

lets every fault of tests/support/faults.py happen that often, with default settings, insists on
what is promised, and prints a table. `--only PATTERN` takes the faults whose name matches that
regular expression.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from collections.abc import Iterable
from statistics import median

from tqdm import tqdm

from tests.support.fault_run import check, run
from tests.support.faults import FAULTS, Fault
from tests.support.outcome import Outcome
from tests.support.stage import Settings, stage

_COLUMNS = (
    "fault",
    "back after, s: median, max",
    "said",
    "crossed",
    "`unavailable`",
    "`ack`, `nack`, false",
    "missed in a `gap`",
    "over HTTP: published, tried again, twice",
    "told after, s",
    "`outage_ms`",
    "it lasted, ms",
    "same pod, ms",
)


def measure(fault: Fault, rounds: int) -> list[Outcome]:
    """Let a fault happen again and again."""
    settings = Settings()
    outcomes = []
    if fault.is_absent:
        for _ in range(rounds):
            with stage(settings, absent=True) as fresh:
                outcomes.append(asyncio.run(run(fault, fresh)))
    else:
        with stage(settings) as shared:
            for _ in range(rounds):
                outcomes.append(asyncio.run(run(fault, shared)))
    for outcome in outcomes:
        check(fault, outcome, settings, margin=0)
    return outcomes


def row(fault: Fault, outcomes: list[Outcome]) -> str:
    """A line of the table: medians, and the worst of what is said to be the worst."""
    told = [seconds for outcome in outcomes for pod in outcome.outages for seconds in pod]
    real = [seconds for outcome in outcomes for seconds in outcome.real_outages]
    times = max(len(pod) for outcome in outcomes for pod in outcome.outages)
    cells = (
        fault.name,
        f"{median(o.back for o in outcomes):.2f}, {max(o.back for o in outcomes):.2f}",
        _count(o.said for o in outcomes),
        _count(o.crossed for o in outcomes),
        _count(o.unavailable for o in outcomes),
        f"{_count(o.receipts('ack') for o in outcomes)}, "
        f"{_count(o.receipts('nack') for o in outcomes)}, {max(o.false_acks for o in outcomes)}",
        _count(sum(o.missed) for o in outcomes),
        f"{_count(len(o.publications) for o in outcomes)}, "
        f"{_count(o.tried_again for o in outcomes)}, {max(o.doubles for o in outcomes)}",
        f"{max(o.told_after for o in outcomes):.1f}"
        if any(o.unavailable for o in outcomes)
        else "",
        f"{_ms(told)}{f' ({times} times)' * (times > 1)}" if told else "not told",
        _ms(real) if told and not fault.is_absent else "",
        f"{1000 * max(o.same_pod for o in outcomes):.0f}",
    )
    return f"| {' | '.join(cells)} |"


def _count(numbers: Iterable[int]) -> str:
    return f"{median(numbers):.0f}"


def _ms(seconds: Iterable[float]) -> str:
    return f"{1000 * median(seconds):.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often each fault happens")
    parser.add_argument("--only", default="", help="only faults whose name matches it")
    options = parser.parse_args()
    print(f"| {' | '.join(_COLUMNS)} |\n|---|{'--:|' * (len(_COLUMNS) - 1)}")
    chosen = [fault for fault in FAULTS if re.search(options.only, fault.name)]
    for fault in tqdm(chosen, desc="faults", disable=None, leave=False):
        tqdm.write(row(fault, measure(fault, options.rounds)))


if __name__ == "__main__":
    main()
