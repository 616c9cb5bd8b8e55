"""Results as tables, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from ..scenarios import SCENARIOS, Connects, Idle, Mixed, Storm
from ..systems import SEND_PRICE, title
from .result import Latency, Result, ratios, summary

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


def tables(results: Iterable[Result]) -> str:
    """Markdown: an overview, then one table per scenario."""
    by_scenario = summary(results)
    details = [_table(scenario, by_scenario) for scenario in by_scenario]
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


def _table(name: str, by_scenario: dict[str, dict[str, Result]]) -> str:
    systems = by_scenario[name]
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
    if isinstance(scenario, Mixed):
        plain = by_scenario.get(scenario.beside, {})
        lines += ["", *_mixed(systems, plain, scenario.beside)]
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


def _mixed(systems: dict[str, Result], plain: dict[str, Result], plain_name: str) -> Iterable[str]:
    for system, result in systems.items():
        if result.latency_beside:
            told = _percentiles(result.latency_beside)
            yield f"The pair beside, {title(system)}: {told} ({_LATENCY}).  "
        other = plain.get(system)
        if other is not None:
            told = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios(result, other).items())
            yield f"Times `{plain_name}`, {title(system)}: {told}.  "
