"""An event loop for the micro-benchmarks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing

import pytest
import uvloop


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with closing(uvloop.new_event_loop()) as loop:
        yield loop
