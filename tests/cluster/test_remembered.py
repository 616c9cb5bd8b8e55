"""A memory that ends, in time and in number."""

from __future__ import annotations

import time

from sanic_chat.cluster.remembered import Remembered

from ..support.harness import eventually


async def test_it_is_bounded() -> None:
    """The first to come is the first to be forgotten; what comes again is the last."""
    memory: Remembered[int] = Remembered(seconds=60, most=3)
    for number in (1, 2, 3):
        memory.keep(f"key-{number}", number)
    memory.keep("key-1", 10)
    memory.keep("key-4", 4)
    assert [*memory] == ["key-3", "key-1", "key-4"]
    assert memory.values() == [3, 10, 4]
    assert (memory.get("key-1"), memory.get("key-2")) == (10, None)
    assert "key-3" in memory
    memory.discard("key-3")
    memory.discard("key-3")
    assert len(memory) == 2


async def test_it_ends() -> None:
    """Each is forgotten in time, whether or not anything else comes."""
    memory: Remembered[int] = Remembered(seconds=0.3, most=3)
    began = time.monotonic()
    memory.keep("early", 1)
    await eventually(lambda: time.monotonic() - began > 0.1, "some time has passed")
    memory.keep("late", 2)
    await eventually(lambda: [*memory] == ["late"], "the first one is forgotten")
    assert time.monotonic() - began >= 0.3
    await eventually(lambda: not len(memory), "nothing is left")
    memory.keep("again", 3)
    await eventually(lambda: not len(memory), "nor of what came then")
