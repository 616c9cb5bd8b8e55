"""How often the log says that something goes wrong."""

from __future__ import annotations

import logging

import pytest

from sanic_chat.logs import logger as logs
from sanic_chat.logs.logger import CALM_SECONDS, REMINDER_SECONDS, RateLimitedWarning


class Clock:
    """What `time.monotonic` says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(logs, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sanic.root")


def test_what_lasts_is_said_once_and_as_a_reminder(clock: Clock, caplog) -> None:
    """A day of the same error, once a second, is a line every five minutes."""
    warning = RateLimitedWarning()
    for _ in range(86_400):
        warning.log("Redis says %s", "no")
        clock.now += 1
    assert len(caplog.messages) == 86_400 / REMINDER_SECONDS
    assert caplog.messages[:2] == [
        "Redis says no", "Redis says no (299 more since the last such line)"
    ]  # fmt: skip


def test_a_change_is_said_within_a_second(clock: Clock, caplog) -> None:
    """Another text is a line, but no more than one a second, however it changes."""
    warning = RateLimitedWarning()
    for tenth in range(100):
        warning.log("Refused %d", tenth)
        clock.now += 0.1
    assert 9 <= len(caplog.messages) <= 11
    assert caplog.messages[:2] == ["Refused 0", "Refused 10 (9 more since the last such line)"]


def test_what_is_left_out_keeps_nothing_else_out(clock: Clock, caplog) -> None:
    """However often the same is left out, another line is logged as soon as a second is over."""
    warning = RateLimitedWarning()
    assert warning.log("Redis says %s", "no")
    for _ in range(15):
        clock.now += 0.1
        assert not warning.log("Redis says %s", "no")
    assert warning.log("Redis says %s", "perhaps")
    assert caplog.messages == [
        "Redis says no", "Redis says perhaps (15 more since the last such line)"
    ]  # fmt: skip
    assert not warning.log("Redis says %s", "yes")


def test_what_comes_back_after_a_minute_is_news(clock: Clock, caplog) -> None:
    """The same text is logged again if there was quiet in between."""
    warning = RateLimitedWarning()
    assert warning.log("It happened")
    clock.now += CALM_SECONDS - 1
    assert not warning.log("It happened")
    clock.now += CALM_SECONDS
    assert warning.log("It happened")
    assert len(caplog.messages) == 2


def test_the_end_is_said_once(clock: Clock, caplog) -> None:
    """What was logged is over, once; then it may begin anew."""
    warning = RateLimitedWarning()
    warning.over("It is over")
    warning.log("It is so")
    warning.over("It is over")
    warning.over("It is over")
    clock.now += 1
    warning.log("It is so")
    assert caplog.messages == ["It is so", "It is over", "It is so"]
    assert [line.levelname for line in caplog.records] == ["WARNING", "INFO", "WARNING"]


def test_percent_signs_in_what_is_said(clock: Clock, caplog) -> None:
    """What others have written is not taken for a format."""
    RateLimitedWarning().log("Redis says %s", "100 %s %d%")
    assert caplog.messages == ["Redis says 100 %s %d%"]
