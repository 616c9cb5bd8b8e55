"""Is one checkout of sanic_chat slower than another? Both run, and take turns, in one session.

    git worktree add ../old v0.1.0
    python -m benchmarks.compare ../old . room_100 pairs --rounds 10
    python -m benchmarks.compare ../old . --all --json results/compare.json

The load, and the packages that the servers run on, are those of this checkout. The old one runs
twice: how far it is from itself says what a difference means. A round in which others took more
than a tenth of a core is repeated.

The new one is slower if it takes more CPU per event (memory per connection, where they idle) than
three things explain: how far the medians of the two old ones are apart, how far these are apart
within a round, and 2 %. A difference of more than 5 % is never explained. Exits with 1 if it is
slower in a scenario, lost a message, or could not be measured. Beside a mixed scenario stands how
many times its plain one it takes, if both were measured.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from .load.crowd import CannotMeasure
from .measure.processes import allow_descriptors
from .measure.rounds import SPARE_DESCRIPTORS, Bench, bench
from .measure.servers import Server, Servers, wait_until_quiet
from .results.comparison import (
    AGAIN,
    HEAD,
    NEW,
    OLD,
    Comparison,
    beside,
    compare,
    cost,
    is_disturbed,
    row,
)
from .results.files import write_json
from .results.result import Result
from .scenarios import SCENARIOS, Scenario
from .systems import SYSTEMS, System

ATTEMPTS = 5
"""Attempts at a round until nobody disturbs it; the last one counts in any case."""


def checkout(tree: Path, name: str) -> System:
    """sanic_chat as it stands in a checkout. Exits if that is none."""
    if not (tree / "sanic_chat").is_dir():
        sys.exit(f"{tree} is no checkout of sanic_chat")
    return replace(SYSTEMS["sanic_chat"], name=name, title=name, directory=tree.resolve())


def measure(
    the_bench: Bench, scenario: Scenario, servers: list[Server], *, rounds: int, seconds: float
) -> Iterator[Result]:
    """The rounds, in which the servers take turns; each round begins with another one.

    Raises CannotMeasure if a server cannot be measured in any of its attempts.
    """
    for number in range(rounds):
        first = number % len(servers)
        for server in servers[first:] + servers[:first]:
            for _ in range(ATTEMPTS):
                wait_until_quiet(servers)
                result = the_bench.measure(scenario, server, seconds=seconds)
                told = "; disturbed" * is_disturbed(result) + f"; {result.faults}" * bool(
                    result.faults.total
                )
                print(
                    f"{scenario.name}, round {number + 1}, {server.system.name}: "
                    f"{cost(result):.3f}{told} {result.note}",
                    file=sys.stderr,
                    flush=True,
                )
                if result.events and not is_disturbed(result):
                    break
            if not result.events:
                raise CannotMeasure(f"{server.system.name}: {result.note}")
            yield result


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are ended, too
    options = _options()
    systems = [checkout(options.old, OLD), checkout(options.new, NEW), checkout(options.old, AGAIN)]
    everything: list[Result] = []
    comparisons: dict[str, Comparison] = {}
    failed = False
    with bench() as the_bench, closing(Servers(the_bench.redis.url)) as all_servers:
        for name in options.scenarios:
            scenario = SCENARIOS[name]
            allow_descriptors(scenario.connections + SPARE_DESCRIPTORS)
            servers = all_servers.get(systems, workers=getattr(scenario, "workers", 1))
            rounds = measure(
                the_bench, scenario, servers, rounds=options.rounds, seconds=options.seconds
            )
            try:
                results = list(rounds)
            except CannotMeasure as reason:
                print(f"{name} cannot be measured: {reason}", file=sys.stderr)
                failed = True
                continue
            finally:
                all_servers.close()
            everything += results
            comparisons[name] = compare(results)
            print(row(comparisons[name], comparisons), file=sys.stderr, flush=True)
    print("\n".join([HEAD, *(row(found, comparisons) for found in comparisons.values())]))
    if options.json:
        told = [
            found.to_json() | {"beside": beside(found, comparisons)}
            for found in comparisons.values()
        ]
        write_json(options.json, everything, comparisons=told)
    failed |= any(result.faults.total for result in everything if result.system == NEW)
    failed |= any(found.is_slower for found in comparisons.values())
    sys.exit(failed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], epilog=f"Scenarios: {', '.join(SCENARIOS)}."
    )
    parser.add_argument("old", type=Path, metavar="OLD_TREE")
    parser.add_argument("new", type=Path, metavar="NEW_TREE")
    parser.add_argument("scenarios", nargs="*", metavar="scenario", help="see below")
    parser.add_argument("--all", action="store_true", help="every scenario")
    parser.add_argument("--rounds", type=int, default=10, choices=range(2, 100), metavar="N")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each round, at most 10")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round there")
    options = parser.parse_args()
    if options.all:
        options.scenarios = list(SCENARIOS)
    unknown = set(options.scenarios) - SCENARIOS.keys()
    if unknown or not options.scenarios:
        parser.error(f"unknown scenarios: {', '.join(unknown)}" if unknown else "which scenario?")
    return options


if __name__ == "__main__":
    main()
