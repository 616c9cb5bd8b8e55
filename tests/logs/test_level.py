"""The level of the log, as it is set and while it is debug."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from sanic_chat.logs.level import IS_DEBUGGING, LOGGERS, LogLevel


@pytest.fixture(autouse=True)
def _levels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(IS_DEBUGGING, "")
    before = {name: logging.getLogger(name).level for name in LOGGERS}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def levels() -> set[str]:
    return {logging.getLevelName(logging.getLogger(name).level) for name in LOGGERS}


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_as_it_is_set(level: str) -> None:
    LogLevel(level).apply()
    assert levels() == {level.upper()}


def test_debug_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """It is debug in between, also if the setting changes, and each change is logged."""
    level = LogLevel("warning")
    level.apply()
    level.begin_debug()
    level.begin_debug()
    assert levels() == {"DEBUG"}
    level.change("error")
    assert levels() == {"DEBUG"}
    level.end_debug()
    assert levels() == {"ERROR"}
    assert caplog.messages == [
        "The log level is debug", "The log level is debug", "The log level is error again"
    ]  # fmt: skip
    level.change("info")
    assert levels() == {"INFO"}


def test_a_process_that_is_made_meanwhile() -> None:
    """It begins with debug."""
    level = LogLevel("info")
    level.begin_debug()
    LogLevel("info").apply()
    assert levels() == {"DEBUG"}
    level.end_debug()
    LogLevel("info").apply()
    assert levels() == {"INFO"}
