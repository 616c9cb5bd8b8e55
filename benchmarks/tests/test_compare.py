"""A comparison tells a slower checkout from a noisy machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ..compare import checkout
from ..results.comparison import AGAIN, NEW, OLD, Comparison, beside, compare, is_disturbed, row
from ..results.result import Latency, Result

SAME = [1.0, 1.0, 1.0]


def rounds(
    old: list[float],
    again: list[float],
    new: list[float],
    *,
    scenario: str = "room_100",
    milliseconds: dict[str, int] | None = None,
) -> list[Result]:
    """One result for each cost, as rounds give them; `milliseconds` are the latencies' p50."""
    return [
        Result(
            scenario=scenario, system=system, seconds=1, events=1, cpu_us=cost, server_cpu=1,
            load_cpu=0, redis_cpu=0, others_cpu=0, redis_commands=0, redis_bytes_in=0,
            redis_bytes_out=0, server_mib=0,
            latency=Latency.of([milliseconds[system] * 1_000_000]) if milliseconds else None,
        )
        for costs in zip(old, again, new, strict=True)
        for system, cost in zip((OLD, AGAIN, NEW), costs, strict=True)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("again", "new", "is_slower"),
    [
        pytest.param(SAME, [1.015, 1.02, 1.015], False, id="up to 2 % is no difference"),
        pytest.param(SAME, [1.025, 1.03, 1.025], True, id="more than that is"),
        pytest.param([1.04, 0.96, 1.0], [1.03, 1.03, 1.03], False, id="rounds differ by as much"),
        pytest.param([1.04, 0.96, 1.0], [1.045, 1.05, 1.045], True, id="by less"),
        pytest.param([1.03, 1.03, 1.03], [1.04, 1.04, 1.04], False, id="the old one, too"),
        pytest.param([1.2, 0.8, 1.0], [1.06, 1.06, 1.06], True, id="no more than 5 % is excused"),
        pytest.param([1.04, 0.96, 1.0], [0.5, 0.5, 0.5], False, id="faster"),
        pytest.param(SAME, [0.0, 0.0, 0.0], False, id="nothing"),
    ],
)
def test_slower_is_what_noise_does_not_explain(
    again: list[float], new: list[float], is_slower: bool
) -> None:
    """The old one's distance from itself, the rounds' spread and 2 % excuse; never above 5 %."""
    found = compare(rounds(SAME, again, new))
    assert found.is_slower == is_slower
    assert ("**slower**" in row(found, {})) == is_slower


@pytest.mark.parametrize(("new", "is_slower"), [(SAME, True), ([0.0, 0.0, 0.0], False)])
def test_an_old_one_without_a_cost(new: list[float], is_slower: bool) -> None:
    """Nothing is twice nothing, and something is infinitely more."""
    nothing = [0.0, 0.0, 0.0]
    found = compare(rounds(nothing, nothing, new))
    assert found.is_slower == is_slower
    assert "`room_100`" in row(found, {})


def test_the_new_latencies_are_told_in_milliseconds() -> None:
    """The table and the JSON say how long it takes, not only how many times as long."""
    found = compare(rounds(SAME, SAME, SAME, milliseconds={OLD: 4, AGAIN: 4, NEW: 5}))
    assert "| 5 / 5 | +25% / +25% |" in row(found, {})
    assert found.to_json()["latency_ms"] == {"p50": 5.0, "p99": 5.0}
    assert found.to_json()["latency_ratios"] == {"p50": 1.25, "p99": 1.25}


def mixed_and_plain() -> dict[str, Comparison]:
    """A mixed scenario that takes twice the CPU and 1.5 times as long, and its plain one."""
    latencies = {"talker": 4, "talker_pings": 6}
    costs = {"talker": SAME, "talker_pings": [2.0, 2.0, 2.0]}
    return {
        name: compare(
            rounds(
                SAME,
                SAME,
                costs[name],
                scenario=name,
                milliseconds=dict.fromkeys((OLD, AGAIN, NEW), ms),
            )
        )
        for name, ms in latencies.items()
    }


def test_what_is_mixed_is_told_beside_its_plain_one() -> None:
    """More than 1.5 times the plain scenario stands out."""
    measured = mixed_and_plain()
    mixed = measured["talker_pings"]
    assert beside(mixed, measured) == {"CPU": 2.0, "p50": 1.5, "p99": 1.5}
    assert row(mixed, measured).endswith("| CPU **2.00**, p50 1.50, p99 1.50 |")


def test_what_has_nothing_beside_it_is_told_alone() -> None:
    """The plain scenario itself, and a mixed one whose plain one was not measured."""
    measured = mixed_and_plain()
    assert beside(measured["talker"], measured) == {}
    assert beside(measured["talker_pings"], {}) == {}


@pytest.mark.parametrize(("kib", "disturbed"), [(None, True), (1.9, False)])
def test_others_disturb_what_takes_time(kib: float | None, disturbed: bool) -> None:
    """What a connection weighs is the same, however busy the cores are."""
    [result, *_] = rounds(SAME, SAME, SAME)
    assert is_disturbed(replace(result, others_cpu=1.0, kib_per_connection=kib)) == disturbed


def test_what_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no checkout"):
        checkout(tmp_path, OLD)
