"""The sampler: what it measures, and that nothing else costs anything by it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from sanic_chat.hub.channel import Channel
from sanic_chat.pod.sampler import (
    INTERVAL_SECONDS,
    MAX_MISSED,
    MAX_QUEUES,
    QUEUE_TICKS,
    Sampler,
)
from sanic_chat.session.send_queue import SendQueuePool
from sanic_chat.stats.histogram import Histogram

from ..support.harness import eventually
from ..support.hub import HubHandler, channel_of, deliver


def total(histogram: Histogram, *, above: float = -1) -> int:
    """The number of values, or of those that were above a bound of the histogram."""
    bounds = (*histogram.bounds, float("inf"))
    return sum(
        count for bound, count in zip(bounds, histogram.counts, strict=True) if bound > above
    )


@pytest.fixture
def handler() -> HubHandler:
    return HubHandler()


@pytest.fixture
def pool() -> SendQueuePool:
    return SendQueuePool(
        max_messages=100,
        max_bytes=2**20,
        max_total_bytes=2**30,
        drop_oldest=False,
        call_soon=lambda callback: None,
    )


@pytest.fixture
async def sampler(handler: HubHandler, pool: SendQueuePool) -> Iterator[Sampler]:
    """One whose ticks the test makes itself."""
    sampler = Sampler(asyncio.get_running_loop(), handler.hub, pool)
    yield sampler
    sampler.stop()


def tick(sampler: Sampler, times: int = 1) -> None:
    """Let so many intervals be over."""
    for _ in range(times):
        sampler._due = time.monotonic()
        sampler._tick()
        sampler._timer.cancel()


async def test_one_turn_is_timed(handler: HubHandler, sampler: Sampler):
    """The first turn after a tick is timed; before and after it the hub is as it ever was."""
    room: Channel = channel_of("a")
    handler.open(room)
    plain = handler.hub.call_soon
    for ticks in (1, 2):
        tick(sampler)
        tick(sampler)  # without a turn in between
        for _ in range(3):
            deliver(handler, room, b"hello")
            assert handler.hub.call_soon == plain
            handler.end_turn()
        assert total(sampler.fan_out_turns) == ticks
    assert 0 < sampler.fan_out_turns.sum < 10
    assert handler.hub.deliveries == 6


async def test_a_turn_that_fails(handler: HubHandler, sampler: Sampler, monkeypatch):
    """Its error goes where it would have gone, and the next turn is one like any other."""
    room = channel_of("a")
    handler.open(room)
    tick(sampler)
    monkeypatch.setattr(handler.hub, "_write_pending", lambda: 1 / 0)
    deliver(handler, room, b"hello")
    with pytest.raises(ZeroDivisionError):
        handler.end_turn()
    assert total(sampler.fan_out_turns) == 0


async def test_a_loop_that_stands_still(sampler: Sampler):
    """A stall counts as long as it is, and for each interval in it, as whoever waits meets it."""
    sampler.start()
    await eventually(lambda: total(sampler.loop_lag) >= 2, "it measures")
    before = total(sampler.loop_lag, above=0.25)  # of a busy machine
    time.sleep(0.9)
    await eventually(lambda: total(sampler.loop_lag, above=0.25) >= before + 2, "it is seen")
    assert total(sampler.loop_lag, above=0.01) >= 3


def test_a_very_long_stall(handler: HubHandler, pool: SendQueuePool):
    """A machine that slept for a day is no work for long."""
    loop = asyncio.new_event_loop()
    sampler = Sampler(loop, handler.hub, pool)
    sampler._note_lag(86_400)
    assert total(sampler.loop_lag) == MAX_MISSED + 1
    assert MAX_MISSED * INTERVAL_SECONDS >= 30
    loop.close()


async def test_send_queues(sampler: Sampler, pool: SendQueuePool):
    """Each queue that there is counts once a second, with the messages in it."""
    for messages in (1, 3, 40):
        pool.open(shed=lambda: None).push(b"x", messages, None, unsent=0)
    tick(sampler, QUEUE_TICKS - 1)
    assert total(sampler.send_queues) == 0
    tick(sampler)
    assert (total(sampler.send_queues), sampler.send_queues.sum) == (3, 44)
    assert total(sampler.send_queues, above=32) == 1


async def test_very_many_send_queues(sampler: Sampler, pool: SendQueuePool):
    """Of too many some are looked at, evenly."""
    for number in range(MAX_QUEUES * 3 + 1):
        pool.open(shed=lambda: None).push(b"x", number % 2 + 1, None, unsent=0)
    tick(sampler, QUEUE_TICKS)
    assert MAX_QUEUES / 2 < total(sampler.send_queues) <= MAX_QUEUES


async def test_its_end(handler: HubHandler, sampler: Sampler):
    """After it nothing is measured, not even what had been asked for."""
    plain = handler.hub.call_soon
    sampler.start()
    await eventually(lambda: total(sampler.loop_lag), "it measures")
    assert handler.hub.call_soon != plain
    sampler.stop()
    assert handler.hub.call_soon == plain
    before = total(sampler.loop_lag)
    await asyncio.sleep(INTERVAL_SECONDS * 2)
    assert total(sampler.loop_lag) == before
