"""How many different rooms a cluster has, without any pod telling all of its rooms.

Adaptive sampling (M. Wegman; described in P. Flajolet, "On adaptive sampling", Computing 43,
1990): a pod keeps the hashes that begin with `level` zero bits, and raises the level when they
become too many. Samples of several pods merge into one by taking the highest level.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

MAX_SAMPLE = 512
"""Hashes in a sample: counts up to it are exact, beyond it the standard error is about 5 %."""

MAX_UNION = 64 * 1024
"""Hashes in a union, whose standard error beyond it is about 0.5 %."""

HASH_BITS = 48  # so that a hash is exact as a JSON number in every language


def _hash(item: bytes) -> int:
    return int.from_bytes(blake2b(item, digest_size=HASH_BITS // 8).digest(), "big")


class DistinctSample:
    """A sample of a changing set, kept up to date with each change."""

    def __init__(self) -> None:
        self.size = 0
        """How many items the set has."""
        self.level = 0
        self.hashes: set[int] = set()

    def add(self, item: bytes) -> None:
        """An item that was not there came into the set."""
        self.size += 1
        self._sample(item)

    def _sample(self, item: bytes) -> None:
        hashed = _hash(item)
        if hashed >> (HASH_BITS - self.level) == 0:
            self.hashes.add(hashed)
            while len(self.hashes) > MAX_SAMPLE:
                self.level += 1
                self.hashes = {h for h in self.hashes if h >> (HASH_BITS - self.level) == 0}

    def discard(self, item: bytes, rest: Iterable[bytes]) -> None:
        """An item left the set; `rest` is the set without it, read only if the sample got thin."""
        self.size -= 1
        self.hashes.discard(_hash(item))
        if self.level and (self.size <= MAX_SAMPLE // 4 * 3 or len(self.hashes) < MAX_SAMPLE // 8):
            self.level = 0
            self.hashes = set()
            for other in rest:
                self._sample(other)


class DistinctUnion:
    """Counts the union of sampled sets, given one after the other."""

    def __init__(self) -> None:
        self._level = 0
        self._hashes: set[int] = set()

    def add(self, level: int, hashes: Iterable[int]) -> None:
        """Add a sample, which is a level and the hashes below it."""
        if level > self._level:
            self._rise(level)
        self._hashes |= self._sampled(hashes)
        while len(self._hashes) > MAX_UNION:
            self._rise(self._level + 1)

    def count(self) -> tuple[int, bool]:
        """The size of the union, and whether that is exact."""
        return len(self._hashes) << self._level, self._level == 0

    def _rise(self, level: int) -> None:
        self._level = level
        self._hashes = self._sampled(self._hashes)

    def _sampled(self, hashes: Iterable[int]) -> set[int]:
        limit = 1 << (HASH_BITS - self._level)
        return {hashed for hashed in hashes if hashed < limit}
