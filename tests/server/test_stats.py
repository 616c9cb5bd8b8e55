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

import httpx
import pytest
import redis
from websockets.asyncio.client import ClientConnection

from sanic_chat.config.fingerprint import fingerprint
from sanic_chat.config.settings import Config
from sanic_chat.protocol.channels import RedisNames
from sanic_chat.stats.report import encode_report
from sanic_chat.version import VERSION

from ..support.clients import on_pods, receive_data, receive_until, running_server
from ..support.harness import (
    DEADLINE,
    SLOW,
    RedisProcess,
    ServerProcess,
    eventually,
    is_alive,
    receive,
    receive_event,
    wait_until,
)
from ..support.reports import pod_report
from ..support.totals import INTERVAL, answers_of_all_pods, at_rest, settled

NAMES = RedisNames("realtime")


@pytest.fixture(scope="module")
def server(own_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(
        workers=2,
        REDIS_URL=own_redis.url,
        CHAT_STATS_INTERVAL=str(INTERVAL),
        CHAT_STATS_ROOMS="3",
    ) as server:
        yield server


async def test_totals_of_known_traffic(server):
    """Connections, rooms and messages in, out and published are what clients have done."""
    tag = str(uuid4())
    both, single = f"both-{tag}", f"single-{tag}"
    async with (
        on_pods(server, 2, both) as (a, b),
        server.connect(single) as c,
        server.connect() as d,
    ):
        before = at_rest(server, pods=2, connections=4, rooms=3)  # `both` on two pods
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
            rooms=3,
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
        assert {pod["pid"] for pod in pods} == set(filter(is_alive, server.worker_pids))
        assert {pod["redis"]["subscriber"] for pod in pods} == {"up"}
    settled(server, connections=0, rooms=0)


def test_pods_that_are_alike(server):
    """Each pod tells its version, what its settings are like, and whether it asks for tokens."""
    told = {(pod["version"], pod["settings"], pod["auth"]) for pod in server.stats()["pods"]}
    [(version, settings, auth)] = told
    expected = fingerprint(Config(stats_interval=INTERVAL, stats_rooms=3))
    assert (version, settings, auth) == (VERSION, expected, False)


async def test_largest_rooms(server):
    """The largest rooms come first, by their members on all pods, and no more than asked for."""
    tag = str(uuid4())
    clients: list[ClientConnection] = []
    sizes = {f"{name}-{tag}": size for name, size in (("a", 6), ("b", 2), ("c", 4), ("d", 1))}
    for room, size in sizes.items():
        clients += await asyncio.gather(*(server.connect(room) for _ in range(size)))
    try:
        settled(server, connections=13)
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
        "--single-process",
        REDIS_URL=own_redis.url,
        CHAT_ROOMS_PER_SESSION="1000",
        CHAT_STATS_INTERVAL="5",
    )
    with redis.Redis(port=own_redis.port) as admin:
        costs = {}
        async with server.connect() as client:
            for rooms in (5, 500):
                await join_rooms(client, [f"{rooms}-{n}" for n in range(rooms)])
                costs[rooms] = await asyncio.to_thread(commands_for_a_request, server, admin)
        assert costs[5] == costs[500]
        for command, cost in {"SET": 1, "SADD": 1, "PEXPIRE": 1, "SMEMBERS": 1}.items():
            assert costs[5].pop(command) == cost
        assert costs[5].keys() == {"GETRANGE"}  # for each pod
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
    commands = Counter(text.split()[0].upper() for p, text in seen if p == port)
    del commands["PING"]  # the link's own
    return commands


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

        await eventually(gone, "the killed pod is gone")
        assert time.monotonic() - killed < SLOW * 10
        await asyncio.to_thread(settled, server, pods=2, connections=1)
        for client in (a, b):
            client.transport.abort()


async def test_incomplete_without_redis(start_server):
    """Without Redis a pod answers for itself, soon, and says that this is not all."""
    process = RedisProcess()
    try:
        process.start()
        server = start_server("--single-process", REDIS_URL=process.url)
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


async def test_stopped_server_leaves_at_once(start_server, own_redis):
    """A server that stops in order takes its reports along."""
    server = start_server(
        "--single-process", REDIS_URL=own_redis.url, POD_ID="leaving", CHAT_STATS_INTERVAL="5"
    )
    with redis.Redis(port=own_redis.port) as admin:
        wait_until(lambda: list(admin.scan_iter("realtime:pod:leaving-*")), "the pod reports")
        server.stop()
        assert not list(admin.scan_iter("realtime:pod:leaving-*"))


