"""When workers that have ended start again."""

from __future__ import annotations

import pytest

from sanic_chat.process.restarts import MAX_FAILED_STARTS, WINDOW_SECONDS, GiveUp, Restarts


def test_pauses_grow_with_the_deaths_within_a_minute() -> None:
    """The first death is answered at once, further ones after 1, 2, 4 … 30 s, whoever dies."""
    restarts = Restarts(limit=100)
    names = ["first", "second"] * 4
    pauses = [restarts.died(name, 7.0, was_up=True) for name in names]
    assert pauses == [0, 1, 2, 4, 8, 16, 30, 30]
    assert restarts.died("first", 7.0 + WINDOW_SECONDS + 1, was_up=True) == 0


def test_more_deaths_than_allowed_are_too_many() -> None:
    """`limit` deaths within a minute are answered; one more is not."""
    restarts = Restarts(limit=2)
    restarts.died("first", 0.0, was_up=True)
    restarts.died("second", 59.0, was_up=True)
    restarts.died("first", 61.0, was_up=True)
    with pytest.raises(GiveUp, match="death number 3 within 60 s"):
        restarts.died("second", 62.0, was_up=True)


def test_a_worker_that_never_comes_up_is_given_up() -> None:
    """So many failed starts of one worker in a row are enough, however far apart they are."""
    restarts = Restarts(limit=100)
    for count in range(1, MAX_FAILED_STARTS):
        restarts.died("first", 100.0 * count, was_up=False)
        restarts.died("second", 100.0 * count, was_up=count % 2 == 0)  # comes up now and then
    with pytest.raises(GiveUp, match="start number 5 in a row that failed"):
        restarts.died("first", 1000.0, was_up=False)


def test_coming_up_forgets_failed_starts() -> None:
    """A start that succeeds begins the count anew."""
    restarts = Restarts(limit=100)
    for _ in range(3):
        for _ in range(MAX_FAILED_STARTS - 1):
            restarts.died("first", 0.0, was_up=False)
        restarts.is_up("first")


def test_a_stop_is_no_death() -> None:
    """Who stops in good order waits only for itself, and is never given up."""
    restarts = Restarts(limit=0)
    assert [restarts.stopped(name, 0.0) for name in ("a", "b", "c")] == [0, 0, 0]
    assert [restarts.stopped("a", 1.0) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert restarts.stopped("a", 100.0) == 0


def test_who_is_due_is_told_once() -> None:
    """A worker is due when its pause is over."""
    restarts = Restarts(limit=100)
    restarts.died("first", 0.0, was_up=True)
    restarts.died("second", 0.0, was_up=True)
    assert restarts.take_due(0.5) == ["first"]
    assert restarts.take_due(0.9) == []
    assert restarts.take_due(1.0) == ["second"]


def test_who_serves_is_not_due() -> None:
    """Somebody else has started it: it is not started a second time."""
    restarts = Restarts(limit=100)
    restarts.died("first", 0.0, was_up=True)
    restarts.died("second", 0.0, was_up=True)
    restarts.is_up("second")
    assert restarts.take_due(100.0) == ["first"]


def test_who_is_being_started_stays_due() -> None:
    """Until it is known whether that works."""
    restarts = Restarts(limit=100)
    restarts.died("first", 0.0, was_up=True)
    assert restarts.take_due(1.0, but="first") == []
    assert restarts.take_due(1.0) == ["first"]
