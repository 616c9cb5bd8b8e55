"""What waits for Redis, on its own: its bounds, its order, and what is too old."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from sanic_chat.broker.publish_queue import PublishQueue

from ..support.harness import eventually


class Waiting:
    """A queue of up to three commands and ten bytes, and what it drops."""

    def __init__(
        self, *, max_seconds: float = 60.0, is_leaving: Callable[[], bool] = lambda: False
    ) -> None:
        self.expired: list[str] = []
        self.queue: PublishQueue[str] = PublishQueue(
            asyncio.get_running_loop(),
            max_messages=3,
            max_bytes=10,
            max_seconds=max_seconds,
            is_leaving=is_leaving,
            on_expired=self.expired.append,
        )

    def add(self, *commands: str) -> None:
        for command in commands:
            self.queue.add(command.encode(), command)

    @property
    def size(self) -> tuple[int, int]:
        return len(self.queue), self.queue.bytes


async def test_its_bounds() -> None:
    """It tells when it is full, by number or by bytes; who adds one all the same may."""
    waiting = Waiting()
    waiting.add("four", "five5")
    assert waiting.queue.has_place(b"1")
    assert not waiting.queue.has_place(b"12")
    waiting.add("1")
    assert not waiting.queue.has_place(b"")
    waiting.add("more")
    assert waiting.size == (4, 14)
    waiting.queue.close()


@pytest.mark.parametrize(
    ("size", "taken"), [(1, ["a1"]), (2, ["a1"]), (3, ["a1", "b2"]), (99, ["a1", "b2", "c3"])]
)
async def test_its_order(size: int, taken: list[str]) -> None:
    """What was added first is taken first, whole, and counts no more."""
    waiting = Waiting()
    waiting.add("a1", "b2", "c3")
    assert waiting.queue.take(size) == ("".join(taken).encode(), taken)
    rest = ["a1", "b2", "c3"][len(taken) :]
    assert waiting.size == (len(rest), 2 * len(rest))
    assert waiting.queue.take(99) == ("".join(rest).encode(), rest)
    waiting.queue.close()
    assert waiting.expired == []


async def test_what_is_too_old() -> None:
    """It is dropped in its order, but nothing is while the queue is being sent."""
    looks = 0

    def is_leaving() -> bool:
        nonlocal looks
        looks += 1
        return looks < 3

    waiting = Waiting(max_seconds=0.0, is_leaving=is_leaving)
    waiting.add("a", "b")
    await eventually(lambda: waiting.expired == ["a", "b"], "both are dropped")
    assert looks == 4
    assert waiting.size == (0, 0)


async def test_its_end() -> None:
    """All that still waits is dropped, in its order."""
    waiting = Waiting()
    waiting.add("a", "b")
    waiting.queue.close()
    assert (waiting.expired, waiting.size) == (["a", "b"], (0, 0))
