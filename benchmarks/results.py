"""What a measurement says: plain data, to and from JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self


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
class Faults:
    """Everything that must be zero."""

    lost: int = 0
    """Messages that did not come, over all members."""
    duplicated: int = 0
    disordered: int = 0
    """Messages that came after a later one of the same sender."""
    foreign: int = 0
    """Messages of another room, and frames that are no message of the load."""
    surplus_bytes: int = 0
    """Bytes that came beyond what was sent to a room, or that make no whole message."""
    closed: int = 0
    """Connections that failed, or that the server ended."""

    @property
    def total(self) -> int:
        return sum(getattr(self, each.name) for each in fields(self))

    def __str__(self) -> str:
        return ", ".join(f"{value} {name}" for name, value in asdict(self).items() if value)


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
    """What anybody else took of both cores, in cores: a run with much of it is disturbed."""
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
    checked: int = 0
    """Messages that were looked at one by one."""
    faults: Faults = field(default_factory=Faults)
    note: str = ""

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self) | {"rate": self.rate}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """What `to_json` gave."""
        data = {name: value for name, value in data.items() if name != "rate"}
        for name in ("latency", "latency_other_pod"):
            data[name] = Latency(**data[name]) if data[name] else None
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
        checked=sum(result.checked for result in results),
        faults=Faults(
            **{e.name: sum(getattr(r.faults, e.name) for r in results) for e in fields(Faults)}
        ),
        note=first.note,
        **{name: median(name) for name in medians},
    )
