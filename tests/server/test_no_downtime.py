"""SIGHUP and drains while clients come and go: each of them is served."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Awaitable
from pathlib import Path

import pytest

from ..support.backend import WITH_API, drain
from ..support.cases import LOOPS, crossed
from ..support.clients import RawClient
from ..support.harness import (
    RedisProcess,
    ServerProcess,
    StartServer,
    eventually,
    free_port,
    receive_event,
)
from ..support.metrics import worker_ends
from ..support.reloading import Place, begin, living, reload
from ..support.tls import self_signed_certificate

TRIES = 100


async def connects(server: ServerProcess, is_over: asyncio.Event) -> int:
    """Connect again and again, in 5 rooms and of 5 tasks; how often that worked."""
    count = 0

    async def connect_on(room: str) -> None:
        nonlocal count
        while not is_over.is_set() or count < TRIES:
            async with server.connect(room):
                count += 1
            await asyncio.sleep(0.05)

    await asyncio.gather(*(connect_on(f"tries-{index}") for index in range(5)))
    return count


async def nobody_is_refused(server: ServerProcess) -> None:
    """Reload while clients connect: each of them gets in, and is in a room by that."""
    is_over = asyncio.Event()
    trying = asyncio.create_task(connects(server, is_over))
    await asyncio.to_thread(reload, server)
    is_over.set()
    assert await trying >= TRIES


async def test_nobody_is_refused_by_two_workers(
    start_server: StartServer, place: Place, shared_redis: RedisProcess
) -> None:
    place.settings(shared_redis)
    await nobody_is_refused(start_server(workers=2, **place.command()))


@crossed(uvloop=LOOPS, secure={"TLS": True, "plain": False})
async def test_nobody_is_refused_by_one_worker(
    start_server: StartServer, place: Place, shared_redis: RedisProcess, uvloop: str, secure: bool
) -> None:
    place.settings(shared_redis)
    server = start_server(
        certificate=self_signed_certificate(place.directory) if secure else None,
        SANIC_USE_UVLOOP=uvloop,
        **place.command(),
    )
    await nobody_is_refused(server)


async def test_requests_that_are_under_way(
    start_server: StartServer, place: Place, shared_redis: RedisProcess
) -> None:
    """A connection that an old worker has accepted is served by it; none is kept alive there."""
    place.settings(shared_redis, CHAT_HANDSHAKE_TIMEOUT="60")
    server = start_server(**place.command())
    async with RawClient(server) as late, RawClient(server) as idle, RawClient(server) as busy:
        for client in (late, idle, busy):
            client.send(b"GET /api/chat-api/health HTTP/1.1\r\nHost: localhost\r\n")
        for client in (idle, busy):
            client.send(b"\r\n")
            assert (await client.answer())[1]["connection"] == "keep-alive"
        begin(server)
        await eventually(lambda: "All new workers serve" in server.log, "they do")

        async def is_last() -> bool:
            busy.send(b"GET /api/chat-api/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
            status, headers, _ = await busy.answer()
            assert status == 200
            return headers["connection"] == "close"

        await eventually(is_last, "the old one knows, and keeps nothing alive")
        late.send(b"\r\n")
        assert (await late.answer())[0] == 200
        assert await idle.reader.read() == b""
        assert len(living(server)) == 2
    server.stop()  # which does not wait for the old one to leave


async def test_a_unix_socket(
    start_server: StartServer, place: Place, shared_redis: RedisProcess
) -> None:
    """The path is that of the newest worker; who waits in an older one's queue is served."""
    place.settings(shared_redis)
    with tempfile.TemporaryDirectory() as directory:  # pytest's own has too long a name
        path = Path(directory, "chat.sock")
        server = start_server("--unix", str(path), **place.command())
        assert await connects_by(path, asyncio.to_thread(reload, server)) >= TRIES
        server.stop()


async def connects_by(path: Path, event: Awaitable[object]) -> int:
    """Await an event while clients connect to a Unix socket; how often that worked."""
    is_over, count = asyncio.Event(), 0

    async def connect_on() -> None:
        nonlocal count
        while not is_over.is_set() or count < TRIES:
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(RawClient.handshake("/ws/unix"))
            assert (await reader.readline()).startswith(b"HTTP/1.1 101 ")
            writer.transport.abort()
            count += 1
            await asyncio.sleep(0.05)

    trying = [asyncio.create_task(connect_on()) for _ in range(5)]
    await event
    is_over.set()
    await asyncio.gather(*trying)
    return count


