"""Catching up: a pod that has just started, or was cut off, learns what the others know.

    entries_of_all ─→ asking ─→ (each pod) a page of its list ─→ merged ─→ the next page …

May live here: how a list is fetched from all pods. Must not know what is listed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from ..errors import TooManyQuestions
from ..protocol.pages import Key, Page, merge
from .asking import PATIENCE_SECONDS, Asking, Outcome

PAGE = 1000
"""The entries of a page."""

T = TypeVar("T")


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
