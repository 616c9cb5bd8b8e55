"""Results survive JSON and make a table, those of failed rounds too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..load.check import Faults
from ..results.files import read_json, write_json
from ..results.result import Latency, Result, median_of, ratios
from ..results.tables import tables


def result(events: int, faults: Faults, latency: Latency | None) -> Result:
    return Result(
        scenario="room_100", system="sanic_chat", seconds=2, events=events, cpu_us=1.5,
        server_cpu=1, load_cpu=0.5, redis_cpu=0.1, others_cpu=0, redis_commands=1,
        redis_bytes_in=2, redis_bytes_out=3, server_mib=50, latency=latency, faults=faults,
    )  # fmt: skip


ROUNDS = [
    result(100, Faults(), Latency.of([1_000_000])),
    result(300, Faults(lost=2), Latency.of([3_000_000])),
    result(0, Faults(closed=1), None),
]


def test_json_keeps_every_round(tmp_path: Path) -> None:
    write_json(tmp_path / "results.json", ROUNDS)
    assert read_json(tmp_path / "results.json") == ROUNDS


def test_medians_are_of_the_rounds_and_faults_their_sum() -> None:
    median = median_of(ROUNDS)
    assert median.rate == 50
    assert median.latency is not None
    assert median.latency.p50 == 2.0
    assert median.faults == Faults(lost=2, closed=1)


def test_a_failed_round_stands_in_the_table() -> None:
    assert "**1 closed**" in tables(ROUNDS[2:])


def test_a_mixed_scenario_is_told_beside_its_plain_one() -> None:
    plain = replace(ROUNDS[0], scenario="talker", latency_beside=Latency.of([500_000]))
    mixed = replace(
        plain, scenario="talker_pings", cpu_us=3.0, latency_beside=Latency.of([2_000_000])
    )
    assert ratios(mixed, plain) == {
        "CPU": 2.0, "p50": 1.0, "p99": 1.0, "the pair's p50": 4.0, "the pair's p99": 4.0,
    }  # fmt: skip
    assert "Times `talker`, sanic_chat: CPU 2.00, p50 1.00" in tables([plain, mixed])
