"""The metrics: one scrape of any worker tells of the whole server, whatever happens to it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from uuid import uuid4

import httpx
import pytest
from websockets.asyncio.client import ClientConnection

from sanic_chat.pod.sampler import INTERVAL_SECONDS
from sanic_chat.presence.presence import WINDOW_SECONDS

from ..support.clients import RawClient, on_pods, receive_data, running_server
from ..support.harness import (
    DEADLINE,
    NO_TLS,
    RedisProcess,
    ServerProcess,
    StartServer,
    close_code,
    eventually,
    receive,
    wait_until,
)
from ..support.metrics import Scrape, scrape, worker_ends

SCRAPES = 20
"""How many ask at once."""
SILENT = 3.0
"""Seconds after which a process that writes nothing is told apart from a busy one."""


@pytest.fixture(scope="module")
def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    """One with nowhere to put a file, which no metric needs on Linux."""
    with running_server(workers=2, REDIS_URL=shared_redis.url, TMPDIR="/nowhere") as server:
        yield server


def scrapes(server: ServerProcess, count: int = SCRAPES) -> list[Scrape]:
    """What so many who ask at once are answered."""
    with ThreadPoolExecutor(count) as ask:
        return list(ask.map(lambda _: scrape(server), range(count)))


def answered_by(scrape: Scrape) -> str:
    """The worker that answered: it has written right then."""
    ages = scrape.by_label("snapshot_age_seconds", "worker")
    return min(ages, key=ages.__getitem__)


def scrapes_by_all(server: ServerProcess, workers: int = 2) -> list[Scrape]:
    """An answer of each worker."""
    answers: dict[str, Scrape] = {}

    def all_answered() -> bool:
        answers.update((answered_by(one), one) for one in scrapes(server, 4))
        return len(answers) >= workers

    wait_until(all_answered, f"{workers} workers have answered")
    return list(answers.values())


def of_messages(scrape: Scrape) -> dict[str, float]:
    """What was counted of messages, by all workers."""
    names = ("messages_received_total", "deliveries_total", "publishes_total", "fan_outs_total")
    return {name: scrape.sum(name) for name in names}


async def at_rest(server: ServerProcess) -> Scrape:
    """What is told once joins and leaves are announced, and nothing has changed for a while."""
    found, since = scrape(server), time.monotonic()
    while time.monotonic() - since < 4 * WINDOW_SECONDS:
        await asyncio.sleep(WINDOW_SECONDS / 2)
        if of_messages(now := scrape(server)) != of_messages(found):
            found, since = now, time.monotonic()
    return found


def slot_of(scrape: Scrape, pid: int) -> str:
    """The label of a worker, by its PID."""
    [slot] = [slot for slot, it in scrape.by_label("process_pid", "worker").items() if it == pid]
    return slot


async def say(client: ClientConnection, count: int, **more: object) -> None:
    for number in range(count):
        await client.send(json.dumps({"data": number, **more}))


async def test_messages_count_exactly(server: ServerProcess):
    """However many ask at once, and whom, all are told the same, and that is what was said."""
    room = f"room-{uuid4()}"
    async with on_pods(server, 2, room) as (one, other):
        before = await at_rest(server)
        await asyncio.gather(say(one, 70), say(other, 30))
        for client in (one, other):
            for _ in range(100):
                await receive(client)
        expected = of_messages(before)
        for name, more in zip(expected, (100, 200, 100, 200), strict=True):
            expected[name] += more
        await eventually(
            lambda: all(of_messages(one) == expected for one in scrapes_by_all(server)),
            f"everybody tells {expected}",
        )
        assert all(of_messages(one) == expected for one in scrapes(server))


async def test_no_sum_ever_goes_back(server: ServerProcess):
    """Who asks now this worker, now that one, while messages come, sees counters only grow."""
    room = f"room-{uuid4()}"
    async with on_pods(server, 2, room) as (one, other):

        async def talk(client: ClientConnection) -> None:
            while True:
                await say(client, 5)
                await asyncio.sleep(0.01)

        talking = [asyncio.create_task(talk(client)) for client in (one, other)]
        last: dict[str, float] = {}
        asked: set[str] = set()
        deadline = time.monotonic() + DEADLINE
        count = 0
        while count < 30 or len(asked) < 2:
            assert time.monotonic() < deadline, asked
            now = await asyncio.to_thread(scrape, server)
            asked.add(answered_by(now))
            sums = of_messages(now)
            assert all(sums[name] >= value for name, value in last.items()), (last, sums)
            last = sums
            count += 1
        for task in talking:
            task.cancel()
        await asyncio.wait(talking)


async def test_what_is_told_of_clients(server: ServerProcess):
    """Handshakes, refusals and closes are counted, by code, where they happen."""

    def counts(found: Scrape) -> dict[str, float]:
        return {
            "opened": found.sum("handshake_seconds_count"),
            "left": found.sum("closes_total", code="1000", reason="client"),
            "theirs": found.sum("closes_total", code="4000-4999", reason="client"),
            "violated": found.sum("closes_total", code="1003", reason="server"),
            "lost": found.sum("closes_total", code="1006", reason="nobody"),
            "bad_room": found.sum("upgrades_refused_total", code="bad_room"),
            "bad_json": found.sum("messages_dropped_total", reason="bad_json"),
        }

    async def settled() -> list[dict[str, float]]:
        """What all tell, if it is the same, and a snapshot of each worker later too."""
        told = [counts(one) for one in scrapes_by_all(server)]
        await asyncio.sleep(1.2)
        again = [counts(one) for one in scrapes_by_all(server)]
        return again if told == again == [again[0]] * 2 else []

    before = (await eventually(settled, "nothing of the tests before is told any more"))[0]
    async with server.connect() as client:
        await client.send("nonsense")
        await receive(client)
    client = await server.connect()
    await client.close(4321)
    client = await server.connect()
    await client.send(b"binary")
    await client.wait_closed()
    client = await server.connect()
    client.transport.abort()
    async with RawClient(server) as raw:
        assert (await raw.request("/ws?room=a%2Ab"))[0] == 400
    expected = {"opened": 4, **dict.fromkeys(list(before)[1:], 1)}

    def told() -> list[dict[str, float]]:
        return [
            {name: count - before[name] for name, count in counts(one).items()}
            for one in scrapes_by_all(server)
        ]

    await eventually(lambda: told() == [expected] * 2, f"{expected} more are told")
    found = scrape(server)
    assert found.sum("handshake_seconds_sum") < DEADLINE
    assert found.sum("connections") == 0


async def test_what_is_told_of_the_machine(server: ServerProcess):
    """The main process and both workers: their PIDs, memory, CPU, descriptors and links."""
    found = scrape(server)
    pids = found.by_label("process_pid", "worker")
    assert pids.pop("main") == server.pid
    assert set(pids.values()) == set(server.worker_pids)
    for name in ("process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"):
        values = found.by_label(name, "worker")
        assert set(values) == {*pids, "main"}
        assert all(value > 0 for value in values.values())
    await eventually(lambda: scrape(server).sum("ready") == 2, "both are ready")
    found = scrape(server)
    assert found.by_label("redis_link_up", "direction") == {"publish": 2, "subscribe": 2}
    assert (found.sum("unready"), found.sum("redis_outage")) == (0, 0)
    assert (found.value("workers"), found.value("workers_wanted")) == (2, 2)
    await eventually(
        lambda: all(scrape(server).values("proof_round_trip_seconds_count")), "both are proven"
    )
    assert all(value < SILENT for value in scrape(server).values("proof_age_seconds"))
    await eventually(
        lambda: scrape(server).sum("event_loop_lag_seconds_count") > 20, "the loops are watched"
    )


@asynccontextmanager
async def told_apart(server: ServerProcess) -> AsyncIterator[tuple[list[ClientConnection], Scrape]]:
    """A client on each worker, each with ten messages to itself, and a scrape that counts them."""
    async with on_pods(server, 2) as clients:
        for client in clients:
            text = json.dumps({"type": "system", "data": {"action": "join", "room": str(uuid4())}})
            await client.send(text)
            room = (await receive(client))["data"]["room"]
            await say(client, 10, room=room)
            await receive_data(client, 9)

        def counted() -> Scrape | None:
            found = scrape(server)
            each = found.values("messages_received_total")
            return found if len(each) == 2 and min(each) >= 10 else None

        yield clients, await eventually(counted, "both have counted")


async def test_a_killed_worker(start_server: StartServer, shared_redis: RedisProcess):
    """Its counters begin anew under the label that it had, and the other's go on."""
    server = start_server(workers=2, REDIS_URL=shared_redis.url)
    async with told_apart(server) as (_, before):
        victim = server.worker_pids[0]
        slot = slot_of(before, victim)
        [other] = {"0", "1"} - {slot}
        os.kill(victim, signal.SIGKILL)
        await eventually(
            lambda: set(scrape(server).by_label("ready", "worker")) == {other},
            "the dead one is told of no more",
        )
        await eventually(lambda: scrape(server).value("workers") == 2, "there is a new one")
    await asyncio.to_thread(server.wait_ready, 3)
    after = scrapes_by_all(server)
    for found in after:
        assert slot_of(found, server.worker_pids[-1]) == slot
        assert found.value("messages_received_total", worker=slot) == 0
        assert found.value("messages_received_total", worker=other) >= 10
        assert found.value("connections", worker=slot) == 0
    await eventually(lambda: worker_ends(server) == {"died": 1}, "the main process tells it")


