"""Connections that are still HTTP: how many there are, and which make room."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any, cast

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanic_chat.upgrade.connection_limit import SPARE_CONNECTIONS, ConnectionLimit

from ..support.clients import RawClient, running_server
from ..support.harness import RedisProcess, ServerProcess, eventually

LIMIT = 5
BOUND = LIMIT + SPARE_CONNECTIONS


# -- which ones ------------------------------------------------------------------------------


class Connection:
    """A transport and its protocol in one."""

    def __init__(self, *, is_busy: bool = False) -> None:
        self.is_busy = is_busy
        self.is_closed = False

    def get_protocol(self) -> Connection:
        return self

    def close(self) -> None:
        self.is_closed = True

    def evict(self) -> bool:
        if self.is_busy:
            return False
        self.close()
        return True


def add(limit: ConnectionLimit, connection: Connection) -> None:
    limit.add(cast(asyncio.Transport, connection))


def connections(count: int, *, is_busy: bool = False) -> list[Connection]:
    return [Connection(is_busy=is_busy) for _ in range(count)]


def test_the_oldest_goes_first() -> None:
    """Each connection beyond the bound closes the oldest, and is counted."""
    limit = ConnectionLimit(limit=LIMIT, sessions=lambda: LIMIT)
    there = connections(SPARE_CONNECTIONS + 10)
    for connection in there:
        add(limit, connection)
    assert [connection.is_closed for connection in there] == [True] * 10 + [False] * (
        SPARE_CONNECTIONS
    )
    assert limit.closed == 10


def test_free_places_of_sessions_are_for_all() -> None:
    """While there are few sessions, the places that are free hold connections too."""
    sessions = 0
    limit = ConnectionLimit(limit=LIMIT, sessions=lambda: sessions)
    for connection in connections(BOUND):
        add(limit, connection)
    assert limit.closed == 0
    sessions = 1
    add(limit, Connection())
    assert limit.closed == 1


def test_who_is_answered_stays() -> None:
    """A connection on which a request is being answered is passed over."""
    limit = ConnectionLimit(limit=LIMIT, sessions=lambda: LIMIT)
    busy, idle = connections(30, is_busy=True), connections(SPARE_CONNECTIONS - 30)
    for connection in (*busy, *idle):
        add(limit, connection)
    newer = connections(3)
    for connection in newer:
        add(limit, connection)
    assert not any(connection.is_closed for connection in (*busy, *newer))
    assert [connection.is_closed for connection in idle[:4]] == [True, True, True, False]


def test_all_others_are_answered() -> None:
    """If no other can go, the new one does, at a bounded price."""
    limit = ConnectionLimit(limit=1000, sessions=lambda: 1000)
    busy = connections(SPARE_CONNECTIONS, is_busy=True)
    for connection in busy:
        add(limit, connection)
    newest = Connection(is_busy=True)
    add(limit, newest)
    assert newest.is_closed
    assert not any(connection.is_closed for connection in busy)


def test_without_a_limit_nothing_is_kept() -> None:
    """Who sets no limit pays for none."""
    limit = ConnectionLimit(limit=0, sessions=lambda: 10**6)
    there = connections(1000)
    for connection in there:
        add(limit, connection)
    assert not any(connection.is_closed for connection in there)
    assert not limit._oldest_first


@pytest.mark.parametrize(("limit", "most"), [(0, 30), (1, 30), (1000, 30), (1, 1000)])
def test_descriptors_bound_it_too(limit: int, most: int) -> None:
    """There are no more connections than there are descriptors for, with or without a limit."""
    connection_limit = ConnectionLimit(limit=limit, sessions=lambda: 0, most=most)
    there = connections(200)
    for connection in there:
        add(connection_limit, connection)
    bound = min(most, limit + SPARE_CONNECTIONS) if limit else most
    assert connection_limit.closed == 200 - bound


@given(st.data())
def test_the_bound_holds(data: st.DataObject) -> None:
    """Whatever comes and goes, there are never more than the bound says."""
    limit, there, sessions = ConnectionLimit(limit=2, sessions=lambda: sessions), [], 0
    for _ in range(data.draw(st.integers(0, 200))):
        match data.draw(st.sampled_from(["idle", "idle", "busy", "lost", "session", "ended"])):
            case "idle" | "busy" as kind:
                connection = Connection(is_busy=kind == "busy")
                there.append(connection)
                add(limit, connection)
            case "lost" | "session" as kind if there:
                if kind == "session" and sessions < 2:
                    sessions += 1
                limit.discard(cast(Any, there.pop(data.draw(st.integers(0, len(there) - 1)))))
            case "ended" if sessions:
                sessions -= 1
        there = [connection for connection in there if not connection.is_closed]
        assert len(there) + sessions <= 2 + SPARE_CONNECTIONS
        assert set(there) == set(cast(Any, limit._oldest_first))


# -- over sockets ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(own_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(
        REDIS_URL=own_redis.url,
        CHAT_MAX_CONNECTIONS=str(LIMIT),
        CHAT_HANDSHAKE_TIMEOUT="60",
        CHAT_SUBSCRIBE_TIMEOUT="10",
    ) as server:
        yield server


async def open_idle(stack: AsyncExitStack, server: ServerProcess, count: int) -> list[RawClient]:
    return [await stack.enter_async_context(RawClient(server)) for _ in range(count)]


async def is_cut(client: RawClient) -> bool:
    try:
        return await asyncio.wait_for(client.reader.read(1), 0.05) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


@pytest.mark.parametrize(
    "begun",
    [b"", b"GET /ws HT", b"GET /health HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n"],
    ids=["silent", "begun", "without the body"],
)
async def test_idle_connections_keep_nobody_out(server: ServerProcess, begun: bytes) -> None:
    """Of twice as many silent connections as are allowed the newest stay; all else works."""
    before = server.pod()["crowded_out"]
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(server.connect("full")) for _ in range(LIMIT)]
        idle = await open_idle(stack, server, 2 * BOUND)
        for client in idle:
            client.send(begun)
        await eventually(lambda: is_cut(idle[BOUND - 1]), "the older ones are cut")
        assert not await is_cut(idle[-1])

        for path in ("health", "ready", "ws/stats"):
            assert httpx.get(f"{server.http}/{path}").status_code == 200
        async with RawClient(server) as late:
            status, _, body = await late.request()
            assert (status, json.loads(body)["code"]) == (503, "too_many_connections")
        await clients[0].send('{"data": "hello"}')
        for client in clients:
            assert "hello" in str(await client.recv())
        await clients[0].close()

        async def has_place() -> bool:
            async with RawClient(server) as newcomer:
                return (await newcomer.request())[0] == 101

        await eventually(has_place, "there is a place")
        assert server.pod()["crowded_out"] > before
    assert "Closed the oldest connection without a request" in server.log


async def test_who_waits_for_redis_stays(server: ServerProcess, own_redis: RedisProcess) -> None:
    """A handshake that is under way is not closed for an idle connection's sake."""
    async with AsyncExitStack() as stack:
        await eventually(lambda: server.pod()["connections"] == 0, "nobody is connected")
        own_redis.signal(signal.SIGSTOP)
        try:
            async with RawClient(server) as waiting:
                waiting.send(RawClient.handshake("/ws/somewhere"))
                await asyncio.sleep(0)
                idle = await open_idle(stack, server, 2 * BOUND)
                await eventually(lambda: is_cut(idle[0]), "the oldest is cut")
                own_redis.signal(signal.SIGCONT)
                assert (await waiting.answer())[0] == 101
        finally:
            own_redis.signal(signal.SIGCONT)
