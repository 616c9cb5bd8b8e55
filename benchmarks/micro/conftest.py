"""An event loop for the micro-benchmarks, which run in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing

import pytest
import uvloop


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Say that nothing is distributed: pytest-benchmark measures nothing if it might be."""
    if not config.getoption("numprocesses"):
        config.option.dist = "no"


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with closing(uvloop.new_event_loop()) as loop:
        yield loop