async def test_a_draining_worker(start_server: StartServer, shared_redis: RedisProcess):
    """Old workers count until they are gone, beside their successors, which have other labels."""
    server = start_server(
        workers=2,
        REDIS_URL=shared_redis.url,
        CHAT_DRAIN_GRACE="3",
        CHAT_HANDSHAKE_TIMEOUT="0.5",
    )
    async with told_apart(server) as (clients, before):
        old = dict(before.by_label("messages_received_total", "worker"))
        server.signal(signal.SIGHUP)
        both = await eventually(
            lambda: next((one for one in scrapes(server, 4) if one.sum("draining")), None),
            "the first of the old ones drains",
        )
        assert both.value("workers") == 4
        told = both.by_label("messages_received_total", "worker")
        assert {slot: told[slot] for slot in old} == old
        new = set(told) - set(old)
        assert len(new) == 2
        assert all(told[slot] == 0 for slot in new)
        assert sum(both.value("draining", worker=slot) for slot in old) == 1
        assert sum(both.value("connections", worker=slot) for slot in old) == 2
        for client in clients:
            assert await close_code(client) == 1001
        found = await eventually(
            lambda: next((one for one in scrapes(server, 4) if one.value("workers") == 2), None),
            "they are gone",
        )
        assert set(found.by_label("ready", "worker")) == new
        await eventually(lambda: worker_ends(server) == {"replaced": 2}, "it is told")
    server.descendants()


