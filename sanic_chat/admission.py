"""How many connections a pod takes. Knows their number only."""

from __future__ import annotations

from collections.abc import Callable

from .errors import TryAgainLater


class Admission:
    """Bounds the clients of a pod, those that are still shaking hands included.

    `with admission:` around what a handshake waits for. `connected` tells how many are in.
    """

    def __init__(self, *, limit: int, retry_after: int, connected: Callable[[], int]) -> None:
        self.limit = limit
        """The most there may be; 0: no limit."""
        self.handshakes = 0
        """Handshakes that are under way."""
        self._retry_after = retry_after
        self._connected = connected

    def check(self) -> None:
        """Raises TryAgainLater if all places are taken."""
        if self.limit and self._connected() + self.handshakes >= self.limit:
            raise TryAgainLater(
                "too_many_connections",
                "The server is full: please try again",
                retry_after=self._retry_after,
            )

    def __enter__(self) -> None:
        """Take a place for as long as a handshake lasts. Raises as `check` does."""
        self.check()
        self.handshakes += 1

    def __exit__(self, *_: object) -> None:
        self.handshakes -= 1
