"""How many connections a pod takes. Knows their number only."""

from __future__ import annotations

from collections.abc import Callable

from .errors import UpgradeRefused
from .logs import RateLimitedWarning


class Admission:
    """Bounds the clients of a pod, those that are still shaking hands included.

    `with admission:` around each handshake. `connected` tells how many are in.
    """

    def __init__(self, *, limit: int, retry_after: int, connected: Callable[[], int]) -> None:
        self.limit = limit
        """The most there may be; 0: no limit."""
        self.handshakes = 0
        """Handshakes that are under way."""
        self._retry_after = retry_after
        self._connected = connected
        self._full = RateLimitedWarning()

    def __enter__(self) -> None:
        """Take a place for as long as a handshake lasts. Raises UpgradeRefused 503 if all are."""
        if self.limit and self._connected() + self.handshakes >= self.limit:
            self._full.log(
                "Refused a client: there are %d, the most that CHAT_MAX_CONNECTIONS allows",
                self.limit,
            )
            raise UpgradeRefused(
                503,
                "too_many_connections",
                "The server is full: please try again",
                {"Retry-After": str(self._retry_after)},
            )
        self.handshakes += 1

    def __exit__(self, *_: object) -> None:
        self.handshakes -= 1
