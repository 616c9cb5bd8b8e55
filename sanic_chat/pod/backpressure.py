"""Back-pressure: a source that sends faster than the pod can pass on is not read from for a while.

    hold(source, cause) ─→ (each 5 ms: is_relieved(cause)?) ─→ source.release

May live here: which sources are held, and when they are released. Must not know what a source is,
nor how far the pod is behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

LOOK_SECONDS = 0.005
"""The interval at which it looks whether held sources can be released."""


Cause = TypeVar("Cause", bound=Hashable)
"""The cause for which a source is held."""


class Source(Protocol):
    """Something that is read from."""

    def hold(self) -> None:
        """Read nothing more until `release`."""

    def release(self) -> None:
        """Read again. Does nothing if the source is closed, or is not held."""


class Backpressure(Generic[Cause]):
    """Holds sources, each until `is_relieved(cause)` is true for the cause of its hold."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, is_relieved: Callable[[Cause], bool]
    ) -> None:
        self.holds = 0
        """The number of holds so far."""
        self.held: dict[Source, Cause] = {}
        self._loop = loop
        self._is_relieved = is_relieved
        self._timer: asyncio.TimerHandle | None = None

    def hold(self, source: Source, cause: Cause) -> None:
        """Hold a source. Does nothing if it is held already, for any cause."""
        if source in self.held:
            return
        self.holds += 1
        self.held[source] = cause
        source.hold()
        if self._timer is None:
            self._timer = self._loop.call_later(LOOK_SECONDS, self._look)

    def release(self, source: Source) -> None:
        """Release one source now. Does nothing if it is not held."""
        if source in self.held:
            del self.held[source]
            source.release()

    def close(self) -> None:
        """Release all sources, and look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._release(list(self.held))

    def _look(self) -> None:
        self._timer = None
        relieved = {cause: self._is_relieved(cause) for cause in set(self.held.values())}
        self._release([source for source, cause in self.held.items() if relieved[cause]])
        if self.held and self._timer is None:
            self._timer = self._loop.call_later(LOOK_SECONDS, self._look)

    def _release(self, sources: list[Source]) -> None:
        for source in sources:
            del self.held[source]
        for source in sources:
            source.release()
