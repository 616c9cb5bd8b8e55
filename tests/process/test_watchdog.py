"""Signs of life: who is silent for how many looks, without waiting for real time."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

import pytest

from sanic_chat.process.watchdog import LOOKS, START_SECONDS, Watchdog, WatchdogPulse

from ..support.harness import eventually

WORKER, OTHER = 4711, 4712


@pytest.fixture
def watch() -> Watchdog:
    return Watchdog(timeout=10)


def beat(watch: Watchdog, *pids: int) -> None:
    """A sign of life of each of them."""
    for pid in pids:
        os.write(watch.pipe.fileno(), pid.to_bytes(4, "big"))


def looks_until_silent(watch: Watchdog, living: set[int]) -> int:
    """How many looks pass until one finds somebody silent; that has to be the worker."""
    for look in range(1, 1000):
        if silent := watch.look(living):
            assert silent == [WORKER]
            return look
        beat(watch, *(living - {WORKER}))
    raise AssertionError("nobody is ever silent")


def test_silence_is_counted_from_the_last_sign(watch: Watchdog) -> None:
    """A worker is silent once more looks than the timeout has missed it; others are not."""
    living = {WORKER, OTHER}
    for _ in range(3 * LOOKS):
        beat(watch, WORKER, OTHER)
        assert watch.look(living) == []
    assert looks_until_silent(watch, living) == LOOKS + 1
    assert looks_until_silent(watch, living) == LOOKS + 1, "it is as good as new after that"


def test_a_late_sign_is_in_time(watch: Watchdog) -> None:
    """A sign after as many looks as the timeout has makes everything good."""
    beat(watch, WORKER)
    for _ in range(5):
        assert [watch.look({WORKER}) for _ in range(LOOKS + 1)] == [[]] * (LOOKS + 1)
        beat(watch, WORKER)


def test_a_starting_worker_has_its_own_time(watch: Watchdog) -> None:
    """Before its first sign of life a worker has 30 s."""
    assert looks_until_silent(watch, {WORKER}) == START_SECONDS / watch.interval + 1


def test_the_dead_are_forgotten(watch: Watchdog) -> None:
    """A PID that is used again, by a new worker, starts anew."""
    beat(watch, WORKER)
    for _ in range(LOOKS):
        assert watch.look({WORKER}) == []
    for _ in range(2):
        assert watch.look(set()) == []
    assert looks_until_silent(watch, {WORKER}) > LOOKS + 1


@pytest.mark.parametrize("looks", [0, 1])
def test_who_has_just_ended_is_remembered(watch: Watchdog, looks: int) -> None:
    """Whoever ends right before a look is asked about after it: it was ready, and did not fail."""
    beat(watch, WORKER)
    for _ in range(looks):
        assert watch.look({WORKER}) == []
    assert watch.look(set()) == []
    assert watch.has_started(WORKER)
    assert watch.look(set()) == []
    assert not watch.has_started(WORKER)


async def test_a_full_pipe_blocks_nobody(watch: Watchdog) -> None:
    """While the main process stands still its pipe fills up, and workers go on."""
    with suppress(BlockingIOError):
        while True:
            beat(watch, WORKER)
    WatchdogPulse(asyncio.get_running_loop(), watch.pipe, timeout=0.1).start()
    assert watch.look({WORKER}) == []  # which empties it
    await eventually(watch._reader.poll, "a sign of life comes again")
    assert os.read(watch._reader.fileno(), 4) == os.getpid().to_bytes(4, "big")


async def test_who_is_not_watched_says_once_that_it_is_ready() -> None:
    """With a timeout of 0 nobody is ever silent, and whether a worker was ready is known."""
    watch = Watchdog(timeout=0)
    assert not watch.has_started(os.getpid())
    WatchdogPulse(asyncio.get_running_loop(), watch.pipe, timeout=0).start()
    assert watch.has_started(os.getpid())
    assert [watch.look({os.getpid()}) for _ in range(100)] == [[]] * 100
    for _ in range(2):
        assert watch.look(set()) == []
    assert not watch.has_started(os.getpid())
