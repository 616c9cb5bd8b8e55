"""That results survive JSON and make a table, those of failed rounds too."""

from __future__ import annotations

from pathlib import Path

from .report import read_json, tables, write_json
from .results import Faults, Latency, Result, median_of


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
