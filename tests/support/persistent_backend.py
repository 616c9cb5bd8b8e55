"""A backend that publishes whatever happens: a message with its ID until a pod answers 200."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle
from uuid import uuid4

from .backend import Backend, backend
from .harness import DEADLINE, ServerProcess
from .outcome import DUPLICATE, NO_ANSWER, PUBLISHED, Publication

AT_A_TIME = 4
MOST_PER_SECOND = 25
RETRY_SECONDS = 0.4
"""The pause before it is tried again: less than Retry-After, as an impatient backend has it."""
PATIENCE_SECONDS = 5.0
"""The time for which an answer is waited for. Two seconds are promised, and machines are busy."""
NOT_NOW = {"unavailable", "congested", "unconfirmed", "redis_refuses"}
"""The codes of 503 that a message may be answered with (docs/api.md)."""


@asynccontextmanager
async def publishing(
    servers: Sequence[ServerProcess], room: str, *, rate: float
) -> AsyncIterator[list[Publication]]:
    """Publish to a room meanwhile, by turns over all servers; at the end all has been answered.

    `rate`: messages a second, unless it has to wait for answers.
    """
    pause = AT_A_TIME / min(rate, MOST_PER_SECOND)
    publications: list[Publication] = []
    is_over = asyncio.Event()
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        pods = [await stack.enter_async_context(backend(server.http)) for server in servers]

        async def one_after_the_other(first: int) -> None:
            await asyncio.sleep(first * pause / AT_A_TIME)
            while not is_over.is_set():
                publication = Publication(str(uuid4()))
                publications.append(publication)
                turn = first + len(publications)
                await _publish(publication, room, [*pods[turn % 2 :], *pods[: turn % 2]])
                await asyncio.sleep(pause)

        tasks = [group.create_task(one_after_the_other(number)) for number in range(AT_A_TIME)]
        yield publications
        is_over.set()
        _, pending = await asyncio.wait(tasks, timeout=DEADLINE)
        assert not pending, "what is tried again is published when all is well"


async def _publish(publication: Publication, room: str, pods: Sequence[Backend]) -> None:
    """Try it at one pod after the other until one answers 200."""
    for pod in cycle(pods):
        publication.answers.append(await _try(publication, room, pod))
        if publication.answers[-1] in (PUBLISHED, DUPLICATE):
            return
        await asyncio.sleep(RETRY_SECONDS)


async def _try(publication: Publication, room: str, pod: Backend) -> str:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await pod.publish("from a backend", room=room, id=publication.id)
    except TimeoutError:
        return NO_ANSWER
    told = answer.json()
    if answer.status_code == 200:
        assert told["id"] == publication.id
        return DUPLICATE if "duplicate" in told else PUBLISHED
    assert answer.status_code == 503, answer.text
    assert answer.headers["retry-after"].isdigit()
    code: str = told["code"]
    assert code in NOT_NOW, told
    return code
