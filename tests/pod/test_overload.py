"""More from other pods than a pod can pass on: the link is held for a while, and no longer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sanic_chat.broker.proof import OVERDUE_INTERVALS
from sanic_chat.config.settings import Config
from sanic_chat.hub.channel import Channel
from sanic_chat.pod.overload import PATIENCE_SECONDS, REFILL, PatientLink


class Loop:
    """A clock and timers that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[..., None], *arguments: Any) -> Timer:
        timer = Timer(self.now + delay, callback, arguments)
        self.timers.append(timer)
        return timer

    def go_on(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [t for t in self.timers if t.at <= end and not t.is_over]:
            timer = min(due, key=lambda timer: timer.at)
            self.now = timer.at
            timer.is_over = True
            timer.callback(*timer.arguments)
        self.now = end


class Timer:
    def __init__(self, at: float, callback: Callable[..., None], arguments: Any) -> None:
        self.at = at
        self.callback = callback
        self.arguments = arguments
        self.is_over = False

    def cancel(self) -> None:
        self.is_over = True


class Link:
    is_held = False

    def hold(self) -> None:
        self.is_held = True

    def release(self) -> None:
        self.is_held = False


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def link() -> Link:
    return Link()


@pytest.fixture
def told() -> list[tuple[str | None, int]]:
    return []


@pytest.fixture
def patient(loop: Loop, link: Link, told: list[tuple[str | None, int]]) -> PatientLink:
    return PatientLink(
        loop,  # type: ignore[arg-type]
        link,
        on_impatient=lambda source: source.release(),
        tell=lambda room, messages: told.append((room.room, messages)),
    )


def test_held_for_long(loop: Loop, link: Link, patient: PatientLink):
    """It is released when patience runs out, which is back when half of it has grown again."""
    patient.hold()
    loop.go_on(PATIENCE_SECONDS - 0.1)
    assert link.is_held
    assert patient.is_patient
    loop.go_on(0.2)
    assert not link.is_held
    loop.go_on(PATIENCE_SECONDS / REFILL / 2 - 0.2)
    assert not patient.is_patient
    loop.go_on(0.2)
    assert patient.is_patient
    loop.go_on(PATIENCE_SECONDS / REFILL)
    patient.hold()
    loop.go_on(PATIENCE_SECONDS - 0.1)
    assert link.is_held


def test_held_again_and_again(loop: Loop, link: Link, patient: PatientLink):
    """Short holds add up: nearly all of the time the link is read from, whatever comes."""
    held = 0.0
    for _ in range(10_000):
        if patient.is_patient:
            patient.hold()
        loop.go_on(0.005)
        held += 0.005 * link.is_held
        if link.is_held:
            patient.release()
        loop.go_on(0.005)
    assert held <= PATIENCE_SECONDS + 100 * REFILL


def test_released_in_time(loop: Loop, link: Link, patient: PatientLink):
    """A hold that ends by itself leaves no timer behind."""
    patient.hold()
    loop.go_on(0.5)
    patient.release()
    patient.hold()
    patient.release()
    assert not link.is_held
    assert all(timer.is_over for timer in loop.timers)


def test_drops_are_told(loop: Loop, patient: PatientLink, told: list[tuple[str | None, int]]):
    """What is dropped is told once a second, for each room how much."""
    a, b = Channel(b"a", "a", b'"a"'), Channel(b"b", "b", b'"b"')
    for room in (a, b, a):
        patient.drop(room)
    assert told == []
    loop.go_on(1.0)
    assert told == [("a", 2), ("b", 1)]
    patient.drop(b)
    loop.go_on(1.0)
    assert told[2:] == [("b", 1)]
    assert patient.dropped == 4


def test_a_held_link_is_not_taken_for_a_lost_one() -> None:
    """By default a canary held back for as long as can be has an interval left to be read in."""
    interval = Config().proof_interval
    assert PATIENCE_SECONDS + interval <= OVERDUE_INTERVALS * interval
