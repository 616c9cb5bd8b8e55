"""A small rolling restart: who reconnects as told misses nothing, and is spread evenly."""

from __future__ import annotations

from ..studies.rolling_restart import run

CLIENTS = 200
WINDOW = 1.0


def test_a_small_rolling_restart() -> None:
    """Two servers are restarted; a client that always has a connection loses nothing."""
    outcome = run(clients=CLIENTS, rate=20, events=True, window=WINDOW, grace=0.5, check=0.1)
    assert outcome.published > 20
    assert outcome.lost_while_connected == 0
    first, second = outcome.restarts
    assert 0 < first.clients < CLIENTS  # the balancer has spread them
    assert second.clients == CLIENTS
    for restart in outcome.restarts:
        assert len(restart.reconnects) == restart.clients
        assert max(restart.reconnects) - min(restart.reconnects) > 0.8 * min(
            WINDOW, restart.clients / 200
        )
        assert max(restart.histogram()) < restart.clients / 3


def test_who_is_not_told_loses_messages() -> None:
    """Without events there is a gap between two connections, and it is noticed."""
    outcome = run(clients=50, rate=50, events=False, window=WINDOW, grace=0.5, check=0.1)
    assert outcome.lost > 0
    assert outcome.away > 0
