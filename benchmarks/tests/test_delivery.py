"""A round notices what a server does wrong, to members that only count and to checked ones."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict

import pytest

from ..load.check import Faults
from ..measure import delivery
from ..measure.fanout import FanoutRound
from ..measure.rounds import Bench, bench
from ..scenarios import Fanout
from ..systems import SEND_PRICE, System

MEMBERS = 4
COMMAND = (sys.executable, "-m", "benchmarks.tests.faulty_server")


@pytest.fixture(scope="module")
def the_bench() -> Iterator[Bench]:
    cores = os.sched_getaffinity(0)
    with bench() as the_bench:
        yield the_bench
    os.sched_setaffinity(0, cores)


@pytest.mark.parametrize(
    ("fault", "checked", "expected"),
    [
        ("none", 1, set()),
        ("none", MEMBERS, set()),
        ("lose", 1, {"lost"}),
        ("lose", MEMBERS, {"lost"}),
        ("repeat", 1, {"surplus_bytes"}),
        ("repeat", MEMBERS, {"duplicated"}),
        ("add", 1, {"surplus_bytes"}),
        ("add", MEMBERS, {"foreign"}),
        ("hang up", 1, {"closed", "lost"}),
        ("hang up", MEMBERS, {"closed", "lost"}),
    ],
)
def test_a_fault_of_the_server_is_noticed(
    the_bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    checked: int,
    expected: set[str],
) -> None:
    """One fault towards one member is counted as what it is, and as nothing else."""
    monkeypatch.setattr(delivery, "DRAIN_SECONDS", 0.3)
    scenario = Fanout("", "", rooms=1, members=MEMBERS, senders=1, checked=checked)
    with the_bench.server(System("faulty", "", COMMAND), options=("--fault", fault)) as server:
        result = FanoutRound(scenario, server, the_bench.loop).measure(the_bench.redis, 0.2)
    assert result.events
    assert named(result.faults) == expected
    if expected in ({"lost"}, {"duplicated"}, {"foreign"}):
        assert result.faults.total == 1


def test_servers_have_rooms_of_their_own(the_bench: Bench) -> None:
    """Pods that go on hearing a room of the last round hear nothing of another server's."""
    with the_bench.server(SEND_PRICE) as one, the_bench.server(SEND_PRICE) as other:
        names = {server.wire.room_name(room) for server in (one, other) for room in (0, 99_999)}
    assert len(names) == 4
    assert len({len(name) for name in names}) == 1


def named(faults: Faults) -> set[str]:
    """The names of those that there were."""
    return {name for name, count in asdict(faults).items() if count}
