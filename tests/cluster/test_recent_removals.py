"""Removals that are known for a while, for pods that have missed them."""

from __future__ import annotations

import asyncio

from sanic_chat.cluster.recent_removals import KEPT_SECONDS, MAX_KEPT, RecentRemovals
from sanic_chat.protocol.asking import MAX_REPLY_BYTES, encode
from sanic_chat.protocol.cluster import Removal


async def test_each_is_new_once() -> None:
    """By its ID. One without, of an older version, is new each time, and not known."""
    recent = RecentRemovals()
    assert recent.note(Removal(4000, "", user="anna", id="1"))
    assert not recent.note(Removal(4000, "", user="anna", id="1"))
    assert recent.note(Removal(4000, "", user="anna"))
    assert recent.note(Removal(4000, "", user="anna"))
    assert [one.id for one in recent.page("").entries] == ["1"]


async def test_they_grow_older() -> None:
    """What is told of one has its age."""
    recent = RecentRemovals()
    recent.note(Removal(4000, "", user="anna", id="1", seconds_ago=5.0))
    recent.asked(Removal(4000, "", user="anna", id="1"), complete=False)
    await asyncio.sleep(0.1)
    [told], [untold] = recent.page("").entries, recent.untold()
    assert 5.0 < told.seconds_ago <= untold.seconds_ago < KEPT_SECONDS
    assert told.user == untold.user == "anna"
    recent.asked(untold, complete=True)
    assert not recent.untold()


async def test_they_are_bounded() -> None:
    """In number, and each page in bytes; all pages together have all of them."""
    recent = RecentRemovals()
    spared = ["x" * 36] * 100
    for number in range(MAX_KEPT + 2):
        recent.note(Removal(4000, "r" * 123, user="u" * 256, spared=spared, id=f"{number:04}"))
    told: list[str] = []
    more = True
    while more:
        page = recent.page(told[-1] if told else "")
        assert len(encode(page)) < MAX_REPLY_BYTES
        told += [one.id for one in page.entries]
        more = page.more
    assert told == [f"{number:04}" for number in range(2, MAX_KEPT + 2)]
