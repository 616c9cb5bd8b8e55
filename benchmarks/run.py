"""Runs scenarios against systems, and writes a table, JSON and a picture.

    python -m benchmarks.run room_100 --systems sanic_chat,stock_sanic --rounds 3
    python -m benchmarks.run --all --json results/all.json --picture results/all.svg
    python -m benchmarks.run room_100 --members 500 --window 4 --payload 1024
    python -m benchmarks.run --smoke

Exits with 1 if a message was lost, came twice, in the wrong order or to the wrong room: of
sanic_chat, or with --smoke of anyone.
"""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from .measure.rounds import measure_all, rounds_of, taking_part
from .results.files import write_json
from .results.result import Result, summary
from .results.tables import tables
from .scenarios import SCENARIOS, Connects, Fanout, Idle, Mixed, Scenario, Storm
from .systems import SYSTEMS, System

PAIR = "sanic_chat,stock_sanic"

CHANGES = ("rooms", "members", "senders", "checked", "window", "rate", "payload", "workers")
"""The fields of a scenario that can be changed."""


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are ended, too
    options = _options()
    scenarios = [_changed(SCENARIOS[name], options) for name in options.scenarios]
    if options.smoke:
        scenarios = [_tiny(scenario) for scenario in scenarios]
    systems = _present(options.systems)
    results = _measure(scenarios, systems, options)
    if options.json:
        write_json(options.json, results)
    print(tables(results))
    if options.picture:
        from .results.picture import draw_summary

        draw_summary(summary(results), options.picture)
    answerable = [r for r in results if options.smoke or r.system == "sanic_chat"]
    sys.exit(any(result.faults.total for result in answerable))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        epilog=f"Scenarios: {', '.join(SCENARIOS)}. Systems: {', '.join(SYSTEMS)}.",
    )
    parser.add_argument("scenarios", nargs="*", metavar="scenario", help="see below")
    parser.add_argument("--all", action="store_true", help="every scenario")
    parser.add_argument(
        "--smoke", action="store_true", help="every scenario, tiny and short: does the suite work?"
    )
    parser.add_argument("--systems", default=PAIR, help=f"default {PAIR}; `all` for all there are")
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 100), metavar="N")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round, at most 10")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round there")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="PNG or SVG")
    changes = parser.add_argument_group("changes to the scenario, if it is one of rooms")
    for name in CHANGES:
        kind = float if name == "rate" else int
        changes.add_argument(f"--{name}", type=kind, metavar="N", help=argparse.SUPPRESS)
    changes.description = f"{', '.join(f'--{name} N' for name in CHANGES)}: see scenarios.Fanout"
    options = parser.parse_args()
    if options.smoke:
        options.rounds, options.seconds = 1, 0.1
    if options.all or options.smoke:
        options.scenarios = list(SCENARIOS)
    unknown = set(options.scenarios) - SCENARIOS.keys()
    if unknown or not options.scenarios:
        parser.error(f"unknown scenarios: {', '.join(unknown)}" if unknown else "which scenario?")
    options.systems = list(SYSTEMS) if options.systems == "all" else options.systems.split(",")
    if unknown := set(options.systems) - SYSTEMS.keys():
        parser.error(f"unknown systems: {', '.join(unknown)}")
    return options


def _present(names: list[str]) -> list[System]:
    """The systems of these names whose runtime is here; says which are skipped."""
    present = []
    for name in names:
        system = SYSTEMS[name]
        if system.missing:
            print(f"{name} is skipped: there is no {system.missing}", file=sys.stderr)
        else:
            present.append(system)
    if not present:
        sys.exit("no system is left to measure")
    return present


def _changed(scenario: Scenario, options: argparse.Namespace) -> Scenario:
    """The scenario as the options change it, with a name that says so."""
    changes = {name: value for name in CHANGES if (value := getattr(options, name)) is not None}
    if not changes or not isinstance(scenario, Fanout | Mixed):
        return scenario
    told = " ".join(f"{name}={value:g}" for name, value in changes.items())
    try:
        return replace(scenario, name=f"{scenario.name} {told}", **changes)
    except (TypeError, ValueError) as error:
        sys.exit(f"{scenario.name} cannot be: {error}")


def _tiny(scenario: Scenario) -> Scenario:
    match scenario:
        case Fanout():
            rooms = min(scenario.rooms, 5)
            return replace(
                scenario,
                rooms=rooms,
                members=min(scenario.members, 20),
                senders=min(scenario.senders, 5),
                checked=20,
            )
        case Mixed():
            rooms = min(scenario.rooms, 2)
            return replace(scenario, rooms=rooms, members=20, rate=200, checked=20)
        case Idle():  # more than the server has room for since the scenarios before
            return replace(scenario, connections=2_000, settle=0.05)
        case Connects():
            return replace(scenario, connections=100, settle=0.05)
        case Storm():
            return replace(scenario, rooms=5, members=20)


def _measure(
    scenarios: list[Scenario], systems: list[System], options: argparse.Namespace
) -> list[Result]:
    total = sum(rounds_of(s, options.rounds) * len(taking_part(s, systems)) for s in scenarios)
    results = []
    with tqdm(total=total, disable=None, unit="round") as bar:
        for result in measure_all(
            scenarios,
            systems,
            rounds=options.rounds,
            seconds=options.seconds,
            keep_servers=options.smoke,
            on_start=bar.set_description,
            tick=bar.refresh,
        ):
            results.append(result)
            told = f"{result.rate:,.0f}/s, {result.cpu_us:.2f} µs CPU each"
            if bar.disable:  # no terminal
                print(f"{result.scenario}, {result.system}: {told}", file=sys.stderr, flush=True)
            if result.faults.total:
                bar.write(
                    f"{result.scenario}, {result.system}: {result.faults}: {result.note}",
                    file=sys.stderr,
                )
            bar.set_postfix_str(told, refresh=False)
            bar.update()
    return results


if __name__ == "__main__":
    main()
