"""The outcome of a measurement: plain data, to and from JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from ..load.check import Faults


@dataclass
class Latency:
    """Percentiles in milliseconds, and how many were measured."""

    p50: float
    p99: float
    p999: float
    max: float
    count: int

    @classmethod
    def of(cls, nanoseconds: list[int]) -> Self | None:
        """The percentiles of these; None of none."""
        if not nanoseconds:
            return None
        ordered = sorted(nanoseconds)

        def at(share: float) -> float:
            return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1e6

        return cls(at(0.5), at(0.99), at(0.999), ordered[-1] / 1e6, len(ordered))


@dataclass
class Result:
    """One system under one scenario, once."""

    scenario: str
    system: str
    seconds: float
    events: int
    """Deliveries, or connections made."""
    cpu_us: float
    """Server CPU, user and system, per event."""
    server_cpu: float
    """Share of the server's core that the server took."""
    load_cpu: float
    """Share of the load's core that the load took."""
    redis_cpu: float
    """Share of the load's core that Redis took."""
    others_cpu: float
    """Taken by anybody else of both cores, in cores: a run with much of it is disturbed."""
    redis_commands: float
    """Commands per second that Redis was given."""
    redis_bytes_in: float
    """Bytes per second that Redis read."""
    redis_bytes_out: float
    """Bytes per second that Redis wrote."""
    server_mib: float
    """Resident memory of the server's processes afterwards."""
    kib_per_connection: float | None = None
    latency: Latency | None = None
    latency_other_pod: Latency | None = None
    """Only of messages that came in on another worker than their receiver's."""
    latency_beside: Latency | None = None
    """Only of a pair that talks in a room of its own meanwhile."""
    checked: int = 0
    """Messages that were looked at one by one."""
    faults: Faults = field(default_factory=Faults)
    note: str = ""

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """Returns it as plain data."""
        return asdict(self) | {"rate": self.rate}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Makes a result of what `to_json` gave."""
        data = {name: value for name, value in data.items() if name != "rate"}
        for name in ("latency", "latency_other_pod", "latency_beside"):
            data[name] = Latency(**data[name]) if data.get(name) else None
        return cls(**data | {"faults": Faults(**data["faults"])})


def median_of(results: Iterable[Result]) -> Result:
    """The medians of each figure over rounds; faults, checks and events are summed."""
    results = list(results)
    first = results[0]

    def median(name: str, of: Iterable[Any] = results) -> Any:
        values = [getattr(each, name) for each in of if each is not None]
        values = [value for value in values if value is not None]
        return statistics.median(values) if values else None

    def latencies(name: str) -> Latency | None:
        given = [getattr(result, name) for result in results if getattr(result, name)]
        if not given:
            return None
        return Latency(**{each.name: median(each.name, given) for each in fields(Latency)})

    medians = (
        "cpu_us", "server_cpu", "load_cpu", "redis_cpu", "others_cpu", "redis_commands",
        "redis_bytes_in", "redis_bytes_out", "server_mib", "kib_per_connection",
    )  # fmt: skip
    rate = median("rate")
    events = sum(result.events for result in results)
    return Result(
        scenario=first.scenario,
        system=first.system,
        seconds=events / rate if rate else 0,
        events=events,
        latency=latencies("latency"),
        latency_other_pod=latencies("latency_other_pod"),
        latency_beside=latencies("latency_beside"),
        checked=sum(result.checked for result in results),
        faults=Faults(
            **{e.name: sum(getattr(r.faults, e.name) for r in results) for e in fields(Faults)}
        ),
        note=first.note,
        **{name: median(name) for name in medians},
    )


def summary(results: Iterable[Result]) -> dict[str, dict[str, Result]]:
    """Medians over rounds, by scenario and system, in the order of the measurements."""
    grouped: dict[str, dict[str, list[Result]]] = {}
    for result in results:
        grouped.setdefault(result.scenario, {}).setdefault(result.system, []).append(result)
    return {
        scenario: {system: median_of(rounds) for system, rounds in systems.items()}
        for scenario, systems in grouped.items()
    }


def ratios(result: Result, plain: Result) -> dict[str, float]:
    """CPU per event and latencies of a result, as times those of another."""
    cpu = {"CPU": result.cpu_us / plain.cpu_us} if plain.cpu_us else {}
    return cpu | latency_ratios(result, plain)


def latency_ratios(result: Result, other: Result) -> dict[str, float]:
    """p50 and p99 of a result as times those of another; the pair's too, if both have one."""
    return {
        f"{prefix}{p}": getattr(ours, p) / getattr(others, p)
        for name, prefix in (("latency", ""), ("latency_beside", "the pair's "))
        if (ours := getattr(result, name)) and (others := getattr(other, name))
        for p in ("p50", "p99")
    }
