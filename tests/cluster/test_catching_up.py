"""A list of all pods, fetched page by page, and anew each time."""

from __future__ import annotations

import asyncio

from sanic_chat.cluster import catching_up
from sanic_chat.cluster.asking import MAX_QUESTIONS
from sanic_chat.cluster.catching_up import PAGE, CatchingUp, entries_of_all
from sanic_chat.pod.pod import Pod
from sanic_chat.protocol.pages import Page, cut

from ..support.harness import DEADLINE
from ..support.pods import Crowd


def have(pod: Pod, numbers: range) -> None:
    """Give a pod a list."""

    def page(after: int) -> Page[int]:
        return cut((number for number in numbers if number > after), PAGE)

    pod.cluster.asking.handle("numbers", int, page)


async def numbers_of_all(pod: Pod) -> list[int]:
    return [
        number
        async for number in entries_of_all(
            pod.cluster.asking,
            "numbers",
            int,
            first=0,
            behind=lambda one: one,
            key=lambda one: one,
            add=lambda one, _: one,
            pods=lambda: 2,
        )
    ]


async def test_all_pages(crowd: Crowd) -> None:
    """What two pods know comes once, and in order, however many pages it takes."""
    have(crowd.pods[0], range(1, 2 * PAGE, 2))
    have(crowd.pods[1], range(1, 3 * PAGE))
    assert await numbers_of_all(crowd.pods[0]) == [*range(1, 3 * PAGE)]


async def test_pods_that_were_not_heard(crowd: Crowd) -> None:
    """They are waited for: who has just come back has heard nobody."""
    have(crowd.pods[0], range(1))
    have(crowd.pods[1], range(1, 3))
    crowd.pods[0].control.heard.clear()
    assert await numbers_of_all(crowd.pods[0]) == [1, 2]


async def test_too_many_questions(crowd: Crowd, monkeypatch) -> None:
    """It waits until there are fewer."""
    monkeypatch.setattr(catching_up, "PATIENCE_SECONDS", 0.05)
    have(crowd.pods[0], range(1))
    have(crowd.pods[1], range(1, 3))
    asking = crowd.pods[0].cluster.asking
    waits = [asyncio.create_task(asking.ask("none", 0, int)) for _ in range(MAX_QUESTIONS)]
    await asyncio.sleep(0)
    assert await numbers_of_all(crowd.pods[0]) == [1, 2]
    await asyncio.gather(*waits)


async def test_it_begins_anew() -> None:
    """What was under way is given up, so that one list at a time is fetched, from its beginning."""
    begun, given_up = [], []
    is_known = asyncio.Event()

    async def catch_up() -> None:
        begun.append(len(begun))
        number = begun[-1]
        try:
            await is_known.wait()
        except asyncio.CancelledError:
            given_up.append(number)
            raise

    catching_up = CatchingUp(catch_up, name="numbers")
    assert not catching_up.is_under_way
    await catching_up.wait(DEADLINE)  # for nothing
    for _ in range(2):
        catching_up.begin()
        await asyncio.sleep(0)
        assert catching_up.is_under_way
    await catching_up.wait(0.0)
    assert (begun, given_up) == ([0, 1], [0])
    is_known.set()
    await catching_up.wait(DEADLINE)
    assert not catching_up.is_under_way
    assert (begun, given_up) == ([0, 1], [0])
    catching_up.begin()
    is_known.clear()
    await asyncio.sleep(0)
    catching_up.close()
    await catching_up.wait(DEADLINE)
    assert (begun, given_up) == ([0, 1, 2], [0, 2])
