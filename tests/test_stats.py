"""The stats: the truth about the whole cluster, whichever pod is asked."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis
from websockets.asyncio.client import ClientConnection

from sanic_chat.reporter import Reporter
from sanic_chat.stats import StatsStore

from .clients import on_pods, receive_data, receive_until, running_server
from .harness import (
    DEADLINE,
    RedisProcess,
    ServerProcess,
    eventually,
    receive,
    receive_event,
    wait_until,
)

INTERVAL = 0.2


@pytest.fixture(scope="module")
def server(own_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(
        workers=2,
        REDIS_URL=own_redis.url,
        CHAT_STATS_INTERVAL=str(INTERVAL),
        CHAT_STATS_ROOMS="3",
    ) as server:
        yield server


def answers_of_all_pods(server: ServerProcess, pods: int = 2) -> list[dict[str, Any]]:
    """One answer of each pod, without much time between them."""
    answers: dict[str, dict[str, Any]] = {}

    def all_answered() -> bool:
        stats = server.stats()
        answers[stats["answered_by"]] = stats
        return len(answers) == pods

    wait_until(all_answered, f"{pods} pods have answered")
    return list(answers.values())


def settled(server: ServerProcess, **expected: Any) -> dict[str, Any]:
    """The totals, once they say what is expected; every pod says the same then."""
    deadline = time.monotonic() + DEADLINE
    while not expected.items() <= (totals := server.stats()["totals"]).items():
        assert time.monotonic() < deadline, f"not {expected}, but {totals}"
        time.sleep(INTERVAL / 4)
    first, *others = [answer["totals"] for answer in answers_of_all_pods(server)]
    for other in others:
        assert other == first
    return first


def at_rest(server: ServerProcess, **expected: Any) -> dict[str, Any]:
    """The totals, once they say what is expected and have not changed for three reports."""
    totals = settled(server, **expected)
    same_since = time.monotonic()
    deadline = same_since + DEADLINE
    while time.monotonic() - same_since < 3 * INTERVAL:
        assert time.monotonic() < deadline, "the totals never rest"
        time.sleep(INTERVAL / 4)
        if (now := server.stats()["totals"]) != totals:
            totals, same_since = now, time.monotonic()
    return totals


async def test_totals_of_known_traffic(server):
    """Connections, rooms and messages in, out and published are what clients have done."""
    tag = str(uuid4())
    both, single = f"both-{tag}", f"single-{tag}"
    async with (
        on_pods(server, 2, both) as (a, b),
        server.connect(single) as c,
        server.connect() as d,
    ):
        before = at_rest(server, pods=2, connections=4, rooms=2)
        for number in range(10):
            await a.send(json.dumps({"data": number}))  # 2 receive it
        await b.send(json.dumps({"data": "to all", "room": None}))  # 4 receive it
        await c.send(json.dumps({"data": "alone"}))  # 1 receives it
        await d.send("nonsense")
        await a.send(json.dumps({"data": 1, "room": single}))
        await receive_data(a, "to all")
        await receive_until(b, 9)
        await receive_data(c, "alone")
        await receive(d)

        after = settled(
            server,
            pods=2,
            connections=4,
            rooms=2,
            rooms_exact=True,
            messages_in=before["messages_in"] + 12,
            messages_out=before["messages_out"] + 10 * 2 + 4 + 1,
            messages_published=before["messages_published"] + 12,
        )
        dropped = {
            reason: count - before["messages_dropped"].get(reason, 0)
            for reason, count in after["messages_dropped"].items()
        }
        assert dropped == {"bad_json": 1, "not_in_room": 1}
        largest = server.stats()["largest_rooms"]
        assert largest == [{"room": both, "members": 2}, {"room": single, "members": 1}]
        pods = server.stats()["pods"]
        assert sum(pod["connections"] for pod in pods) == 4
        assert {pod["pid"] for pod in pods} == set(server.worker_pids)
        assert {pod["redis"]["subscriber"] for pod in pods} == {"up"}
    settled(server, connections=0, rooms=0)


async def test_largest_rooms(server):
    """The largest rooms come first, by their members on all pods, and no more than asked for."""
    tag = str(uuid4())
    clients: list[ClientConnection] = []
    sizes = {f"{name}-{tag}": size for name, size in (("a", 6), ("b", 2), ("c", 4), ("d", 1))}
    for room, size in sizes.items():
        clients += await asyncio.gather(*(server.connect(room) for _ in range(size)))
    try:
        settled(server, connections=13, rooms=4)
        for answer in answers_of_all_pods(server):
            assert answer["largest_rooms"] == [
                {"room": f"{name}-{tag}", "members": size}
                for name, size in (("a", 6), ("c", 4), ("b", 2))
            ]
    finally:
        await asyncio.gather(*(client.close() for client in clients))


async def join_rooms(client: ClientConnection, rooms: list[str], action: str = "join") -> None:
    for room in rooms:
        await client.send(json.dumps({"type": "system", "data": {"action": action, "room": room}}))
    for _ in rooms:
        await receive(client)


async def test_few_commands_however_many_rooms(start_server, own_redis):
    """One stats request costs a handful of Redis commands, as many with 500 rooms as with 5."""
    server = start_server(
        REDIS_URL=own_redis.url, CHAT_ROOMS_PER_SESSION="1000", CHAT_STATS_INTERVAL="5"
    )
    with redis.Redis(port=own_redis.port) as admin:
        costs = {}
        async with server.connect() as client:
            for rooms in (5, 500):
                await join_rooms(client, [f"{rooms}-{n}" for n in range(rooms)])
                costs[rooms] = await asyncio.to_thread(commands_for_a_request, server, admin)
        assert costs[5] == costs[500]
        assert 1 <= sum(costs[5].values()) <= 6
    server.stop()


def commands_for_a_request(server: ServerProcess, admin: redis.Redis) -> Counter[str]:
    """The Redis commands that a stats request causes, by name."""
    pod_id = server.stats()["answered_by"]
    marker = str(uuid4())
    seen: list[tuple[str, str]] = []
    with admin.monitor() as monitor:
        server.stats()
        admin.get(marker)
        for command in monitor.listen():
            if marker in command["command"]:
                break
            seen.append((command["client_port"], command["command"]))
    # Other servers report to this Redis too: count what came on this pod's connection.
    [port] = {port for port, text in seen if f"SET realtime:pod:{pod_id} " in text}
    return Counter(text.split()[0].upper() for p, text in seen if p == port)


async def test_killed_pod_leaves_the_totals(server):
    """A pod that was killed is out of the totals within 10 s, and its worker is replaced."""
    async with on_pods(server, 2) as (a, b):
        settled(server, pods=2, connections=2)
        victim = server.stats()["pods"][0]
        os.kill(victim["pid"], signal.SIGKILL)
        killed = time.monotonic()

        def gone() -> bool:
            stats = server.stats()
            return victim["pod_id"] not in [pod["pod_id"] for pod in stats["pods"]]

        await eventually(gone, "the killed pod is gone", 10)
        assert time.monotonic() - killed < 10
        await asyncio.to_thread(settled, server, pods=2, connections=1)
        for client in (a, b):
            client.transport.abort()


async def test_incomplete_without_redis(start_server):
    """Without Redis a pod answers for itself, soon, and says that this is not all."""
    process = RedisProcess()
    try:
        process.start()
        server = start_server(REDIS_URL=process.url)
        async with server.connect("lobby", events="system") as client:
            assert server.stats()["complete"] is True
            process.kill()
            await receive_event(client, "degraded")
            started = time.monotonic()
            stats = server.stats()
            assert time.monotonic() - started < DEADLINE / 4
            assert stats["complete"] is False
            assert stats["totals"]["connections"] == 1
            assert stats["largest_rooms"] == [{"room": "lobby", "members": 1}]
            [pod] = stats["pods"]
            assert pod["pod_id"] == stats["answered_by"]
            assert pod["redis"]["subscriber"] == pod["redis"]["publisher"] == "connecting"
            assert pod["redis"]["subscribed"] is False
            process.start()
            await eventually(lambda: server.stats()["complete"], "the stats are complete again")
        server.stop()
    finally:
        process.close()


async def test_reporter_closes_at_any_moment(own_redis):
    """Whatever the reporter is about to do when it is closed, it ends, and takes its report off."""
    for turns in range(1, 60):
        store = StatsStore(own_redis.url, interval=5, timeout=5)
        reporter = Reporter(store, report=lambda: {"pod_id": "closing"}, interval=60, rooms=1)
        reporter.start()
        for _ in range(turns):
            await asyncio.sleep(0)
        await asyncio.wait_for(reporter.close(1), 5)
    with redis.Redis(port=own_redis.port) as admin:
        assert not admin.exists("realtime:pod:closing")


async def test_stopped_server_leaves_at_once(start_server, own_redis):
    """A server that stops in order takes its reports along."""
    server = start_server(REDIS_URL=own_redis.url, POD_ID="leaving", CHAT_STATS_INTERVAL="5")
    with redis.Redis(port=own_redis.port) as admin:
        wait_until(lambda: list(admin.scan_iter("realtime:pod:leaving-*")), "the pod reports")
        server.stop()
        assert not list(admin.scan_iter("realtime:pod:leaving-*"))
