"""Catching up: a pod that has just started, or was cut off, learns what the others know.

    begin ─→ entries_of_all ─→ asking ─→ (each pod) a page of its list ─→ merged ─→ the next page …

May live here: how a list is fetched from all pods, and when that begins anew. Must not know what is
listed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from ..errors import TooManyQuestions
from ..protocol.pages import Key, Page, merge
from .asking import PATIENCE_SECONDS, Asking, Outcome

PAGE = 1000
"""The entries of a page."""

T = TypeVar("T")


class CatchingUp:
    """One thing that a pod catches up with, in a task of its own: `catch_up()`, from its beginning.

    A second `begin` gives the first one up, and so does `close`, which may be called at any time.
    """

    def __init__(self, catch_up: Callable[[], Coroutine[Any, Any, None]], *, name: str) -> None:
        self._catch_up = catch_up
        self._name = name
        self._task: asyncio.Task[None] | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether there may be something that this pod does not know yet."""
        return self._task is not None and not self._task.done()

    def begin(self) -> None:
        """Catch up: something may have been missed."""
        self.close()
        self._task = asyncio.get_running_loop().create_task(self._catch_up(), name=self._name)

    async def wait(self, seconds: float) -> None:
        """Wait for so many seconds at most, until what is under way has ended."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=seconds)

    def close(self) -> None:
        """Ask nobody any more."""
        if self._task is not None:
            self._task.cancel()


async def entries_of_all(
    asking: Asking,
    kind: str,
    type: type[T],
    *,
    first: Any,
    behind: Callable[[T], Any],
    key: Callable[[T], Key],
    add: Callable[[T, T], T],
    pods: Callable[[], int],
) -> AsyncIterator[T]:
    """Yield the entries of all pods' lists, in the order of their keys, each key once.

    `kind` is that of the question for a page, whose argument is `first`, or what `behind` makes of
    the last entry of the page before. `add` makes one entry of two with the same key. `pods()` is
    the number of pods that there may be: this one may have heard none of them yet. While there are
    too many questions it waits.
    """
    page_of: Any = Page[type]  # type: ignore[valid-type]
    after = first
    while True:
        try:
            outcome: Outcome[Page[T]] = await asking.ask(kind, after, page_of, replies=pods())
        except TooManyQuestions:
            await asyncio.sleep(PATIENCE_SECONDS)
            continue
        page = merge([*outcome.answers.values()], PAGE, key=key, add=add)
        for entry in page.entries:
            yield entry
        if not page.more:
            return
        after = behind(page.entries[-1])
