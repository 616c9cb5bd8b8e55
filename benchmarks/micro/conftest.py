"""What the micro-benchmarks stand on: an event loop, and sockets that take everything."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing

import pytest
import uvloop


class NullTransport(asyncio.Transport):
    """Takes every write, and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def write(self, data: object) -> None:
        self.writes += 1

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Never reached."""

    def get_write_buffer_size(self) -> int:
        return 0


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with closing(uvloop.new_event_loop()) as loop:
        yield loop
