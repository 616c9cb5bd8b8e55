"""Admission: the bound of a pod's clients.

May live here: how many there are, whether there is a place for one more, and how long it takes to
come in. Must not know who they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..errors import TryAgainLater
from ..stats.histogram import SECONDS, Histogram


class DescriptorWatch(Protocol):
    """The file descriptors of the process, as a pod sees them."""

    @property
    def are_short(self) -> bool:
        """Whether they are short, or have been lately."""

    def are_left(self, number: int = 0) -> bool:
        """Whether one more client may have one, now; its own has that number (0: not known)."""


class Admission:
    """Bounds the clients of a pod, those whose handshake is under way included.

    A handshake waits inside `with admission:`. `connected()` is the number of sessions, and
    `has_descriptors(number)` tells whether the process has one for another client, whose own has
    that number (0 if that is not known).
    """

    def __init__(
        self,
        *,
        limit: int,
        retry_after: int,
        connected: Callable[[], int],
        has_descriptors: Callable[[int], bool],
    ) -> None:
        self.limit = limit
        """The most clients that there may be; 0: no limit."""
        self.handshakes = 0
        """Handshakes that are under way, those among them that are being told of their refusal."""
        self.draining = False
        """Whether there is no place any more, for good."""
        self.seconds = Histogram(SECONDS)
        """The time of each accepted handshake, from when its request was read to its 101."""
        self._retry_after = retry_after
        self._connected = connected
        self._has_descriptors = has_descriptors

    @property
    def is_full(self) -> bool:
        """Whether all places are taken."""
        return bool(self.limit) and self._connected() + self.handshakes >= self.limit

    def refuse_while_draining(self) -> None:
        """Raise TryAgainLater if the pod is going away."""
        if self.draining:
            raise TryAgainLater(
                "draining",
                "The server is going away: please try again",
                retry_after=self._retry_after,
            )

    def check(self, descriptor: int = 0) -> None:
        """Raise TryAgainLater if all places, or all file descriptors, are taken.

        `descriptor` is the number of the client's own, if it is known.
        """
        if self.limit and self.is_full:
            raise TryAgainLater(
                "too_many_connections",
                "The server is full: please try again",
                retry_after=self._retry_after,
            )
        if not self._has_descriptors(descriptor):
            raise TryAgainLater(
                "no_descriptors",
                "The server has no file descriptors left: please try again",
                retry_after=self._retry_after,
            )

    def __enter__(self) -> None:
        """Take a place for as long as a handshake lasts. Raises as `check` does."""
        self.check()
        self.take_place()

    def __exit__(self, *_: object) -> None:
        self.give_back_place()

    def take_place(self) -> None:
        """Take a place for a handshake, whether there is one or not."""
        self.handshakes += 1

    def give_back_place(self) -> None:
        """Give back what `take_place` took."""
        self.handshakes -= 1
