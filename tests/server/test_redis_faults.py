"""Whatever happens to Redis: what is promised for as long as it lasts, and for its end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..support.fault_run import check, run
from ..support.faults import FAULTS, Fault
from ..support.stage import Settings, Stage, stage

SETTINGS = Settings(
    redis_timeout=1.5,
    proof_interval=0.2,
    queue_seconds=1.0,
    unsubscribe_delay=0.1,
    down=0.5,
    pause=0.9,
)
MARGIN = 3.0
"""Seconds that a slow machine may take longer."""


@pytest.fixture(scope="module")
def shared_stage() -> Iterator[Stage]:
    with stage(SETTINGS) as shared:
        yield shared


def _ids(fault: Fault) -> str:
    return fault.inflict.__name__


@pytest.mark.parametrize("fault", [f for f in FAULTS if not f.is_absent], ids=_ids)
async def test_fault(shared_stage, fault):
    """Clients stay, their own pod serves them, all is soon as before, and nothing is hidden."""
    check(fault, await run(fault, shared_stage), SETTINGS, margin=MARGIN)


@pytest.mark.parametrize("fault", [f for f in FAULTS if f.is_absent], ids=_ids)
async def test_fault_at_start(fault):
    """As `test_fault`, with a fault that lasts since before the start."""
    with stage(SETTINGS, absent=True) as absent:
        assert all("cannot be used yet" in server.log for server in absent.servers)
        check(fault, await run(fault, absent), SETTINGS, margin=MARGIN)
