"""The handover: in which order replaced workers leave."""

from __future__ import annotations

from signal import SIGKILL, SIGTERM

from sanic_chat.process.handover import Handover
from sanic_chat.process.os_signals import LEAVE


def look(handover: Handover, replaced: set[int], now: float, **more):
    settings = {"may_leave": True, "at_once": set(), **more}
    return list(handover.look(sorted(replaced), now, **settings))


def test_all_leave_together_and_drain_one_by_one() -> None:
    """Nobody drains before all have left the listening socket, and the pause is over."""
    handover = Handover(pause=5, stop_timeout=10)
    assert look(handover, {1, 2, 3}, 0) == [(1, LEAVE), (2, LEAVE), (3, LEAVE)]
    assert look(handover, {1, 2, 3}, 4.9) == []
    assert look(handover, {1, 2, 3}, 5) == [(1, SIGTERM)]
    assert look(handover, {1, 2, 3}, 6) == []
    assert look(handover, {2, 3}, 7) == [(2, SIGTERM)]
    assert look(handover, {3}, 8) == [(3, SIGTERM)]
    assert look(handover, set(), 9) == []


def test_nobody_leaves_too_early() -> None:
    """While others may fail, those that are there stay."""
    handover = Handover(pause=0, stop_timeout=10)
    assert look(handover, {1}, 0, may_leave=False) == []
    assert look(handover, {1}, 1) == [(1, LEAVE), (1, SIGTERM)]
    assert look(handover, {1}, 2, may_leave=False) == []


def test_one_that_does_not_end() -> None:
    """It is killed when its time is over, once, and holds up nobody any longer."""
    handover = Handover(pause=0, stop_timeout=10)
    assert look(handover, {1, 2}, 0) == [(1, LEAVE), (2, LEAVE), (1, SIGTERM)]
    assert look(handover, {1, 2}, 10) == []
    assert look(handover, {1, 2}, 11) == [(1, SIGKILL), (2, SIGTERM)]
    assert look(handover, {1, 2}, 12) == []


def test_some_at_once() -> None:
    """Those that need not wait do not, and have their own time."""
    handover = Handover(pause=5, stop_timeout=10)
    assert look(handover, {1, 2}, 0, at_once={2}) == [(1, LEAVE), (2, LEAVE), (2, SIGTERM)]
    assert look(handover, {1, 2}, 11, at_once={2}) == [(2, SIGKILL), (1, SIGTERM)]
    assert look(handover, {3}, 12, at_once={3}, may_leave=False) == [(3, LEAVE), (3, SIGTERM)]


def test_a_pid_that_comes_again() -> None:
    """What ended is forgotten."""
    handover = Handover(pause=0, stop_timeout=1)
    assert look(handover, {1}, 0) == [(1, LEAVE), (1, SIGTERM)]
    assert look(handover, {1}, 2) == [(1, SIGKILL)]
    assert look(handover, set(), 3) == []
    assert look(handover, {1}, 4) == [(1, LEAVE), (1, SIGTERM)]
