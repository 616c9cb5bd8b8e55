"""Pages: long lists, told piece by piece, in the order of their keys.

    each pod: its entries behind `after` ─→ cut ─→ Page ─┐
    each pod:                       …                    ├─→ merge ─→ the next page of all pods
    each pod:                       …                   ─┘

A page begins behind the last key of the page before. So whatever is there all the time is told
exactly once, whatever comes and goes meanwhile.

May live here: where a page ends. Must not know what is listed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")
Key = TypeVar("Key", int, str, tuple[float, str])

MAX_PAGE_BYTES = 24 * 1024
"""The bytes of the entries of a page, so that with what is told beside them it has 32 KiB: names of
personal rooms have up to 3 KiB each."""

_encode = msgspec.json.Encoder().encode


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some entries of a list, in order."""

    entries: list[T]
    more: bool = False
    """Whether there are others behind them; then there is at least one entry."""


def cut(entries: Iterable[T], limit: int, *, room: int = MAX_PAGE_BYTES) -> Page[T]:
    """Make a page of the first entries: at most `limit`, and `room` bytes, but for the first.

    It takes one more from `entries` than the page has, if there is one.
    """
    page: list[T] = []
    for entry in entries:
        room -= len(_encode(entry)) + 1
        if len(page) == limit or (room < 0 and page):
            return Page(page, more=True)
        page.append(entry)
    return Page(page)


def merge(
    pages: Sequence[Page[T]],
    limit: int,
    *,
    key: Callable[[T], Key],
    add: Callable[[T, T], T],
) -> Page[T]:
    """Make one page of several, each of another pod and all behind the same key.

    `add` makes one entry of two with the same key.
    """
    # Behind the end of a page that has more, that pod may have entries which are not told yet.
    ends = [key(page.entries[-1]) for page in pages if page.more]
    end = min(ends) if ends else None
    found: dict[Key, T] = {}
    is_cut = False
    for page in pages:
        for entry in page.entries:
            its_key = key(entry)
            if end is not None and its_key > end:
                is_cut = True
                break
            found[its_key] = add(found[its_key], entry) if its_key in found else entry
    merged = cut((found[its_key] for its_key in sorted(found)), limit)
    return Page(merged.entries, merged.more or is_cut or bool(ends))