# -- reports of others -------------------------------------------------------------------------


@pytest.fixture
def admin(own_redis: RedisProcess) -> Iterator[redis.Redis]:
    """A Redis client that is no pod, and leaves no report behind."""
    with redis.Redis(port=own_redis.port) as admin:
        yield admin
        for key in admin.scan_iter("realtime:pod:stranger*"):
            admin.delete(key)


def put_reports(admin: redis.Redis, reports: dict[bytes, bytes]) -> None:
    """Let there be these texts in the place of pods' reports."""
    with admin.pipeline(transaction=False) as pipeline:
        for pod_id, text in reports.items():
            pipeline.set(b"realtime:pod:" + pod_id, text, ex=60)
            pipeline.sadd("realtime:pods", pod_id)
        pipeline.execute()


UNREADABLE = {
    b"stranger-text": b"I am a pod, too",
    b"stranger-null": b"null",
    b"stranger-shape": b'{"pod_id": "stranger-shape", "connections": 5}',
    b"stranger-types": encode_report(pod_report("stranger-types")).replace(b":0", b':"0"'),
    b"stranger-rooms": encode_report(pod_report("stranger-rooms")).replace(
        b'"rooms":0', b'"rooms":-1'
    ),
    b"stranger-named-otherwise": encode_report(pod_report("stranger-x", connections=7)),
    b"stranger-\xff": encode_report(pod_report("stranger-y", connections=7)),
}


def test_unreadable_reports(server, admin):
    """What cannot be read is counted, logged once, and left out; all else is answered."""
    settled(server, pods=2, connections=0)
    log_before = len(server.log)
    put_reports(admin, UNREADABLE)
    admin.hset("realtime:pod:stranger-hash", "a", "b")  # not even a text: nobody's report
    admin.set("realtime:pod:stranger-empty", "")
    gone = ("stranger-hash", "stranger-empty", "stranger-that-is-gone")
    admin.sadd("realtime:pods", *gone)

    def said() -> list[str]:
        log = server.log[log_before:]
        return [line for line in log.splitlines() if " out of the stats" in line]

    # One that has just said so of another test's reports waits for a second.
    wait_until(lambda: answers_of_all_pods(server) and len(said()) == 2, "each of two pods says it")
    for answer in [answer for _ in range(5) for answer in answers_of_all_pods(server)]:
        assert answer["unreadable_pods"] == len(UNREADABLE)
        assert answer["complete"] is False
        assert answer["totals"]["pods"] == len(answer["pods"]) == 2
        assert answer["totals"]["connections"] == 0
    assert len(said()) == 2  # each says it once
    assert all(f"Left {len(UNREADABLE)} reports" in line and "stranger" in line for line in said())
    assert not any(admin.smismember("realtime:pods", gone))
    for pod_id in UNREADABLE:
        admin.delete(b"realtime:pod:" + pod_id)
    for answer in answers_of_all_pods(server):
        assert (answer["unreadable_pods"], answer["complete"]) == (0, True)
    assert server.log[log_before:].count("The reports of all pods can be read") == 2
    assert not [pod_id for pod_id in admin.smembers("realtime:pods") if b"stranger" in pod_id]


def test_reports_of_other_versions(server, admin):
    """While versions change, pods of both count: fields that are missing or new do not matter."""
    settled(server, pods=2, connections=0)
    older = pod_report("stranger-older", connections=2, rooms=2, largest_rooms={"old": 2})
    newer = pod_report("stranger-newer", connections=3, rooms=1)
    newer_text = encode_report(newer).replace(b"{", b'{"moods":{"good":1},', 1)
    older_text = encode_report(older).replace(b"{", b'{"room_sample":{"level":1,"hashes":[1]},', 1)
    put_reports(admin, {b"stranger-older": older_text, b"stranger-newer": newer_text})
    for answer in answers_of_all_pods(server):
        assert (answer["unreadable_pods"], answer["complete"]) == (0, True)
        totals = answer["totals"]
        assert (totals["pods"], totals["connections"], totals["rooms"]) == (4, 5, 3)
        assert answer["largest_rooms"] == [{"room": "old", "members": 2}]
        entries = {pod["pod_id"]: pod for pod in answer["pods"]}
        assert entries["stranger-older"] == older.entry()
        assert entries["stranger-newer"] == newer.entry()


