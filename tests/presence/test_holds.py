"""Holds: how long a user is still here after a session has ended, and which of several counts."""

from __future__ import annotations

import pytest

from sanic_chat.presence.holds import (
    LOST_SECONDS,
    RELOAD_SECONDS,
    RETURN_SECONDS,
    SETTLE_SECONDS,
    Hold,
    Holds,
    hold_of,
)
from sanic_chat.session.handler import EndedBy, Ending

NOW = 1000.0


@pytest.mark.parametrize(
    ("by", "code", "hold"),
    [
        (EndedBy.CLIENT, 1000, Hold(NOW + SETTLE_SECONDS, "left")),
        (EndedBy.CLIENT, None, Hold(NOW + SETTLE_SECONDS, "left")),
        (EndedBy.CLIENT, 1001, Hold(NOW + RELOAD_SECONDS, "left")),
        (EndedBy.SERVER, 1001, Hold(NOW + LOST_SECONDS, "lost")),
        (EndedBy.SERVER, 1013, Hold(NOW + LOST_SECONDS, "lost")),
        (EndedBy.SILENCE, None, Hold(NOW + LOST_SECONDS, "lost")),
        (EndedBy.NOBODY, None, Hold(NOW + LOST_SECONDS, "lost")),
    ],
)
def test_the_hold_of_an_end(by: EndedBy, code: int | None, hold: Hold) -> None:
    """Only what the client itself says is its wish, and 1001 may be a page that is loaded anew."""
    assert hold_of(Ending(by, code, ""), NOW) == hold


@pytest.mark.parametrize("by", [EndedBy.CLIENT, EndedBy.SERVER, EndedBy.NOBODY])
def test_the_hold_of_a_drain(by: EndedBy) -> None:
    """Whoever closes, it is what is left and some seconds, and not less than for others."""
    for left, seconds in ((-3.0, LOST_SECONDS), (3.0, LOST_SECONDS), (30.0, 30.0 + RETURN_SECONDS)):
        hold = hold_of(Ending(by, 1000, ""), NOW, NOW + left)
        assert hold == Hold(NOW + seconds, "drained")


@pytest.mark.parametrize("turned", [False, True])
def test_the_last_to_end_counts(turned: bool) -> None:
    """It gives the reason, whichever came first."""
    holds = Holds()
    both = [Hold(5.0, "left"), Hold(15.0, "lost")]
    for hold in reversed(both) if turned else both:
        holds.add("anna", hold)
    assert holds.get("anna") == Hold(15.0, "lost")
    assert holds.take_ended(14.9) == []
    assert holds.take_ended(15.0) == [("anna", "lost")]
    assert len(holds) == 0
    assert holds.take_ended(99.0) == []


def test_who_has_come_back() -> None:
    """Its hold is no more; that of another user is."""
    holds = Holds()
    for user in ("anna", "bert"):
        holds.add(user, Hold(5.0, "left"))
    holds.discard("anna")
    holds.discard("nobody")
    assert "anna" not in holds
    assert holds.items(4.9) == [("bert", Hold(5.0, "left"))]
    assert holds.items(5.0) == []  # it is over, if nobody has taken it yet
    assert holds.take_ended(5.0) == [("bert", "left")]


def test_holds_that_are_extended() -> None:
    """Those that would end sooner end then, for their own reasons."""
    holds = Holds()
    holds.add("anna", Hold(5.0, "left"))
    holds.add("bert", Hold(15.0, "lost"))
    holds.extend(10.0)
    assert holds.take_ended(9.9) == []
    assert holds.take_ended(10.0) == [("anna", "left")]
    assert holds.take_ended(15.0) == [("bert", "lost")]


def test_who_was_sent_elsewhere_and_is_here() -> None:
    """A drained user that is here has come back; one that was lost may come back once more."""
    holds = Holds()
    holds.add("anna", Hold(15.0, "drained"), is_here=True)
    holds.add("bert", Hold(15.0, "lost"), is_here=True)
    holds.add("carl", Hold(15.0, "drained"))
    assert [user for user, _ in holds.items(0.0)] == ["bert", "carl"]
