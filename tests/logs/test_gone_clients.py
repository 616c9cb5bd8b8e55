"""What an event loop says of clients that are gone."""

from __future__ import annotations

import logging

import pytest

from sanic_chat.logs.gone_clients import leave_out_gone_clients


def test_only_what_is_no_news_is_left_out(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every other line of an event loop is logged, and the filter is there once."""
    loops = logging.getLogger("asyncio")
    monkeypatch.setattr(loops, "filters", [])
    for _ in range(2):
        leave_out_gone_clients()
    assert len(loops.filters) == 1
    loops.warning("SSL connection is closed")
    loops.warning("Executing %s took %.3f seconds", "a callback", 1.0)
    assert [record.getMessage() for record in caplog.records] == [
        "Executing a callback took 1.000 seconds"
    ]
