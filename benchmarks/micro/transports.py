"""Sockets that take everything."""

from __future__ import annotations

import asyncio


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
