"""Two servers behind each proxy: one drains, is restarted, or has lost its Redis."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack

import pytest
from websockets.exceptions import InvalidStatus

from ..support.balancers import KINDS, TwoServers, proxy, with_change
from ..support.harness import RedisProcess, eventually

StartTwo = Callable[..., TwoServers]
PAUSE_SECONDS = 0.15
"""Between two attempts to connect: with less they would take much of the machine."""


@pytest.fixture
def two_servers(shared_redis: RedisProcess) -> Iterator[StartTwo]:
    """Start two servers of one cluster."""
    started: list[TwoServers] = []

    def start(**environment: str) -> TwoServers:
        started.append(TwoServers([shared_redis.url] * 2, **environment))
        return started[-1]

    yield start
    for servers in started:
        servers.close()


async def test_a_rolling_restart(kind, two_servers, tmp_path, room) -> None:
    """While one server after the other is restarted, nobody who connects gets a 502.

    Where the proxy asks another server nobody is refused either; else who comes before the next
    check gets the 503 of a server that drains. Where it checks who is ready, the second server is
    restarted when the first is in use again.
    """
    servers = two_servers(CHAT_DRAIN_GRACE="0" if kind.asks_another else "3")
    expected = {101} if kind.asks_another else {101, 503}
    over = asyncio.Event()
    answers: Counter[int] = Counter()

    async def come_and_go() -> None:
        while not over.is_set():
            try:
                async with front.connect(room):
                    answers[101] += 1
            except InvalidStatus as refusal:
                answers[refusal.response.status_code] += 1
            await asyncio.sleep(PAUSE_SECONDS)

    with proxy(kind, servers, tmp_path) as front:
        async with AsyncExitStack() as stay:
            for _ in range(8):  # who is drained, and comes back when the test is over
                await stay.enter_async_context(front.connect(room))
            coming = [asyncio.create_task(come_and_go()) for _ in range(4)]
            for index in (0, 1):
                await asyncio.to_thread(servers.restart, index)
                restarted = servers.pod_ids()[index]
                while kind.checks and await front.pod_of_a_new_client(room) != restarted:
                    await asyncio.sleep(PAUSE_SECONDS)
            over.set()
            await asyncio.gather(*coming)
    assert {101} <= answers.keys() <= expected, answers


@pytest.mark.parametrize("kind", with_change("check"), indirect=True, ids=str)
async def test_one_server_is_not_ready(kind, shared_redis, redis, tmp_path, room) -> None:
    """A server whose Redis is away gets no new clients."""
    servers = TwoServers([shared_redis.url, redis.url], CHAT_REDIS_TIMEOUT="1")
    try:
        with proxy(kind, servers, tmp_path) as front:
            ids = servers.pod_ids()

            async def pods() -> set[str]:
                return {await front.pod_of_a_new_client(room) for _ in range(10)}

            assert await pods() == set(ids)
            redis.kill()

            async def only_the_first() -> bool:
                return await pods() == {ids[0]}

            await eventually(only_the_first, "the second server is left out")
    finally:
        servers.close()


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind.asks_another], indirect=True, ids=str
)
async def test_a_server_that_drains(kind, two_servers, tmp_path, room) -> None:
    """Who comes to a server that answers 503 is sent to the other at once, without any check."""
    servers = two_servers(CHAT_DRAIN_GRACE="3")
    with proxy(kind, servers, tmp_path, check=3600) as front:
        first, _ = servers.pod_ids()
        async with servers.running[1].connect(room):
            servers.running[1].signal(signal.SIGTERM)
            await eventually(
                lambda: servers.running[1].get("/ready").status_code == 503,
                "it drains",
            )
            assert {await front.pod_of_a_new_client(room) for _ in range(10)} == {first}
            assert servers.running[1].get("/ready").status_code == 503