def test_many_pods(server, admin):
    """A thousand pods are read in batches, and all of them count."""
    settled(server, pods=2, connections=0)
    pods, rooms = 1000, 50
    put_reports(
        admin,
        {
            b"stranger-%d" % pod: encode_report(
                pod_report(
                    f"stranger-{pod}",
                    connections=pod,
                    largest_rooms={f"room-{number}": 1 for number in range(rooms)},
                    rooms=rooms,
                )
            )
            for pod in range(pods)
        },
    )
    before = admin.info("commandstats")["cmdstat_getrange"]["calls"]
    stats = server.stats()
    assert admin.info("commandstats")["cmdstat_getrange"]["calls"] - before == pods + 2
    assert stats["complete"] is True
    assert stats["totals"]["pods"] == pods + 2
    assert stats["totals"]["connections"] == sum(range(pods))
    assert stats["totals"]["rooms"] == pods * rooms
    assert stats["largest_rooms"] == [
        {"room": f"room-{number}", "members": pods} for number in (0, 1, 10)
    ]


def test_refused_reports_are_said(start_server, own_redis, admin):
    """When Redis does not take the reports the log says why, once, and when it is over."""
    admin.delete("realtime:pods")
    admin.set("realtime:pods", "something else")
    server = start_server(
        "--single-process", REDIS_URL=own_redis.url, CHAT_STATS_INTERVAL=str(INTERVAL)
    )
    refused = admin.info("commandstats")["cmdstat_sadd"]["failed_calls"]

    def refused_often() -> bool:
        return admin.info("commandstats")["cmdstat_sadd"]["failed_calls"] >= refused + 20

    wait_until(refused_often, "the report was refused again and again")
    assert server.log.count("refuses to keep the stats: WRONGTYPE") == 1
    stats = server.stats()
    assert stats["complete"] is False
    assert [pod["pod_id"] for pod in stats["pods"]] == [stats["answered_by"]]
    admin.delete("realtime:pods")
    wait_until(lambda: server.stats()["complete"], "the stats are complete again")
    wait_until(lambda: "no longer refuses to keep the stats" in server.log, "the end is said")
    server.stop()


def test_a_report_of_any_size(server, admin):
    """No more of a stranger's text is read than a report can have, and all others count."""
    settled(server, pods=2, connections=0)
    put_reports(admin, {b"stranger-large": b" " * 80 * 2**20})
    before = admin.info("stats")["total_net_output_bytes"]
    stats = server.stats()
    assert (stats["unreadable_pods"], stats["totals"]["pods"]) == (1, 2)
    assert admin.info("stats")["total_net_output_bytes"] - before < 2**20
    admin.delete("realtime:pod:stranger-large")
    settled(server, pods=2)


# -- when many ask -----------------------------------------------------------------------------


async def ask_at_once(server: ServerProcess, requests: int) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(timeout=DEADLINE) as client:
        answers = await asyncio.gather(
            *(client.get(f"{server.http}/ws/stats") for _ in range(requests))
        )
    return [answer.json() for answer in answers]


async def test_what_many_ask_is_read_once(server, admin):
    """A burst of requests is answered over one connection a pod, and with few commands."""
    await asyncio.to_thread(settled, server, pods=2)
    before = admin.info("commandstats")["cmdstat_smembers"]["calls"]
    answers = await ask_at_once(server, 150)
    assert {answer["complete"] for answer in answers} == {True}
    assert admin.info("commandstats")["cmdstat_smembers"]["calls"] - before < 75
    names = Counter(client["name"] for client in admin.client_list())
    for answer in answers:
        assert names[f"sanic_chat:{answer['answered_by']}:stats"] == 1
    assert names[""] == 1  # that of this test: all of a pod have a name


async def test_a_client_who_leaves_spoils_no_answer(server):
    """Who gives up waiting for the stats ends his own request, and not that of the others."""
    async with httpx.AsyncClient(timeout=DEADLINE) as client:
        asking = [asyncio.create_task(client.get(f"{server.http}/ws/stats")) for _ in range(40)]
        await asyncio.sleep(0)
        for request in asking[::2]:
            request.cancel()
        for request in asking[1::2]:
            assert (await request).status_code == 200
