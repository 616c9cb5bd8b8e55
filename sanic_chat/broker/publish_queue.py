"""The queue of a publisher: what waits for Redis to come back.

    add ─→ (in order) ─┬→ take ─→ Redis
                       └→ (too old) ─→ on_expired

May live here: its bounds in number, bytes and age. Must not know Redis, nor why something waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

AGE_CHECK_SECONDS = 0.5

R = TypeVar("R")


class PublishQueue(Generic[R]):
    """Commands in the order in which they came, each with a receipt.

    One that waits for `max_seconds`, and half a second more at most, is taken out, and `on_expired`
    called with its receipt; but not while `is_leaving()`. At the end `close` does so with all.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        max_messages: int,
        max_bytes: int,
        max_seconds: float,
        is_leaving: Callable[[], bool],
        on_expired: Callable[[R], None],
    ) -> None:
        self.bytes = 0
        """The bytes of all commands."""
        self._loop = loop
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._is_leaving = is_leaving
        self._on_expired = on_expired
        self._waiting: deque[tuple[float, bytes, R]] = deque()
        """Each with the moment at which it is too old."""
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def has_place(self, command: bytes) -> bool:
        """Whether a command more keeps the bounds."""
        return (
            len(self._waiting) < self._max_messages and self.bytes + len(command) <= self._max_bytes
        )

    def add(self, command: bytes, receipt: R) -> None:
        """Put a command behind all others, whether it has a place or not."""
        self._waiting.append((self._loop.time() + self._max_seconds, command, receipt))
        self.bytes += len(command)
        self._watch_ages()

    def take(self, size: int) -> tuple[bytes, list[R]]:
        """Take out the first commands, of `size` bytes or a little more; and their receipts."""
        commands: list[bytes] = []
        receipts: list[R] = []
        taken = 0
        while self._waiting and taken < size:
            _, command, receipt = self._waiting.popleft()
            commands.append(command)
            receipts.append(receipt)
            taken += len(command)
        self.bytes -= taken
        return b"".join(commands), receipts

    def close(self) -> None:
        """Drop all that waits."""
        while self._waiting:
            self._drop_oldest()
        if self._timer is not None:
            self._timer.cancel()

    def _watch_ages(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(AGE_CHECK_SECONDS, self._drop_expired)

    def _drop_expired(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._waiting and self._waiting[0][0] <= now and not self._is_leaving():
            self._drop_oldest()
        if self._waiting:
            self._watch_ages()

    def _drop_oldest(self) -> None:
        _, command, receipt = self._waiting.popleft()
        self.bytes -= len(command)
        self._on_expired(receipt)
