"""A worker that has no file descriptors left: who is in stays, who comes is told, nothing spins."""

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

from sanic_chat.process import descriptors
from sanic_chat.process.descriptors import Descriptors

from ..support.clients import RawClient
from ..support.harness import (
    SLOW,
    RedisProcess,
    ServerProcess,
    StartServer,
    eventually,
    receive,
    wait_until,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits another process")

SPARE = 40
MOMENT = 1.5
"""Seconds in which CPU time is measured."""
OUT = "No file descriptors are left for new clients"
BACK = "There are file descriptors for clients again"

either_loop = pytest.mark.parametrize("uvloop", ["true", "false"], ids=["uvloop", "asyncio"])


def open_descriptors(pid: int) -> list[int]:
    """The numbers of a process' open files."""
    return [int(name) for name in os.listdir(f"/proc/{pid}/fd")]


def limit_descriptors(pid: int, spare: int) -> int:
    """Let a process open only so many more files; returns its limit."""
    limit = len(open_descriptors(pid)) + spare
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def within(soft: int, hard: int) -> tuple[str, ...]:
    """A command that starts the server with these limits."""
    limit = f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$@"'
    return ("bash", "-c", limit, "bash", sys.executable, "-m", "sanic", "server.py")


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used so far."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def attempt(stack: AsyncExitStack, server: ServerProcess) -> RawClient | None:
    """A client that is let in, or None if it was refused, as it has to be."""
    async with AsyncExitStack() as own:
        client = await own.enter_async_context(RawClient(server))
        status, _, body = await client.request()
        if status != 101:
            assert (status, json.loads(body)["code"]) == (503, "no_descriptors")
            return None
        stack.push_async_exit(own.pop_all())
        return client


def probe(server: ServerProcess, name: str) -> tuple[int, str | None]:
    """Status and code of a probe, over a connection of its own."""
    answer = server.get(f"/{name}")
    return answer.status_code, answer.json().get("code")


# -- in a worker -------------------------------------------------------------------------------


@either_loop
async def test_clients_take_all_descriptors(
    start_server: StartServer, shared_redis: RedisProcess, uvloop: str
) -> None:
    """Sessions go on, new clients get 503, probes are answered, and all is well when some leave."""
    server = start_server("--single-process", REDIS_URL=shared_redis.url, SANIC_USE_UVLOOP=uvloop)
    [worker] = server.worker_pids
    room = f"room-{uuid4()}"
    async with (
        server.connect(room, echo="0") as sender,
        server.connect(room) as listener,
        AsyncExitStack() as served,
    ):
        limit = limit_descriptors(worker, SPARE)
        attempts = [await attempt(served, server) for _ in range(SPARE + 20)]
        count = sum(client is not None for client in attempts)
        assert count >= SPARE - limit // 8

        def reserve_is_free() -> bool:
            return max(open_descriptors(worker)) < limit - limit // 8

        await eventually(reserve_is_free, "refused ones have not taken what is kept for checks")

        before, ends = cpu_seconds(worker), time.monotonic() + MOMENT
        number = 0
        while time.monotonic() < ends:
            number += 1
            await sender.send(json.dumps({"data": number}))
            assert (await receive(listener))["data"] == number
            await asyncio.sleep(0.01)
        assert cpu_seconds(worker) - before < MOMENT / 2
        assert probe(server, "ready") == (503, "no_descriptors")
        assert probe(server, "health") == (200, None)
        pod = server.pod()
        assert pod["upgrades_refused"]["no_descriptors"] == len(attempts) - count
        assert pod["ready"] is False

        await served.aclose()

        async def lets_in_again() -> bool:
            async with AsyncExitStack() as stack:
                return await attempt(stack, server) is not None

        left = time.monotonic()
        await eventually(lets_in_again, "new clients are served")
        assert time.monotonic() - left < SLOW * 2
        await eventually(lambda: probe(server, "ready") == (200, None), "it is ready again")
    assert (server.log.count(OUT), server.log.count(BACK)) == (1, 1)


@either_loop
async def test_numbers_become_free_below(
    start_server: StartServer, shared_redis: RedisProcess, uvloop: str
) -> None:
    """Clients whose numbers are high, above those of others that have left, are not forgotten.

    Otherwise clients get what is kept for checks, as in a crowd whose refused ones leave.
    """
    server = start_server(
        "--single-process",
        REDIS_URL=shared_redis.url,
        SANIC_USE_UVLOOP=uvloop,
        command=within(200, 200),
    )
    async with AsyncExitStack() as served:
        async with AsyncExitStack() as below:
            for _ in range(100):
                await below.enter_async_context(RawClient(server))
            assert probe(server, "health") == (200, None)  # so all before it are accepted
            count = 0
            while await attempt(served, server):
                count += 1
        assert count > 30
        wait_until(lambda: server.pod()["connections"] == count, "those below are gone")
        refused = 0
        while refused < 40:
            client = await attempt(served, server)
            count, refused = count + (client is not None), refused + (client is None)
        assert count > 120
        assert probe(server, "ready") == (503, "no_descriptors")
        assert probe(server, "health") == (200, None)


@either_loop
async def test_told_why(start_server: StartServer, shared_redis: RedisProcess, uvloop: str) -> None:
    """Refused clients that are told why take descriptors from nobody, however many come."""
    server = start_server(
        "--single-process",
        REDIS_URL=shared_redis.url,
        SANIC_USE_UVLOOP=uvloop,
        command=within(200, 200),
    )

    async with AsyncExitStack() as stack:

        async def refuse() -> None:
            client = await stack.enter_async_context(RawClient(server))
            status, _, _ = await client.request("/ws/a%2Bb", Sec_WebSocket_Protocol="sanic-chat.v1")
            assert status == 101

        for _ in range(150):
            await refuse()
        for _ in range(80):
            assert await attempt(stack, server) is not None
            await refuse()
        pod = server.pod()
    assert (pod["connections"], pod["upgrades_refused"]) == (80, {"bad_room": 230})
    assert OUT not in server.log


@either_loop
async def test_something_else_takes_all_descriptors(
    start_server: StartServer, shared_redis: RedisProcess, uvloop: str
) -> None:
    """Connections that cannot be accepted are one line in the log, and stop nothing."""
    server = start_server("--single-process", REDIS_URL=shared_redis.url, SANIC_USE_UVLOOP=uvloop)
    [worker] = server.worker_pids
    async with server.connect(f"room-{uuid4()}") as client, AsyncExitStack() as stack:
        limit_descriptors(worker, 5)
        for _ in range(20):
            await stack.enter_async_context(RawClient(server))
        await eventually(lambda: OUT in server.log, "that is logged")
        await client.send('{"data": "still there"}')
        assert (await receive(client))["data"] == "still there"
        await asyncio.sleep(2)  # asyncio's own loop tries again once a second
        await stack.aclose()
        limit_descriptors(worker, 200)
        await eventually(lambda: probe(server, "ready") == (200, None), "it is ready again")
    assert (server.log.count(OUT), server.log.count(BACK)) == (1, 1)
    assert "asyncio" not in server.log


@either_loop
async def test_idle_connections_make_room(
    start_server: StartServer, shared_redis: RedisProcess, uvloop: str
) -> None:
    """Connections without a request take descriptors from nobody: the oldest of them go."""
    server = start_server(
        "--single-process",
        REDIS_URL=shared_redis.url,
        SANIC_USE_UVLOOP=uvloop,
        command=within(200, 200),
        CHAT_HANDSHAKE_TIMEOUT="60",
    )
    async with server.connect(f"room-{uuid4()}") as client, AsyncExitStack() as stack:
        for _ in range(400):
            await stack.enter_async_context(RawClient(server))
        assert probe(server, "ready") == (200, None)
        for _ in range(20):
            assert await attempt(stack, server) is not None
        await client.send('{"data": "still there"}')
        assert (await receive(client))["data"] == "still there"
        pod = server.pod()
    assert pod["crowded_out"] > 200
    assert pod["upgrades_refused"] == {}


# -- at the start ------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--single-process",)], ids=["workers", "single process"])
def test_the_limit_is_raised(
    start_server: StartServer, shared_redis: RedisProcess, options: tuple[str, ...]
) -> None:
    """The server takes what the system allows, and says so, once."""
    server = start_server(*options, REDIS_URL=shared_redis.url, command=within(150, 2000))
    assert server.log.count("Raised the limit of open files from 150 to 2000") == 1
    [worker] = server.worker_pids
    assert resource.prlimit(worker, resource.RLIMIT_NOFILE) == (2000, 2000)


@pytest.mark.parametrize(
    ("clients", "warning"),
    [
        ("0", "is enough for about 1872 clients (needed: 10128, for 10000 clients)"),
        ("1873", "is enough for about 1872 clients (needed: 2001, for CHAT_MAX_CONNECTIONS=1873)"),
        ("1872", None),
    ],
)
def test_a_limit_that_is_too_low(
    start_server: StartServer, shared_redis: RedisProcess, clients: str, warning: str | None
) -> None:
    """A limit below what the clients of a worker need is told at the start, with the numbers."""
    server = start_server(
        "--single-process",
        command=within(2000, 2000),
        REDIS_URL=shared_redis.url,
        CHAT_MAX_CONNECTIONS=clients,
    )
    told = [line for line in server.log.splitlines() if "(`ulimit -n`)" in line]
    assert len(told) == (warning is not None)
    if warning is not None:
        assert "a worker may open 2000 files (`ulimit -n`), which " + warning in told[0]


# -- the count alone ---------------------------------------------------------------------------


def test_what_is_left_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are some while more are free than are reserved; the reserve is small if all are few."""
    for limit, reserved in ((80, 10), (512, 64), (2**20, 64)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limit: (limit, limit))
        for number, left in ((limit - reserved - 1, True), (limit - reserved, False)):
            assert Descriptors().are_left(number) is left
        for number, few in ((limit - 2 * reserved - 1, False), (limit - 2 * reserved, True)):
            assert Descriptors().are_few(number) is few


def test_a_shortage_lasts_until_it_has_been_over_for_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """That a client leaves and the next one takes its descriptor is one shortage, and one line."""
    caplog.set_level("INFO", "sanic.root")
    now, free = 0.0, sys.maxsize
    monkeypatch.setattr(time, "monotonic", lambda: now)
    watch = Descriptors()
    monkeypatch.setattr(descriptors, "_lowest_free", lambda: free)
    for now in range(20):
        free = 0 if now % 3 else sys.maxsize
        assert watch.are_left(free) is bool(now % 3)
        assert watch.are_short
    assert (watch.shortages, caplog.text.count(OUT), caplog.text.count(BACK)) == (1, 1, 0)
    now, free = 23, 0
    assert not watch.are_short
    assert caplog.text.count(BACK) == 1
    free = sys.maxsize
    assert watch.are_short
    assert (watch.shortages, caplog.text.count(OUT)) == (2, 2)
