"""A worker that has no file descriptors left: who is in stays, who comes is refused."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest

from .clients import RawClient
from .conftest import StartServer
from .harness import SLOW, RedisProcess, ServerProcess, eventually, receive

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits another process")

SPARE = 30
ATTEMPTS = SPARE + 20
MOMENT = 1.5
"""Seconds in which CPU time is measured."""


def limit_descriptors(pid: int, spare: int) -> None:
    """Let a process open only so many more files."""
    used = len(os.listdir(f"/proc/{pid}/fd"))
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + spare, hard))


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used so far."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def attempt(stack: AsyncExitStack, server: ServerProcess) -> RawClient | None:
    """A client, or None if it was refused."""
    try:
        client = await stack.enter_async_context(RawClient(server))
        status, _, _ = await client.request()
    except (OSError, EOFError):
        return None
    assert status == 101
    return client


async def test_no_descriptors_left(start_server: StartServer, shared_redis: RedisProcess) -> None:
    """The sessions there are go on, the loop does not spin, and all is well when some leave."""
    # Not on asyncio's own loop, which tries, and logs, as often as the backlog is long
    # (python/cpython#151615).
    server = start_server(REDIS_URL=shared_redis.url, SANIC_USE_UVLOOP="true")
    [worker] = server.worker_pids
    room = f"room-{uuid4()}"
    log = server.log
    async with (
        server.connect(room, echo="0") as sender,
        server.connect(room) as listener,
        AsyncExitStack() as refused,
        AsyncExitStack() as served,
    ):
        limit_descriptors(worker, SPARE)
        attempts = [await attempt(served, server) for _ in range(SPARE)]
        attempts += await asyncio.gather(
            *(attempt(refused, server) for _ in range(ATTEMPTS - SPARE))
        )
        assert SPARE - 5 <= sum(client is not None for client in attempts) <= SPARE

        before, ends = cpu_seconds(worker), time.monotonic() + MOMENT
        number = 0
        while time.monotonic() < ends:
            number += 1
            await sender.send(json.dumps({"data": number}))
            assert (await receive(listener))["data"] == number
            await asyncio.sleep(0.01)
        assert cpu_seconds(worker) - before < MOMENT / 2
        assert await attempt(refused, server) is None

        await refused.aclose()
        await served.aclose()

        async def lets_in_again() -> bool:
            async with AsyncExitStack() as stack:
                return await attempt(stack, server) is not None

        left = time.monotonic()
        await eventually(lets_in_again, "new clients are served")
        assert time.monotonic() - left < SLOW * 2
    assert server.log == log
