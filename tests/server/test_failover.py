"""A server that is no primary any more is left, by name, and nobody is told that all is well."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
import redis.asyncio
from websockets.asyncio.client import ClientConnection

from sanic_chat.broker.addresses import Address
from sanic_chat.broker.endpoint import Endpoint
from sanic_chat.broker.link import LinkState
from sanic_chat.broker.role import REPLICA

from ..support.clients import receive_data
from ..support.harness import DEADLINE, SLOW, RedisProcess, ServerProcess, eventually
from ..support.pairs import ROOM, Pair, running
from ..support.proxy import TcpProxy
from ..support.replication import Replication, Sentinel, execute, replication
from ..support.servers import PROGRAMS, program_name

LEFT_WITHIN = 10.0
"""Seconds from a failover to a pod that is where the others are, if its name leads there."""


@pytest.fixture(params=PROGRAMS, ids=program_name)
def two(request: pytest.FixtureRequest) -> Iterator[Replication]:
    with replication(request.param) as two:
        yield two


@pytest.fixture
def pair_of_servers() -> Iterator[Replication]:
    with replication() as two:
        yield two


class MovingName:
    """A name whose address is what it is set to."""

    def __init__(self, port: int) -> None:
        self.ports = [port]
        self.asked = 0
        self.endpoint = Endpoint("redis://redis.example:6379", look_up=self._look_up)

    def _look_up(self, host: str, port: int) -> list[Address]:
        assert (host, port) == ("redis.example", 6379)
        self.asked += 1
        return [("127.0.0.1", port) for port in self.ports]


# -- the links -------------------------------------------------------------------------------


async def heard(pair: Pair, process_port: int) -> None:
    """What the pair publishes reaches everybody at that server, and the other way round."""
    async with (
        redis.asyncio.Redis(port=process_port, protocol=2) as outside,
        outside.pubsub() as listener,
    ):
        await listener.subscribe(ROOM.decode())
        assert (await listener.get_message(timeout=DEADLINE))["type"] == "subscribe"
        marker = uuid4().hex.encode()
        pair.publisher.publish(ROOM, marker)
        assert (await listener.get_message(timeout=DEADLINE))["data"] == marker
        pair.received.clear()
        await outside.publish(ROOM.decode(), "back")
        await eventually(lambda: b"back" in pair.received, "it is heard")


async def test_a_replica_is_left_and_its_name_looked_up(two):
    """Both links leave a server that became a replica, and wait until the name leads elsewhere."""
    name = MovingName(two.primary.port)
    async with running(name.endpoint) as pair:
        links = (pair.publisher.link, pair.subscriber.link)
        await heard(pair, two.primary.port)
        await two.fail_over()
        failed_at = time.monotonic()
        for link in links:
            await eventually(
                lambda link=link: link.state is LinkState.WRONG, "it is the wrong server"
            )
            assert link.last_error == REPLICA
        assert time.monotonic() - failed_at < SLOW * LEFT_WITHIN
        asked = name.asked
        await eventually(lambda: name.asked > asked + 2, "the name is looked up again and again")
        assert not pair.publisher.link.is_up
        name.ports = [two.primary.port]
        await pair.proven()
        await heard(pair, two.primary.port)
        for link in links:
            assert link.state is LinkState.UP
            assert link.last_error == ""


async def test_a_name_of_a_primary_and_its_replica(two):
    """Of several addresses, the one that is a primary is found, whichever comes first."""
    name = MovingName(two.replica.port)
    name.ports = [two.replica.port, two.replica.port, two.primary.port]
    async with running(name.endpoint) as pair:
        await heard(pair, two.primary.port)


@pytest.mark.parametrize("missing", ["HELLO", "ROLE"])
async def test_servers_without_hello(missing):
    """`ROLE` is asked where `HELLO` is unknown."""
    with replication(without=(missing,)) as two, TcpProxy(two.primary.port) as proxy:
        async with running(proxy.port) as pair:
            await two.fail_over()
            proxy.redis_port = two.primary.port
            await eventually(lambda: pair.reconnects == (1, 1), "both leave")
            await pair.proven()
            await heard(pair, two.primary.port)


async def test_a_server_that_does_not_tell():
    """Then it counts what others were told (READONLY); and not too often."""
    with replication(without=("HELLO", "ROLE")) as two, TcpProxy(two.primary.port) as proxy:
        async with running(proxy.port) as pair:
            await two.fail_over()
            proxy.redis_port = two.primary.port
            for _ in range(3):
                pair.proof.doubt("READONLY You can't write against a read only replica.")
            await eventually(lambda: pair.reconnects == (1, 1), "both leave")
            await pair.proven()
            pair.proof.doubt("READONLY You can't write against a read only replica.")
            await heard(pair, two.primary.port)
            assert pair.reconnects == (1, 1)


async def test_what_the_stats_are_told_counts(start_server):
    """A server that does not tell what it is gives itself away when it refuses the stats."""
    with replication(without=("HELLO", "ROLE")) as two, TcpProxy(two.primary.port) as proxy:
        server = start_server("--single-process", REDIS_URL=f"redis://127.0.0.1:{proxy.port}")
        await eventually(lambda: why_unready(server)[0] is None, "it is ready")
        await two.fail_over()
        proxy.redis_port = two.primary.port

        async def is_at_the_primary() -> bool:
            names = [c["name"] for c in await clients(two.primary)]
            return sum(name.startswith("sanic_chat:") for name in names) == 3

        await eventually(is_at_the_primary, "all its connections lead to the primary")


async def clients(process: RedisProcess) -> list[dict[str, str]]:
    """Who is connected to a server."""
    async with redis.asyncio.Redis(port=process.port, protocol=2) as admin:
        connected: list[dict[str, str]] = await admin.client_list()
        return connected


async def test_a_doubt_is_looked_into(shared_redis):
    """A primary that somebody takes for a replica is asked, and kept."""
    async with running(shared_redis.port) as pair:
        pair.proof.doubt("READONLY")
        await pair.proven()
        assert pair.reconnects == (0, 0)


# -- whole servers ---------------------------------------------------------------------------


def why_unready(server: ServerProcess) -> tuple[str | None, str]:
    """Code and sentence of /ready; no code if it is ready."""
    body = server.get("/ready").json()
    return body.get("code"), body.get("message", "")


async def crosses(one: ClientConnection, other: ClientConnection) -> bool:
    """Whether what the one says reaches the other."""
    marker = str(uuid4())
    await one.send(json.dumps({"data": marker}))
    try:
        async with asyncio.timeout(0.5):
            await receive_data(other, marker)
    except TimeoutError:
        return False
    return True


async def test_a_managed_failover(start_server, pair_of_servers):
    """Pods whose connections the old primary keeps say so, and find the new one."""
    two = pair_of_servers
    with TcpProxy(two.primary.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        servers = [start_server("--single-process", REDIS_URL=url) for _ in range(2)]
        async with (
            servers[0].connect("lobby", events="system") as one,
            servers[1].connect("lobby", events="system") as other,
        ):
            await eventually(lambda: crosses(one, other), "messages cross")
            await two.fail_over()
            failed_at = time.monotonic()
            for server in servers:
                await eventually(lambda s=server: why_unready(s)[0] == "wrong_redis", "it is told")
                assert "replica" in why_unready(server)[1]
            assert time.monotonic() - failed_at < SLOW * LEFT_WITHIN
            proxy.redis_port = two.primary.port
            moved_at = time.monotonic()
            for server in servers:
                await eventually(lambda s=server: why_unready(s)[0] is None, "it is ready")
            assert time.monotonic() - moved_at < SLOW * LEFT_WITHIN
            # What waited meanwhile is sent a little later, and what is said then after it.
            await eventually(lambda: crosses(one, other), "messages cross")
            await eventually(lambda: crosses(other, one), "messages cross back")

            def both_report() -> bool:
                stats = servers[0].stats()
                return stats["complete"] and stats["totals"]["pods"] == 2

            await eventually(both_report, "the stats are those of both")
        for server in servers:
            replicas = server.log.count("cannot be used: it is a replica")
            assert replicas <= 3  # of each connection once


@pytest.mark.parametrize("how", ["SENTINEL FAILOVER", "kill -9"])
async def test_a_failover_by_sentinel(start_server, pair_of_servers, how):
    """Behind a proxy that follows a Sentinel, a failover costs some seconds and no client."""
    two = pair_of_servers
    await two.in_sync()
    with Sentinel(two) as sentinel, TcpProxy(two.primary.port) as proxy:
        await sentinel.knows_the_replica()
        old = two.primary.port
        async with sentinel.followed_by(proxy):
            url = f"redis://127.0.0.1:{proxy.port}"
            servers = [start_server("--single-process", REDIS_URL=url) for _ in range(2)]
            async with servers[0].connect("lobby") as one, servers[1].connect("lobby") as other:
                await eventually(lambda: crosses(one, other), "messages cross")
                if how == "kill -9":
                    two.primary.kill()
                else:
                    assert await sentinel.execute("FAILOVER", "chat") == "OK"

                async def has_moved() -> bool:
                    return await sentinel.primary_port() != old

                await eventually(has_moved, "there is a new primary")
                moved_at = time.monotonic()

                async def both_ways() -> bool:
                    return await crosses(one, other) and await crosses(other, one)

                await eventually(both_ways, "messages cross again, both ways")
                assert time.monotonic() - moved_at < SLOW * LEFT_WITHIN
                for server in servers:
                    await eventually(lambda s=server: why_unready(s)[0] is None, "it is ready")


async def test_a_sentinel_is_no_redis(start_server, pair_of_servers):
    """A REDIS_URL that leads to a Sentinel is told what it leads to."""
    with Sentinel(pair_of_servers) as sentinel:
        await sentinel.knows_the_replica()
        server = start_server("--single-process", REDIS_URL=f"redis://127.0.0.1:{sentinel.port}")
        await eventually(lambda: why_unready(server)[0] == "wrong_redis", "it is told")
        assert "Sentinel" in why_unready(server)[1]


async def test_a_replica_from_the_start(start_server, pair_of_servers):
    """A pod whose REDIS_URL leads to a replica serves its own clients, and is not ready."""
    two = pair_of_servers
    server = start_server("--single-process", REDIS_URL=two.replica.url)
    async with server.connect("lobby") as one, server.connect("lobby") as other:
        await eventually(lambda: crosses(one, other), "messages cross")
    assert why_unready(server)[0] == "wrong_redis"
    await execute(two.replica, "REPLICAOF", "NO", "ONE")
    await eventually(lambda: why_unready(server)[0] is None, "it is ready once it is a primary")
