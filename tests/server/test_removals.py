"""`POST /disconnect` and `/drain`: a backend sends clients away, whichever pod it asks."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from ..support.backend import SECRETS, WITH_API, Backend, backend
from ..support.clients import running_server
from ..support.dialogue import answer_to
from ..support.harness import (
    DEADLINE,
    RedisProcess,
    ServerProcess,
    close_code,
    eventually,
    receive_event,
)
from ..support.users import KNOWS_USERS, bearer

ISSUED_AT = 1_700_000_000
"""The moment in which all tokens here were issued, in seconds since 1970."""


@pytest.fixture(scope="module")
def server(own_redis: RedisProcess) -> Iterator[ServerProcess]:
    """Two workers, whose clients have tokens."""
    with running_server(workers=2, REDIS_URL=own_redis.url, **KNOWS_USERS, **WITH_API) as server:
        yield server


async def two_sessions(
    stack: AsyncExitStack, server: ServerProcess, user: str, room: str
) -> list[tuple[ClientConnection, dict[str, Any]]]:
    """A session of a user on each worker, with its welcome."""
    sessions: dict[str, tuple[ClientConnection, dict[str, Any]]] = {}
    while len(sessions) < 2:
        client = await server.connect(room, events="system", headers=bearer(user, iat=ISSUED_AT))
        welcome = await receive_event(client, "welcome")
        if welcome["pod_id"] in sessions:
            await client.close()
        else:
            stack.push_async_callback(client.close)
            sessions[welcome["pod_id"]] = client, welcome
    return list(sessions.values())


async def are_known(program: Backend, room: str, sessions: int) -> None:
    """Wait until the pod that is asked knows the other."""

    async def are() -> bool:
        return (await program.get("/room", name=room)).json()["sessions"] == sessions

    await eventually(are, "the pods know each other")


async def test_a_user(server, room):
    """All sessions but those that are spared are closed, with code and reason."""
    async with AsyncExitStack() as stack, backend(server.http) as program:
        (gone, _), (kept, welcome) = await two_sessions(stack, server, "anna", room)
        await are_known(program, room, 2)
        body = {
            "user": "anna",
            "code": 4123,
            "reason": "moved",
            "except": [welcome["client_id"]],
        }
        answer = await program.post("/disconnect", body)
        assert (answer.status_code, answer.json()) == (
            200,
            {"disconnected": 1, "complete": True, "missing": []},
        )
        assert await close_code(gone) == 4123
        assert gone.close_reason == "moved"
        await answer_to(kept, "ping")


async def test_a_session(server, room):
    """It is the one of the client ID, on whatever pod; without a code it is closed with 4000."""
    async with AsyncExitStack() as stack, backend(server.http) as program:
        sessions = await two_sessions(stack, server, "bert", room)
        await are_known(program, room, 2)
        for client, welcome in sessions:
            answer = await program.post("/disconnect", {"client_id": welcome["client_id"]})
            assert answer.json()["disconnected"] == 1
            assert await close_code(client) == 4000
        answer = await program.post("/disconnect", {"client_id": sessions[0][1]["client_id"]})
        assert answer.json()["disconnected"] == 0


async def test_revoked_tokens(server, room):
    """With `revoke` the user does not come back with the token that he has."""
    async with AsyncExitStack() as stack, backend(server.http) as program:
        sessions = await two_sessions(stack, server, "carl", room)
        await are_known(program, room, 2)
        body = {"user": "carl", "code": 4401, "revoke": True}
        assert (await program.post("/disconnect", body)).json()["disconnected"] == 2
        for client, _ in sessions:
            assert await close_code(client) == 4401
        for _ in range(8):
            with pytest.raises(InvalidStatus) as refusal:
                await server.connect(headers=bearer("carl", iat=ISSUED_AT))
            assert b"token_revoked" in refusal.value.response.body


async def test_a_drain(start_server, redis, room):
    """The pod's clients are asked elsewhere; a pod that there is not is 404."""
    server = start_server(workers=2, REDIS_URL=redis.url, **WITH_API)
    async with backend(server.http) as program:
        clients = await server.connect_to_pods(2, room)
        (leaving, goes), (_, stays) = clients.items()
        await are_known(program, room, 2)
        answer = await program.post("/drain", {"pod_id": leaving})
        assert (answer.status_code, answer.json()["found"]) == (200, True)
        assert await close_code(goes) == 1001
        assert "A backend has asked this worker to drain" in server.log
        await answer_to(stays, "ping")
        await stays.close()
    async with backend(server.http) as program:

        async def is_sure() -> bool:  # once the one that has left needs not be waited for
            answer = await program.post("/drain", {"pod_id": leaving})
            return (answer.status_code, answer.json().get("code")) == (404, "no_such_pod")

        await eventually(is_sure, "the pod is gone")


