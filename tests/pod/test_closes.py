"""Closes: which ends of sessions are told apart, and how many there can be."""

from __future__ import annotations

import pytest

from sanic_chat.errors import CloseConnection
from sanic_chat.pod.closes import Closes
from sanic_chat.session.handler import EndedBy, Ending
from sanic_chat.websocket.frames import CloseCode, parse_close


@pytest.mark.parametrize(
    ("by", "code", "told"),
    [
        (EndedBy.SERVER, CloseCode.TRY_AGAIN_LATER, "1013"),
        (EndedBy.SERVER, 1001, "1001"),
        (EndedBy.SERVER, CloseCode.UNAUTHORIZED, "4401"),
        (EndedBy.CLIENT, 1000, "1000"),
        (EndedBy.CLIENT, 1014, "1014"),
        (EndedBy.CLIENT, None, "1005"),
        (EndedBy.CLIENT, 3000, "3000-3999"),
        (EndedBy.CLIENT, 3999, "3000-3999"),
        (EndedBy.CLIENT, 4000, "4000-4999"),
        (EndedBy.CLIENT, 4999, "4000-4999"),
        (EndedBy.SILENCE, None, "1006"),
        (EndedBy.NOBODY, None, "1006"),
    ],
)
def test_each_end_counts_once(by, code, told):
    """It counts for who ended the session, and for its code."""
    closes = Closes()
    before = closes.counts()
    closes.note(Ending(by, code, "for some reason"))
    after = closes.counts()
    assert after[by.value][told] == before[by.value].get(told, 0) + 1 == 1
    assert sum(sum(codes.values()) for codes in after.values()) == 1


def test_clients_cannot_make_more_of_them():
    """Whatever codes clients send, few are told apart."""
    closes = Closes()
    for code in range(65536):
        try:
            received, reason = parse_close(code.to_bytes(2))
        except CloseConnection:
            continue
        closes.note(Ending(EndedBy.CLIENT, received, reason))
    assert len(closes.counts()["client"]) == 12 + 1 + 2  # 1000 to 1014 but three; none; theirs


def test_usual_ends_are_told_before_there_are_any():
    """All that the server does, and what clients mostly do."""
    counts = Closes().counts()
    assert set(counts) == {by.value for by in EndedBy}
    assert set(counts["server"]) == {str(int(code)) for code in CloseCode}
    assert not any(sum(codes.values()) for codes in counts.values())
