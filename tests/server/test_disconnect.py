"""Clients that are disconnected on behalf of a backend, by pods that are real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from sanic_chat.cluster.asking import PATIENCE_SECONDS
from sanic_chat.pod.pod import Pod

from ..support.clients import RawClient, running_server
from ..support.dialogue import answer_to
from ..support.harness import (
    RedisProcess,
    ServerProcess,
    StartServer,
    close_code,
    eventually,
    receive_event,
)
from ..support.pods import running_pods
from ..support.proxy import TcpProxy
from ..support.users import KNOWS_USERS, bearer, token

KICKED = 4001
SOON = PATIENCE_SECONDS
"""Less than who waits for a pod that is missing."""


@pytest.fixture(scope="module")
def server(own_redis: RedisProcess) -> Iterator[ServerProcess]:
    """Two workers, whose clients have tokens."""
    with running_server(
        workers=2, REDIS_URL=own_redis.url, CHAT_LOG_CLIENTS="1", **KNOWS_USERS
    ) as server:
        yield server


@pytest.fixture
async def pod(server: ServerProcess, own_redis: RedisProcess) -> AsyncIterator[Pod]:
    """A pod without clients, which knows those of the server."""
    async with running_pods(own_redis, 1, **KNOWS_USERS) as [pod]:
        await eventually(lambda: len(pod.control.living()) == 2, "it has heard both")
        yield pod


async def sessions_of(
    stack: AsyncExitStack, server: ServerProcess, user: str, pods: int = 2, **claims: Any
) -> dict[str, ClientConnection]:
    """A session of a user on each worker, by pod ID."""
    clients: dict[str, ClientConnection] = {}
    while len(clients) < pods:
        connection = server.connect(events="system", headers=bearer(user, **claims))
        client = await stack.enter_async_context(connection)
        clients.setdefault((await receive_event(client, "welcome"))["pod_id"], client)
    return clients


async def test_on_all_workers(server: ServerProcess, pod: Pod) -> None:
    """Each session of the user is told code and reason; the log and the metrics know that end."""
    async with AsyncExitStack() as stack:
        clients = await sessions_of(stack, server, "anna")
        others = await sessions_of(stack, server, "bert")
        began = time.monotonic()
        outcome = await pod.cluster.removals.disconnect(
            user="anna", code=KICKED, reason="you are banned"
        )
        assert time.monotonic() - began < SOON
        assert outcome.disconnected >= 2
        assert outcome.complete
        for client in clients.values():
            assert await close_code(client) == KICKED
            assert client.close_reason == "you are banned"
        for client in others.values():
            await answer_to(client, "ping")
    for told in ("closed by backend: 4001", "by a backend, with 4001"):
        await eventually(lambda t=told: f"{t} 'you are banned'" in server.log, "the log tells it")

    def counted() -> bool:
        metrics = server.get("/metrics").text
        return 'code="4000-4999",reason="backend"} ' in metrics

    await eventually(counted, "the metrics count it")


async def test_a_handshake_while_redis_stands_still(
    server: ServerProcess, pod: Pod, own_redis: RedisProcess, room: str
) -> None:
    """Who waits for its room when its user is disconnected is not connected afterwards."""
    path = f"/api/chat-api/ws/{room}"
    headers = {"Authorization": bearer("carl")["Authorization"]}
    async with Redis(port=own_redis.port) as admin, AsyncExitStack() as stack:
        await admin.client_pause(500)
        waiting = [await stack.enter_async_context(RawClient(server)) for _ in range(8)]
        for client in waiting:
            client.send(RawClient.handshake(path, **headers))
        await asyncio.sleep(0.1)  # they have arrived, and Redis says nothing yet
        outcome = await pod.cluster.removals.disconnect(user="carl", code=KICKED, reason="out")
        assert outcome.complete
        for client in waiting:
            status, _, _ = await client.answer()
            assert status == 101
            assert await client.close_code() == KICKED
        assert not (await pod.cluster.directory.user("carl")).sessions
        async with server.connect(room, headers=headers) as later:
            await answer_to(later, "ping")


async def test_a_frozen_worker(own_redis: RedisProcess, start_server: StartServer) -> None:
    """It is missing, by its ID, after a second; and does what was asked as soon as it goes on."""
    server = start_server("--single-process", REDIS_URL=own_redis.url, CHAT_REDIS_PREFIX="frozen")
    async with (
        running_pods(own_redis, 1, CHAT_REDIS_PREFIX="frozen") as [pod],
        server.connect(events="system") as client,
    ):
        welcome = await receive_event(client, "welcome")
        user, pod_id = welcome["user"], welcome["pod_id"]
        await eventually(lambda: pod.control.living() == {pod_id}, "the worker is heard")
        os.kill(server.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            outcome = await pod.cluster.removals.disconnect(user=user, code=KICKED)
            seconds = time.monotonic() - began
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert (outcome.complete, outcome.missing, outcome.disconnected) == (False, [pod_id], 0)
        assert seconds >= PATIENCE_SECONDS
        assert await close_code(client) == KICKED
        await eventually(lambda: pod.dropped["late_answer"] == 1, "its answer came late")
        began = time.monotonic()
        assert (await pod.cluster.directory.rooms()).complete
        assert time.monotonic() - began < SOON


async def test_a_worker_that_was_cut_off(
    own_redis: RedisProcess, start_server: StartServer
) -> None:
    """It does what it has missed when it is back, and leaves alone who has come since."""
    names = {"CHAT_REDIS_PREFIX": "cut", **KNOWS_USERS}
    with TcpProxy(own_redis.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        server = start_server("--single-process", REDIS_URL=url, **names)
        async with running_pods(own_redis, 1, **names) as [pod], AsyncExitStack() as stack:
            await eventually(pod.control.living, "the worker is heard")
            [early] = (await sessions_of(stack, server, "edith", pods=1)).values()
            with proxy.refusing():
                await eventually(lambda: not pod.control.living(), "it counts as gone")
                outcome = await pod.cluster.removals.disconnect(
                    user="edith", code=KICKED, reason="out"
                )
                assert (outcome.disconnected, outcome.complete) == (0, True)
                await asyncio.sleep(PATIENCE_SECONDS)  # so long the answer may take that tells it
                [late] = (await sessions_of(stack, server, "edith", pods=1)).values()
            assert await close_code(early) == KICKED
            assert early.close_reason == "out"
            await answer_to(late, "ping")


async def test_workers_that_have_left(own_redis: RedisProcess, start_server: StartServer) -> None:
    """A server that has stopped is not waited for, not even right after its end."""
    names = {"REDIS_URL": own_redis.url, "CHAT_REDIS_PREFIX": "left"}
    server = start_server(workers=2, **names)
    async with running_pods(own_redis, 1, CHAT_REDIS_PREFIX="left") as [pod]:
        await eventually(lambda: len(pod.control.living()) == 2, "the workers are heard")
        async with Redis(port=own_redis.port) as client, client.pubsub() as listener:
            await listener.psubscribe("*")
            await asyncio.to_thread(server.stop)
            began = time.monotonic()
            outcome = await pod.cluster.directory.rooms()
            assert time.monotonic() - began < SOON
        assert (outcome.complete, outcome.missing) == (True, [])


async def test_revoked_tokens(
    server: ServerProcess, pod: Pod, own_redis: RedisProcess, start_server: StartServer
) -> None:
    """They are refused on every pod, also on one that starts later; newer ones are not."""
    old, now = int(time.time()) - 60, time.time()
    async with AsyncExitStack() as stack:
        clients = await sessions_of(stack, server, "dora", iat=old)
        kept = await stack.enter_async_context(
            server.connect(events="system", headers=bearer("dora", iat=old))
        )
        client_id = (await receive_event(kept, "welcome"))["client_id"]
        await pod.cluster.removals.disconnect(
            user="dora", code=4401, reason="changed", spared=[client_id], revoke=True
        )
        for client in clients.values():
            assert await close_code(client) == 4401
        later = start_server("--single-process", REDIS_URL=own_redis.url, **KNOWS_USERS)
        for each in (server, server, server, server, later):
            with pytest.raises(InvalidStatus) as refusal:
                await each.connect(headers=bearer("dora", iat=old))
            assert refusal.value.response.status_code == 401
            assert b"token_revoked" in refusal.value.response.body
            with pytest.raises(InvalidStatus):
                await each.connect(headers=bearer("dora"))
            async with each.connect(headers=bearer("dora", iat=now + 1)) as client:
                await answer_to(client, "ping")
        error = await answer_to(kept, "auth", token=token("dora", iat=old))
        assert error["code"] == "unauthorized"
        assert "revoked" in error["message"]


async def test_a_drain(own_redis: RedisProcess, start_server: StartServer) -> None:
    """The clients of one worker are asked elsewhere, and it is replaced; the other stays."""
    names = {"REDIS_URL": own_redis.url, "CHAT_REDIS_PREFIX": "drain"}
    server = start_server(workers=2, **names, CHAT_DRAIN_TIMEOUT="5")
    clients = await server.connect_to_pods(2)
    (leaving, goes), (staying, stays) = clients.items()
    async with running_pods(own_redis, 1, CHAT_REDIS_PREFIX="drain") as [pod]:
        await eventually(lambda: pod.control.living() == {leaving, staying}, "both are heard")
        outcome = await pod.cluster.removals.drain(leaving)
        assert (outcome.found, outcome.complete) == (True, True)
        await receive_event(goes, "drain")
        assert await close_code(goes) == 1001
        await eventually(lambda: len(server.worker_pids) == 3, "it is replaced")
        await eventually(lambda: leaving not in pod.control.living(), "it has said goodbye")
        await answer_to(stays, "ping")
        await stays.close()
