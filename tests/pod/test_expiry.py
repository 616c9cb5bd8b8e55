"""Expiry: each session is told in time, and ends in time, and nobody else does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from sanic_chat.pod import expiry
from sanic_chat.pod.expiry import Expiry
from sanic_chat.protocol.identity import Identity
from sanic_chat.session.session import Session

from ..support.hub import HubHandler


class Clock:
    """A loop and a wall clock whose time is what a test says."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self._timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> Clock:
        self._timers.append((self.now + delay, callback))
        return self

    def cancel(self) -> None:
        self._timers.clear()

    @property
    def is_idle(self) -> bool:
        return not self._timers

    def pass_(self, seconds: float) -> None:
        end = self.now + seconds
        while self._timers and min(self._timers)[0] <= end:
            due = min(self._timers, key=lambda timer: timer[0])
            self._timers.remove(due)
            self.now = due[0]
            due[1]()
        self.now = end


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(expiry.time, "time", clock.time)
    return clock


class Watched:
    """An expiry whose calls are noted: whom, how many seconds before the end, and when."""

    def __init__(self, clock: Clock, leeway: float | None = 0.0) -> None:
        self.clock = clock
        self.told: dict[Session, float] = {}
        self.ended: dict[Session, float] = {}
        self.expiry = Expiry(
            clock,  # type: ignore[arg-type]
            leeway=leeway,
            on_expiring=self._told,
            on_expired=self._ended,
        )

    def _told(self, session: Session, seconds: float) -> None:
        assert session not in self.told
        self.told[session] = seconds

    def _ended(self, session: Session) -> None:
        assert session not in self.ended
        self.ended[session] = self.clock.now

    def add(self, seconds: float | None, *, events: bool = True) -> Session:
        end = None if seconds is None else self.clock.now + seconds
        session = Session(
            HubHandler(),
            client_id="anna",
            identity=Identity("anna", expires_at=end),
            system_events=events,
        )
        self.expiry.add(session)
        return session


def test_a_token_ends(clock: Clock) -> None:
    """Who asked for events is told a minute before or a little earlier; both end in time."""
    watched = Watched(clock)
    sessions = [watched.add(3600), watched.add(3600, events=False)]
    clock.pass_(3600 - 91)
    assert (watched.told, watched.ended) == ({}, {})
    clock.pass_(91 - 60 + 4)
    assert list(watched.told) == sessions[:1]
    assert 55 <= watched.told[sessions[0]] <= 90
    clock.pass_(60 - 4 - 0.01)
    assert not watched.ended
    clock.pass_(5)
    assert set(watched.ended) == set(sessions)
    clock.pass_(3600)
    assert clock.is_idle


def test_a_short_token(clock: Clock) -> None:
    """A token of less than two minutes is told of after half of its life."""
    watched = Watched(clock)
    session = watched.add(20)
    clock.pass_(9.9)
    assert not watched.told
    clock.pass_(4.2)
    assert 5 <= watched.told[session] <= 10
    clock.pass_(10)
    assert session in watched.ended


def test_leeway(clock: Clock) -> None:
    """A token counts for so long after its end, and is told of by its end."""
    watched = Watched(clock, leeway=30)
    session = watched.add(-10)  # it was taken all the same
    clock.pass_(4)
    assert watched.told == {session: 0}
    clock.pass_(16 - 0.1)
    assert not watched.ended
    clock.pass_(5)
    assert session in watched.ended


def test_nothing_to_watch(clock: Clock) -> None:
    """Without an end, or if ends do not matter, there is not even a timer."""
    Watched(clock).add(None)
    Watched(clock, leeway=None).add(1)
    assert clock.is_idle


def test_who_has_left(clock: Clock) -> None:
    """Who has left, or has a new token, is not told; then there is nothing to watch."""
    watched = Watched(clock)
    gone = watched.add(10)
    watched.expiry.discard(gone)
    watched.expiry.discard(gone)
    clock.pass_(60)
    assert (watched.told, watched.ended) == ({}, {})
    assert clock.is_idle
    renewed = watched.add(10)
    watched.expiry.discard(renewed)
    renewed.identity = Identity("anna", expires_at=clock.now + 1000)
    watched.expiry.add(renewed)
    clock.pass_(100)
    assert (watched.told, watched.ended) == ({}, {})


def test_many_at_once(clock: Clock) -> None:
    """Tokens that end at once are told of over half a minute, and end over some seconds."""
    watched = Watched(clock)
    for _ in range(2000):
        watched.add(1000)
    clock.pass_(1100)
    assert len(watched.told) == len(watched.ended) == 2000
    assert max(watched.told.values()) - min(watched.told.values()) > 20
    ends = sorted(watched.ended.values())
    assert ends[0] >= clock.now - 100
    assert ends[-1] <= clock.now - 100 + 5
    assert max(map(ends.count, set(ends))) < 400


def test_the_clock_is_set(clock: Clock) -> None:
    """A machine that slept ends at once what ended meanwhile."""
    watched = Watched(clock)
    session = watched.add(5000, events=False)
    clock.pass_(1)
    clock.now += 100_000
    clock.pass_(5)
    assert session in watched.ended


def test_one_that_closes_others(clock: Clock) -> None:
    """What a step does to other sessions, of the same moment too, is all right."""
    watched = Watched(clock)
    sessions = [watched.add(10, events=False) for _ in range(100)]

    def close_all(session: Session) -> None:
        for each in sessions:
            watched.expiry.discard(each)
        watched.ended[session] = clock.now

    watched.expiry._on_expired = close_all
    clock.pass_(20)
    assert len(watched.ended) == 1
    assert clock.is_idle


async def test_a_real_loop() -> None:
    """It works on the clock that there is, too."""
    ended = asyncio.Event()
    watch = Expiry(
        asyncio.get_running_loop(),
        leeway=0,
        on_expiring=lambda session, seconds: None,
        on_expired=lambda session: ended.set(),
    )
    identity = Identity("anna", expires_at=time.time() + 0.1)
    watch.add(Session(HubHandler(), client_id="anna", identity=identity))
    await asyncio.wait_for(ended.wait(), 30)
    watch.close()
