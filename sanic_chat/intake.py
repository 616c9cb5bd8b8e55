"""Back-pressure: who sends faster than the pod can pass on is not read from for a while.

May live here: which sources are held, and when they are let go. Must not know what a source is,
nor what is measured to tell that the pod is behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

LOOK_SECONDS = 0.005
"""How often it looks whether sources can be let go, while some are held."""


class Source(Protocol):
    """Something that is read from."""

    def hold(self) -> None:
        """Read nothing more until `release`; what was read already is still passed on."""

    def release(self) -> None:
        """Read again. Does nothing if the source is closed, or is not held."""


class Intake:
    """The sources that are held, until `is_relieved()` says that the pod has caught up."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, is_relieved: Callable[[], bool]) -> None:
        self.holds = 0
        """How often a source was held so far."""
        self.held: set[Source] = set()
        self._loop = loop
        self._is_relieved = is_relieved
        self._timer: asyncio.TimerHandle | None = None

    def hold(self, source: Source) -> None:
        """Hold a source; nothing happens if it is held already."""
        if source in self.held:
            return
        self.holds += 1
        self.held.add(source)
        source.hold()
        if self._timer is None:
            self._timer = self._loop.call_later(LOOK_SECONDS, self._look)

    def let_go(self, source: Source) -> None:
        """Release one source, whatever the others have to wait for."""
        if source in self.held:
            self.held.discard(source)
            source.release()

    def close(self) -> None:
        """Release all, for good."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._release_all()

    def _look(self) -> None:
        self._timer = None
        if self._is_relieved():
            self._release_all()
        if self.held:
            self._timer = self._loop.call_later(LOOK_SECONDS, self._look)

    def _release_all(self) -> None:
        held, self.held = self.held, set()
        for source in held:
            source.release()
