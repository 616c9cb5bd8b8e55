"""The text of the current time."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

import pytest

from sanic_chat.timestamp import TimestampText


def test_it_is_the_current_time():
    """The text is the current time in UTC, in the form of the contract."""
    before = datetime.now(UTC)
    text = TimestampText().now().decode()
    after = datetime.now(UTC)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    assert before - timedelta(milliseconds=1) <= datetime.fromisoformat(text) <= after


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        pytest.param(1770249600.0, "2026-02-05T00:00:00.000Z", id="whole second"),
        pytest.param(1770249600.0625, "2026-02-05T00:00:00.062Z", id="rounded down"),
        pytest.param(1770249599.9999, "2026-02-04T23:59:59.999Z", id="end of a day"),
        pytest.param(1709164800.5, "2024-02-29T00:00:00.500Z", id="leap day"),
    ],
)
def test_times(monkeypatch: pytest.MonkeyPatch, seconds: float, text: str):
    """Milliseconds are cut off, never rounded up into the future."""
    monkeypatch.setattr(time, "time", lambda: seconds)
    assert TimestampText().now() == text.encode()


def test_the_time_goes_on(monkeypatch: pytest.MonkeyPatch):
    """One object tells every new time: the next millisecond, the next second, and a step back."""
    steps = [
        (1770249600.001, b"2026-02-05T00:00:00.001Z"),
        (1770249600.0019, b"2026-02-05T00:00:00.001Z"),
        (1770249600.0025, b"2026-02-05T00:00:00.002Z"),
        (1770249601.0025, b"2026-02-05T00:00:01.002Z"),
        (1770249600.0025, b"2026-02-05T00:00:00.002Z"),
    ]
    timestamp = TimestampText()
    for seconds, text in steps:
        monkeypatch.setattr(time, "time", lambda seconds=seconds: seconds)
        assert timestamp.now() == text


def test_the_time_zone_does_not_matter(monkeypatch: pytest.MonkeyPatch):
    """The text is UTC wherever the server stands."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        monkeypatch.setattr(time, "time", lambda: 1770249600.0)
        assert TimestampText().now() == b"2026-02-05T00:00:00.000Z"
    finally:
        monkeypatch.undo()
        time.tzset()
