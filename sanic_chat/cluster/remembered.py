"""A memory that ends: values by key, each for a time, and no more than so many.

May live here: when something is forgotten. Must not know what it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

V = TypeVar("V")


class _Entry(NamedTuple, Generic[V]):
    at: float
    """The moment (`time.monotonic()`) in which it was kept."""
    value: V


class Remembered(Generic[V]):
    """Values by key, for `seconds` each; of more than `most` the first to come is forgotten first.

    Each is forgotten in time, whether or not anything else comes.
    """

    def __init__(self, *, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._entries: dict[str, _Entry[V]] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        """The keys, the first to come first."""
        return iter(self._entries)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def get(self, key: str) -> V | None:
        """Return what a key has."""
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def values(self) -> list[V]:
        """Return all values, the first to come first."""
        return [entry.value for entry in self._entries.values()]

    def keep(self, key: str, value: V) -> None:
        """Keep a value from now on, in the place of what its key has."""
        self.discard(key)
        if len(self._entries) >= self._most:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = _Entry(time.monotonic(), value)
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._forget)

    def discard(self, key: str) -> None:
        """Forget a key, if it is known."""
        self._entries.pop(key, None)

    def _forget(self) -> None:
        self._timer = None
        now = time.monotonic()
        while self._entries:
            earliest = next(iter(self._entries))
            left = self._entries[earliest].at + self._seconds - now
            if left > 0:
                self._timer = self._loop.call_later(left, self._forget)
                break
            del self._entries[earliest]