async def test_a_drain_behind_a_unix_socket(
    start_server: StartServer, shared_redis: RedisProcess
) -> None:
    """Whoever connects comes to the newest worker: it stays until another is the newest."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "chat.sock")
        server = start_server(
            "--unix",
            str(path),
            REDIS_URL=shared_redis.url,
            CHAT_ADMIN_LISTEN=f"127.0.0.1:{(port := free_port())}",
            **WITH_API,
        )
        [pod_id] = re.findall(r"Pod (\S+) is ready", server.log)
        [old] = living(server)

        async def drains() -> None:
            await drain(f"http://127.0.0.1:{port}/api/chat-api", pod_id)
            await eventually(lambda: old not in living(server), "it is gone")

        assert await connects_by(path, drains()) >= TRIES


async def test_a_drain_without_redis(start_server: StartServer, redis: RedisProcess) -> None:
    """The only worker goes on until the new one serves too, which is not ready either."""
    server = start_server(REDIS_URL=redis.url, CHAT_DRAIN_GRACE="60", **WITH_API)
    async with server.connect(events="system") as client:
        old = (await receive_event(client, "welcome"))["pod_id"]
        redis.kill()
        await eventually(lambda: server.get("/ready").status_code == 503, "it is not ready")
        await drain(server.http, old)
        await receive_event(client, "drain")
        async with server.connect(events="system") as other:
            assert (await receive_event(other, "welcome"))["pod_id"] != old
        assert len(living(server)) == 2  # within the grace


async def test_what_a_drained_worker_has_accepted(
    start_server: StartServer, shared_redis: RedisProcess
) -> None:
    """It answers whoever has begun to ask for something before it refuses anything."""
    server = start_server(REDIS_URL=shared_redis.url, CHAT_HANDSHAKE_TIMEOUT="60", **WITH_API)
    handshake = RawClient.handshake("/ws/accepted")
    async with RawClient(server) as late, server.connect(events="system") as client:
        late.send(handshake[:-2])
        await drain(server.http, (await receive_event(client, "welcome"))["pod_id"])
        await eventually(lambda: len(living(server)) == 2, "another takes clients")
        await asyncio.sleep(0.3)  # and the first one knows
        late.send(handshake[-2:])
        assert (await late.answer(has_body=False))[0] == 101
        await receive_event(client, "drain")


@pytest.mark.parametrize(
    ("workers", "at_once"),
    [
        pytest.param(1, False, id="the only one"),
        pytest.param(2, False, id="in turn"),
        pytest.param(2, True, id="at once"),
    ],
)
async def test_all_workers_are_drained(
    start_server: StartServer, shared_redis: RedisProcess, workers: int, at_once: bool
) -> None:
    """The last one that takes clients takes them until a new worker does."""
    server = start_server(
        workers=workers, REDIS_URL=shared_redis.url, CHAT_DRAIN_GRACE="60", **WITH_API
    )
    old, is_over = living(server), asyncio.Event()
    pods = await server.connect_to_pods(workers)
    trying = asyncio.create_task(connects(server, is_over))
    if at_once:
        await asyncio.gather(*(drain(server.http, pod_id) for pod_id in pods))
    for pod_id, client in pods.items():
        await drain(server.http, pod_id)
        await receive_event(client, "drain")
    async with server.connect(events="system") as client:
        assert (await receive_event(client, "welcome"))["pod_id"] not in pods
    assert {*old} <= {*living(server)}  # all of it within their grace
    is_over.set()
    assert await trying >= TRIES
    await asyncio.gather(*(client.close() for client in pods.values()))

    def are_replaced() -> bool:
        return len(living(server)) == workers and not {*old} & {*living(server)}

    await eventually(are_replaced, "new workers have taken their places")
    await eventually(lambda: sum(worker_ends(server).values()) == workers, "each end counts once")
    assert worker_ends(server)["replaced"] >= 1  # the newest, at least
