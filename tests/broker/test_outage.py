"""When an outage begins and ends, how long it is said to be, and which of them are told as one."""

from __future__ import annotations

import asyncio
import time

from sanic_chat.broker.outage import CALM_SECONDS, Outage

from ..support.harness import eventually


class Told:
    """What an outage has told."""

    def __init__(self) -> None:
        self.begins = 0
        self.ends: list[tuple[float, bool]] = []
        self.outage = Outage(
            asyncio.get_running_loop(),
            on_begin=self._begin,
            on_end=lambda seconds, lossy: self.ends.append((seconds, lossy)),
        )

    def _begin(self) -> None:
        self.begins += 1


async def test_the_first_proof_ends_the_start():
    """Before the first proof nothing is certain; it ends what nobody was told of, at once."""
    told = Told()
    assert told.outage.is_on
    told.outage.proven()
    assert not told.outage.is_on
    assert (told.begins, [lossy for _, lossy in told.ends]) == (0, [True])


async def test_it_counts_from_the_last_proof():
    """An outage that is noticed late is as long as it was."""
    told = Told()
    told.outage.proven()
    told.outage._last_end -= CALM_SECONDS  # long ago
    told.outage.begin(time.monotonic() - 5, lossy=False)
    told.outage.begin(time.monotonic(), lossy=False)
    assert (told.begins, told.outage.is_on) == (1, True)
    told.outage.proven()
    seconds, lossy = told.ends[-1]
    assert 5 <= seconds < 6
    assert not lossy


async def test_any_loss_counts():
    """Messages may be missing if they may be at any time of the outage, and only of this one."""
    told = Told()
    for losses in ([False, True, False], [False, False]):
        told.outage.proven()
        told.outage._last_end -= CALM_SECONDS  # long ago
        for lossy in losses:
            told.outage.begin(time.monotonic(), lossy=lossy)
    told.outage.proven()
    assert [lossy for _, lossy in told.ends] == [True, True, False]


async def test_a_storm_is_one_outage():
    """A link that is lost again and again is told of once, from the first loss to the last."""
    told = Told()
    told.outage.proven()
    began = time.monotonic()
    for _ in range(50):
        told.outage.begin(time.monotonic(), lossy=True)
        told.outage.proven()
        await asyncio.sleep(0.001)
    lasted = time.monotonic() - began
    assert told.begins == 1
    assert len(told.ends) == 1  # that of the start
    await eventually(lambda: not told.outage.is_on, "it is over")
    [_, (seconds, lossy)] = told.ends
    assert lossy
    assert 0.04 < seconds <= lasted
