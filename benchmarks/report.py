"""Results as a table (Markdown), and as JSON.

    python -m benchmarks.report results/one.json results/other.json --picture results/all.svg

prints what several runs measured as one table.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sanic_chat.broker.embedded import find_server_program

from .results import Latency, Result, median_of
from .scenarios import SCENARIOS, Connects, Idle, Storm
from .systems import SEND_PRICE, title

_COLUMNS = (
    "",
    "{unit}/s",
    "CPU µs each",
    "× sanic_chat",
    "server / load / Redis / others CPU",
    "{latency}",
    "MiB",
)
_HEAD = f"| {' | '.join(_COLUMNS)} |\n|---|{'--:|' * (len(_COLUMNS) - 1)}"
_LATENCY = "p50 / p99 / p99.9 / max ms"


def summary(results: Iterable[Result]) -> dict[str, dict[str, Result]]:
    """Medians over rounds, by scenario and system, in the order of the measurements."""
    grouped: dict[str, dict[str, list[Result]]] = {}
    for result in results:
        grouped.setdefault(result.scenario, {}).setdefault(result.system, []).append(result)
    return {
        scenario: {system: median_of(rounds) for system, rounds in systems.items()}
        for scenario, systems in grouped.items()
    }


def tables(results: Iterable[Result]) -> str:
    """Markdown: an overview, then one table per scenario."""
    by_scenario = summary(results)
    details = [_table(scenario, systems) for scenario, systems in by_scenario.items()]
    return "\n\n".join([_overview(by_scenario), *details])


def _overview(by_scenario: dict[str, dict[str, Result]]) -> str:
    """Server CPU of each system in each scenario."""
    systems = list(dict.fromkeys(name for by_system in by_scenario.values() for name in by_system))
    rows = [
        "Server CPU, µs per delivery or connect (KiB per connection where idle); events per second",
        "",
        f"| | {' | '.join(map(title, systems))} |",
        f"|---|{'--:|' * len(systems)}",
    ]
    for scenario, by_system in by_scenario.items():
        cells = [_cell(by_system.get(system)) for system in systems]
        rows.append(f"| `{scenario}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def _cell(result: Result | None) -> str:
    if result is None:
        return ""
    if result.kib_per_connection is not None:
        return f"**{result.kib_per_connection:.2f}** KiB"
    return f"**{_cost(result)}**; {result.rate:,.0f}"


def _cost(result: Result) -> str:
    return f"{result.cpu_us:,.2f}" if result.rate else "none in time"


def _table(name: str, systems: dict[str, Result]) -> str:
    scenario = SCENARIOS.get(name)
    heading = f"**{scenario.title if scenario else name}** (`{name}`)"
    if isinstance(scenario, Idle):
        rows = ["| | KiB per connection | CPU µs per connect |", "|---|--:|--:|"]
        rows += [
            f"| {title(system)} | {result.kib_per_connection:.2f} "
            f"| {result.cpu_us:,.0f} |{_blame(result)}"
            for system, result in systems.items()
            if result.kib_per_connection is not None
        ]
    else:
        is_connects = isinstance(scenario, Connects | Storm)
        rows = [
            _HEAD.format(
                unit="connects" if is_connects else "deliveries",
                latency=f"time to 101: {_LATENCY}" if is_connects else _LATENCY,
            )
        ]
        ours = systems.get("sanic_chat")
        rows += [_row(system, result, ours) for system, result in systems.items()]
    lines = [heading, "", *rows]
    if other_pod := list(_other_pod(systems)):
        lines += ["", *other_pod]
    floor, ours = systems.get(SEND_PRICE.name), systems.get("sanic_chat")
    if floor and ours and floor.cpu_us:
        lines += ["", f"sanic_chat takes {ours.cpu_us / floor.cpu_us:.2f} × the price of a send()."]
    return "\n".join(lines)


def _row(system: str, result: Result, ours: Result | None) -> str:
    ratio = f"{result.cpu_us / ours.cpu_us:.2f}" if ours and ours.rate and result.rate else ""
    shares = (result.server_cpu, result.load_cpu, result.redis_cpu, result.others_cpu)
    cores = " / ".join(f"{share:.0%}" for share in shares)
    name = title(system) + (f" ({result.note})" if result.note else "")
    return (
        f"| {name} | {result.rate:,.0f} | {_cost(result)} | {ratio} | {cores} "
        f"| {_percentiles(result.latency)} | {result.server_mib:.0f} |{_blame(result)}"
    )


def _percentiles(latency: Latency | None) -> str:
    if latency is None:
        return ""
    return " / ".join(f"{ms:.3g}" for ms in (latency.p50, latency.p99, latency.p999, latency.max))


def _blame(result: Result) -> str:
    return f" **{result.faults}** |" if result.faults.total else ""


def _other_pod(systems: dict[str, Result]) -> Iterable[str]:
    for system, result in systems.items():
        if result.latency_other_pod:
            far = _percentiles(result.latency_other_pod)
            yield f"From pod to pod, {title(system)}: {far} ({_LATENCY}).  "


def machine() -> dict[str, Any]:
    """Where and with what the figures were measured."""
    packages = ("sanic", "uvloop", "redis", "hiredis", "websockets", "python-socketio", "uvicorn")
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _first_line("git", "describe", "--always", "--dirty"),
        "cpu": f"{len(cpu)} × {cpu[0].partition(': ')[2]}" if cpu else platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "redis_server": _first_line(find_server_program(), "--version"),
        "node": _first_line("node", "--version"),
        **{name: _version(name) for name in packages},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except ImportError:
        return ""


def _first_line(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.partition("\n")[0]
    except OSError:
        return ""


def write_json(path: Path, results: list[Result]) -> None:
    """Every round, their medians, and the machine."""
    medians = [r.to_json() for by_system in summary(results).values() for r in by_system.values()]
    data = {
        "machine": machine(),
        "medians": medians,
        "rounds": [result.to_json() for result in results],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1))


def read_json(path: Path) -> list[Result]:
    """Every round of what `write_json` wrote."""
    return [Result.from_json(data) for data in json.loads(path.read_text())["rounds"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--picture", type=Path, metavar="FILE", help="PNG or SVG")
    options = parser.parse_args()
    results = [result for path in options.files for result in read_json(path)]
    for name, value in json.loads(options.files[0].read_text())["machine"].items():
        print(f"- {name}: {value}")
    print()
    print(tables(results))
    if options.picture:
        from .picture import draw_summary

        draw_summary(summary(results), options.picture)


if __name__ == "__main__":
    main()
