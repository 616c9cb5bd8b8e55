"""The stats on a Redis that hangs, that is a replica, or a node of a Cluster."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any

import hiredis
import httpx
import pytest
from redis import Redis

from ..support.clients import receive_data
from ..support.harness import (
    DEADLINE,
    NO_TLS,
    SLOW,
    RedisProcess,
    ServerProcess,
    eventually,
    free_port,
    wait_until,
)
from ..support.reports import pod_report, stats_store


async def ask_at_once(server: ServerProcess, requests: int) -> list[dict[str, Any]]:
    """The answers of that many requests at a time."""
    async with httpx.AsyncClient(timeout=DEADLINE, verify=NO_TLS) as client:
        asking = (client.get(f"{server.http}/ws/stats") for _ in range(requests))
        return [answer.json() for answer in await asyncio.gather(*asking)]


async def test_redis_hangs(start_server, redis: RedisProcess) -> None:
    """However many ask meanwhile, each is told of its pod alone within a second."""
    server = start_server(
        "--single-process", REDIS_URL=redis.url, CHAT_REDIS_TIMEOUT="60"
    )  # no link notices it
    async with server.connect("lobby"):
        await eventually(lambda: server.stats()["complete"], "the stats are complete")
        redis.signal(signal.SIGSTOP)
        try:
            for requests in (1, 2, 30):
                started = time.monotonic()
                answers = await ask_at_once(server, requests)
                assert time.monotonic() - started < 1 * SLOW
                for answer in answers:
                    assert answer["complete"] is False
                    assert answer["totals"]["connections"] == 1
        finally:
            redis.signal(signal.SIGCONT)
        await eventually(lambda: server.stats()["complete"], "the stats are complete again")


async def test_an_answer_is_overdue(redis: RedisProcess) -> None:
    """Who asks a Redis that has not answered the one before does not wait, until it has."""
    store = stats_store(redis.url, timeout=60)
    is_up = asyncio.Event()
    await store.start(is_up.set)
    try:
        await asyncio.wait_for(is_up.wait(), DEADLINE)
        redis.signal(signal.SIGSTOP)
        try:
            with pytest.raises(TimeoutError, match="did not answer within"):
                await store.write(pod_report("pod"))
            for _ in range(100):
                with pytest.raises(TimeoutError, match="has not answered yet"):
                    await store.write(pod_report("pod"))
        finally:
            redis.signal(signal.SIGCONT)

        async def is_written() -> bool:
            with suppress(TimeoutError):
                await store.write(pod_report("pod"))
                return True
            return False

        await eventually(is_written, "it answers again")
    finally:
        await store.close()


async def test_a_replica(redis: RedisProcess) -> None:
    """A server that has become a replica is told of by its refusal, and left until it is none."""
    refusals: list[str] = []
    store = stats_store(redis.url, on_read_only=refusals.append)
    is_up = asyncio.Event()

    async def is_away() -> bool:
        try:
            await store.write(pod_report("pod"))
        except OSError:
            return True
        except hiredis.ReplyError:
            return False
        return False

    await store.start(is_up.set)
    try:
        await asyncio.wait_for(is_up.wait(), DEADLINE)
        await store.write(pod_report("pod"))
        with Redis(port=redis.port) as admin:
            admin.replicaof("127.0.0.1", free_port())
            with pytest.raises(hiredis.ReplyError, match="READONLY"):
                await store.write(pod_report("pod"))
            assert [refusal.split()[0] for refusal in refusals] == ["READONLY"]
            await eventually(is_away, "the replica is left")
            is_up.clear()
            admin.replicaof("NO", "ONE")
        await asyncio.wait_for(is_up.wait(), DEADLINE)
        await store.write(pod_report("pod"))
    finally:
        await store.close()


@contextmanager
def cluster(nodes: int) -> Iterator[list[RedisProcess]]:
    """A Redis Cluster of so many nodes, each with its share of the slots; one alone has none."""
    with ExitStack() as stack:
        bus_ports = [free_port() for _ in range(nodes)]
        processes = [
            RedisProcess("--cluster-enabled", "yes", "--cluster-port", str(port))
            for port in bus_ports
        ]
        for process in processes:
            stack.enter_context(closing(process))
            process.start()
        if nodes > 1:
            share = 16384 // nodes
            admins = [stack.enter_context(Redis(port=process.port)) for process in processes]
            for number, admin in enumerate(admins):
                slots = (number * share, (number + 1) * share - 1)
                admin.execute_command("CLUSTER ADDSLOTSRANGE", *slots)
                meet = ("127.0.0.1", processes[0].port, bus_ports[0])
                admin.execute_command("CLUSTER MEET", *meet)

            def it_is_one() -> bool:
                return all(admin.cluster("info")["cluster_state"] == "ok" for admin in admins)

            wait_until(it_is_one, "the nodes are a cluster")
        yield processes


@pytest.mark.parametrize("nodes", [1, 2])
async def test_nodes_of_a_cluster(start_server, nodes: int) -> None:
    """Messages cross from node to node; the stats do not, and the log says so, in one sentence."""
    with cluster(nodes) as processes:
        servers = [
            start_server("--single-process", REDIS_URL=process.url, CHAT_STATS_INTERVAL="0.1")
            for process in (processes[0], processes[-1])
        ]
        async with servers[0].connect("lobby") as a, servers[1].connect("lobby") as b:
            await a.send(json.dumps({"data": "across"}))
            await receive_data(b, "across")
        for server in servers:
            for _ in range(20):
                stats = await asyncio.to_thread(server.stats)
                assert (stats["complete"], stats["totals"]["pods"]) == (False, 1)
            assert server.log.count("is a node of a Cluster: messages between pods cross") == 1
            assert " refuses " not in server.log
            server.stop()