async def test_without_redis(start_server: StartServer, redis: RedisProcess):
    """Nothing is missing while it is frozen, and what is told says what is wrong."""
    server = start_server(workers=2, REDIS_URL=redis.url, CHAT_REDIS_TIMEOUT="1")
    try:
        async with told_apart(server) as (clients, before):
            redis.signal(signal.SIGSTOP)
            out = await eventually(
                lambda: next(
                    (one for one in scrapes(server, 2) if one.sum("redis_link_up") == 0), None
                ),
                "both links of both workers are down",
            )
            assert out.sum("unready", reason="no_redis") == 2
            assert out.sum("ready") == 0
            assert out.sum("redis_outage") == 2
            for client in clients:
                await say(client, 5)
            received = before.sum("messages_received_total") + 10
            began = time.monotonic()
            await eventually(
                lambda: all(
                    one.sum("messages_received_total") == received for one in scrapes_by_all(server)
                ),
                "what is said meanwhile counts",
            )
            assert time.monotonic() - began < DEADLINE / 3
            assert scrape(server).sum("publish_queue_messages") == 10
    finally:
        redis.signal(signal.SIGCONT)


async def test_a_worker_that_hangs(start_server: StartServer, shared_redis: RedisProcess):
    """Its last figures are told, with their age; when it goes on its lag is told too."""
    server = start_server(workers=2, REDIS_URL=shared_redis.url)
    async with told_apart(server) as (_, before):
        victim = server.worker_pids[0]
        slot = slot_of(before, victim)
        os.kill(victim, signal.SIGSTOP)
        try:

            def told_by_the_other() -> Scrape | None:
                with httpx.Client(timeout=1, verify=NO_TLS) as client:
                    try:
                        found = Scrape(client.get(f"{server.http}/metrics").text)
                    except httpx.TimeoutException:  # it was the victim's turn to accept
                        return None
                old = found.value("snapshot_age_seconds", worker=slot) > SILENT
                return found if old else None

            found = await eventually(told_by_the_other, "the age of what it wrote grows")
            assert found.value("messages_received_total", worker=slot) == before.value(
                "messages_received_total", worker=slot
            )
            assert found.value("workers") == 2
        finally:
            os.kill(victim, signal.SIGCONT)

        def long_lags() -> float:
            found = scrape(server)
            late = found.value("event_loop_lag_seconds_count", worker=slot)
            return late - found.value("event_loop_lag_seconds_bucket", worker=slot, le="1.0")

        lags = await eventually(long_lags, "it tells how late it was")
        assert lags >= (SILENT - 2) / INTERVAL_SECONDS


async def test_a_single_process(start_server: StartServer, shared_redis: RedisProcess):
    """It tells of itself, as worker 0; there is no main process."""
    server = start_server("--single-process", REDIS_URL=shared_redis.url)
    async with server.connect("alone") as client:
        await say(client, 3)
        await receive_data(client, 2)
        for found in scrapes(server, 3):
            assert found.value("messages_received_total", worker="0") == 3
            assert found.value("workers") == 1
            assert found.by_label("process_pid", "worker") == {"0": server.pid}
            assert found.values("workers_wanted") == []


async def test_without_memory_to_share(start_server: StartServer, shared_redis: RedisProcess):
    """The server serves; the log, and who asks for metrics, is told why there are none."""
    command = ("sh", "-c", f'ulimit -f 4096; exec {sys.executable} -m sanic server.py "$@"', "sh")
    server = start_server(REDIS_URL=shared_redis.url, command=command)
    answer = server.get("/metrics")
    assert (answer.status_code, answer.json()["code"]) == (503, "no_shared_memory")
    assert server.log.count("There will be no metrics") == 1
    async with server.connect("served") as client:
        await say(client, 1)
        assert (await receive(client))["data"] == 0
