"""A backend's table of who is online, kept by the example, stays right whatever happens to pods."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from websockets.asyncio.client import ClientConnection

from sanic_chat.cluster.lifecycle import LOST_SECONDS

from ..support.clients import RedisProxy, behave
from ..support.harness import (
    DEADLINE,
    ROOT,
    SLOW,
    RedisProcess,
    ServerProcess,
    StartServer,
    eventually,
    receive_event,
    without_settings,
)
from ..support.users import KNOWS_USERS, bearer

SETTINGS = {
    **KNOWS_USERS,
    "CHAT_LIFECYCLE": "1",
    "CHAT_HANG_TIMEOUT": "0",  # a worker is frozen here
}


class Table:
    """What the example prints."""

    def __init__(self, output: asyncio.StreamReader) -> None:
        self._output = output

    async def becomes(self, *users: str, within: float = DEADLINE) -> None:
        """Wait until these are online, and nobody else."""
        online: list[str] | None = None
        try:
            async with asyncio.timeout(within):
                while online != sorted(users):
                    online = json.loads(await self._output.readline())
        except TimeoutError:
            raise AssertionError(f"online is {online}, not {users}") from None


@asynccontextmanager
async def table(redis: RedisProcess) -> AsyncIterator[Table]:
    """The example, as it runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "examples/who_is_online.py",
        cwd=ROOT,
        env={**without_settings(os.environ), "REDIS_URL": redis.url},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        yield Table(process.stdout)
    finally:
        process.kill()
        await process.wait()


async def connect(server: ServerProcess, user: str) -> tuple[str, ClientConnection]:
    """A client of a user, and the ID of its pod."""
    client = await server.connect(events="system", headers=bearer(user))
    return (await receive_event(client, "welcome"))["pod_id"], client


def pid_of(server: ServerProcess, pod_id: str) -> int:
    [pod] = [pod for pod in server.stats()["pods"] if pod["pod_id"] == pod_id]
    return int(pod["pid"])


async def test_pods_that_are_killed_and_frozen(
    redis: RedisProcess, start_server: StartServer
) -> None:
    """Users of a killed pod are offline after ten seconds, those of a frozen one until it goes on.

    Who begins to listen later knows the same.
    """
    frozen = start_server("--single-process", REDIS_URL=redis.url, **SETTINGS)
    server = start_server(workers=2, REDIS_URL=redis.url, **SETTINGS)
    async with table(redis) as online, AsyncExitStack() as stack:
        pods: dict[str, str] = {}
        for number in range(100):
            user = f"user-{number}"
            pod_id, client = await connect(server, user)
            if pod_id in pods.values():
                await client.close()
                continue
            stack.push_async_callback(client.close)
            pods[user] = pod_id
            if len(pods) == 2:
                break
        killed, stays = pods
        _, client = await connect(frozen, "frozen")
        stack.push_async_callback(client.close)
        await online.becomes(killed, stays, "frozen")

        os.kill(pid_of(server, pods[killed]), signal.SIGKILL)
        os.kill(frozen.pid, signal.SIGSTOP)
        try:
            await online.becomes(stays, within=LOST_SECONDS * SLOW)
            async with table(redis) as later:
                await later.becomes(stays)
        finally:
            os.kill(frozen.pid, signal.SIGCONT)
        await online.becomes(stays, "frozen")

        _, client = await connect(server, "new")
        await online.becomes(stays, "frozen", "new")
        await client.close()
        await online.becomes(stays, "frozen")


async def test_who_told_that_a_pod_is_lost_is_gone(
    redis: RedisProcess, start_server: StartServer
) -> None:
    """The pod was frozen, and tells of its clients though nobody is left who takes it for lost."""
    frozen, teller = (
        start_server("--single-process", REDIS_URL=redis.url, **SETTINGS) for _ in range(2)
    )
    async with table(redis) as online:
        _, anna = await connect(frozen, "anna")
        _, bert = await connect(teller, "bert")
        await online.becomes("anna", "bert")
        frozen.signal(signal.SIGSTOP)
        try:
            await online.becomes("bert", within=LOST_SECONDS * SLOW)
            teller.signal(signal.SIGTERM)
            await online.becomes(within=DEADLINE)
        finally:
            frozen.signal(signal.SIGCONT)
        await online.becomes("anna")
        await anna.close()
        bert.transport.abort()


async def test_redis_refuses_for_a_moment(redis: RedisProcess, start_server: StartServer) -> None:
    """A client of whose end Redis took no word is not online for good: all is told anew."""
    refused = 0

    def refuse(command: str) -> bytes | None:
        nonlocal refused
        if command != "PUBLISH":
            return None
        refused += 1
        return b"-NOPERM not now\r\n"

    with RedisProxy(redis.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        server = start_server("--single-process", REDIS_URL=url, **SETTINGS)
        async with table(redis) as online:
            _, anna = await connect(server, "anna")
            _, bert = await connect(server, "bert")
            await online.becomes("anna", "bert")
            proxy.misbehaviour = refuse
            await anna.close()
            await eventually(lambda: refused, "it is refused")
            proxy.misbehaviour = behave
            await online.becomes("bert")
            await bert.close()
            await online.becomes()


async def test_the_only_pod_is_killed(redis: RedisProcess, start_server: StartServer) -> None:
    """The one in its place tells that it was lost, though it has never heard it."""
    server = start_server(workers=1, REDIS_URL=redis.url, **SETTINGS)
    async with table(redis) as online:
        pod_id, client = await connect(server, "anna")
        await online.becomes("anna")
        os.kill(pid_of(server, pod_id), signal.SIGKILL)
        await online.becomes(within=LOST_SECONDS * SLOW)
        client.transport.abort()


async def test_redis_is_restarted(redis: RedisProcess, start_server: StartServer) -> None:
    """The table becomes right again, with what has changed while nobody could be told."""
    server = start_server("--single-process", REDIS_URL=redis.url, **SETTINGS)
    async with table(redis) as online:
        _, anna = await connect(server, "anna")
        await online.becomes("anna")
        redis.kill()
        _, bert = await connect(server, "bert")
        await anna.close()
        redis.start()
        await online.becomes("bert")
        await bert.close()
        await online.becomes()