async def test_a_kick_while_others_ask(start_server, redis):
    """It waits for no question, of which as many as may be are under way for a frozen pod."""
    server, other = (
        start_server("--single-process", REDIS_URL=redis.url, **KNOWS_USERS, **WITH_API)
        for _ in range(2)
    )
    refused = asyncio.Event()

    async def ask(program: Backend) -> None:
        while True:
            if (await program.get("/rooms")).status_code == 503:
                refused.set()
                await asyncio.sleep(0.05)

    async with AsyncExitStack() as stack, backend(server.http) as program:
        clients = [
            await stack.enter_async_context(server.connect(headers=bearer(f"user-{number}")))
            for number in range(3)
        ]
        other.signal(signal.SIGSTOP)
        try:
            async with asyncio.TaskGroup() as group:
                asking = [group.create_task(ask(program)) for _ in range(8)]
                async with asyncio.timeout(DEADLINE):
                    await refused.wait()
                for number, client in enumerate(clients):
                    body = {"user": f"user-{number}", "code": 4001}
                    answer = await program.post("/disconnect", body)
                    assert (answer.status_code, answer.json()["disconnected"]) == (200, 1)
                    assert await close_code(client) == 4001
                for task in asking:
                    task.cancel()
        finally:
            other.signal(signal.SIGCONT)


async def test_new_clients_during_a_drain(start_server, redis, room):
    """They come to other workers: none is refused, nor is one that is asked elsewhere."""
    server = start_server(workers=2, REDIS_URL=redis.url, **WITH_API, CHAT_DRAIN_GRACE="6")
    async with backend(server.http) as program, AsyncExitStack() as stack:
        clients = await server.connect_to_pods(2, room)
        (leaving, goes), (_, stays) = clients.items()
        await are_known(program, room, 2)
        assert (await program.post("/drain", {"pod_id": leaving})).json()["found"]
        assert (await receive_event(goes, "drain"))["reconnect_in_ms"] >= 6000
        for _ in range(30):
            client = await stack.enter_async_context(server.connect(room, events="system"))
            assert (await receive_event(client, "welcome"))["pod_id"] != leaving
        await answer_to(goes, "ping")
        assert await close_code(goes) == 1001
        await stays.close()
        await eventually(lambda: len(server.worker_pids) == 3, "it is replaced")


async def test_a_drain_of_a_single_process(start_server, redis, room):
    """It says that it goes away to whoever comes, who may find another server."""
    server = start_server("--single-process", REDIS_URL=redis.url, **WITH_API, CHAT_DRAIN_GRACE="4")
    async with backend(server.http) as program, server.connect(room, events="system") as client:
        pod_id = (await receive_event(client, "welcome"))["pod_id"]
        assert (await program.post("/drain", {"pod_id": pod_id})).json()["found"]
        await receive_event(client, "drain")
        with pytest.raises(InvalidStatus) as refusal:
            await server.connect(room)
        assert refusal.value.response.status_code == 503
        assert await close_code(client) == 1001


@pytest.mark.parametrize("path", ["/disconnect", "/drain"])
async def test_refusals(server, path):
    """It takes a key for `admin`, and a body that says who."""
    for secret in SECRETS.values():
        async with backend(server.http, secret) as other:
            assert (await other.post(path, {"user": "anna", "pod_id": "a"})).status_code == 403
    async with backend(server.http) as program:
        for body, status, code in (
            (b"{", 400, "bad_json"),
            ({}, 400, "bad_body"),
            ({"user": "a" * 100_000}, 413, "body_too_large"),
        ):
            answer = await program.post(path, body)
            assert (answer.status_code, answer.json()["code"]) == (status, code)
