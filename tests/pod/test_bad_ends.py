"""Clients that end badly, in the log: a line a second at most, and each of them counted."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from sanic_chat.pod import bad_ends
from sanic_chat.pod.bad_ends import HEARTBEAT, TOKEN, BadEnds, kind_of
from sanic_chat.session.handler import EndedBy, Ending

from ..support.harness import eventually

INTERVAL = 0.05


@pytest.fixture
def ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> list[tuple[str, dict[str, Any]]]:
    """What was logged so far: the sentence and its fields; a second takes a twentieth of one."""
    monkeypatch.setattr(bad_ends, "SECOND", INTERVAL)
    lines: list[tuple[str, dict[str, Any]]] = []

    def keep(record: logging.LogRecord) -> bool:
        assert isinstance(record.args, dict)
        lines.append((record.getMessage(), dict(record.args)))
        return True

    monkeypatch.setattr(bad_ends.logger, "filters", [*bad_ends.logger.filters])
    bad_ends.logger.filters.insert(0, keep)
    return lines


async def test_the_first_is_logged_at_once(ends: list[tuple[str, dict[str, Any]]]) -> None:
    """A single bad end is told with its reason, its user and its address."""
    log = BadEnds(asyncio.get_running_loop())
    log.note("1013", "slow consumer", user="an'na\n", address="10.0.0.1:5")
    (line, fields) = ends[0]
    assert line == (
        'Clients that ended badly: 1013 (slow consumer), user "an\'na\\n", address 10.0.0.1:5'
    )
    assert fields == {
        "event": "bad_ends",
        "counts": {"1013": 1},
        "kind": "1013",
        "reason": "slow consumer",
        "user": "an'na\n",
        "address": "10.0.0.1:5",
    }
    log.close()
    assert len(ends) == 1


async def test_a_thousand_in_a_second(ends: list[tuple[str, dict[str, Any]]]) -> None:
    """What follows is counted by its kind, and told at the second's end, once."""
    log = BadEnds(asyncio.get_running_loop())
    log.note(TOKEN, "expired", user=None, address="a")
    for number in range(1000):
        log.note("1002", "x", user=str(number), address="b")
    log.note(HEARTBEAT, "no sign of life", user="last", address="c")
    assert len(ends) == 1
    assert ends[0][0] == "Clients that ended badly: token (expired), address a"
    await eventually(lambda: len(ends) > 1, "the rest is told")
    assert ends[1][0] == (
        "Clients that ended badly: 1001 within a second (1000 1002, 1 heartbeat); the last: "
        "heartbeat (no sign of life), user 'last', address c"
    )
    assert ends[1][1]["counts"] == {"1002": 1000, HEARTBEAT: 1}
    await asyncio.sleep(3 * INTERVAL)
    assert len(ends) == 2, "and nothing more while nothing happens"
    log.note("1009", "too large", user="x", address="d")
    assert len(ends) == 3, "at once again"
    log.close()


async def test_none_is_lost_at_the_end(ends: list[tuple[str, dict[str, Any]]]) -> None:
    """What was not told yet is told when the pod closes."""
    log = BadEnds(asyncio.get_running_loop())
    for _ in range(3):
        log.note("1007", "no UTF-8", user="x", address="d")
    log.close()
    assert [fields["counts"] for _, fields in ends] == [{"1007": 1}, {"1007": 2}]


@pytest.mark.parametrize(
    ("by", "code", "kind"),
    [
        (EndedBy.SERVER, 1002, "1002"),
        (EndedBy.SERVER, 1003, "1003"),
        (EndedBy.SERVER, 1007, "1007"),
        (EndedBy.SERVER, 1008, "1008"),
        (EndedBy.SERVER, 1009, "1009"),
        (EndedBy.SERVER, 1013, "1013"),
        (EndedBy.SILENCE, None, HEARTBEAT),
        (EndedBy.SERVER, 1001, None),
        (EndedBy.SERVER, 1011, None),  # is logged for itself: it is our fault
        (EndedBy.CLIENT, 1002, None),
        (EndedBy.CLIENT, None, None),
        (EndedBy.NOBODY, None, None),
    ],
)
def test_what_is_bad(by: EndedBy, code: int | None, kind: str | None) -> None:
    """Bad is what the client has done wrong, in the server's eyes."""
    assert kind_of(Ending(by, code, "")) == kind
