"""The Redis server: each fault is made real, in a real server."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from sanic_chat.doctor import redis_probe
from sanic_chat.doctor.findings import Finding
from sanic_chat.doctor.redis_server import ROUND_TRIP_LIMIT_MS

from ..support.clients import RedisProxy, resp, running_server
from ..support.examined import examined, finding
from ..support.harness import RedisProcess, eventually, free_port
from ..support.replication import Sentinel, replication
from ..support.servers import PROGRAMS, program_name
from ..support.tls import self_signed_certificate

OURS = [
    "redis_reachable", "redis_version", "redis_role", "redis_cluster", "redis_maxclients",
    "redis_pubsub_buffer", "redis_timeout", "redis_eviction", "redis_round_trip",
]  # fmt: skip


@pytest.fixture
def admin(server: RedisProcess) -> Iterator[redis.Redis]:
    """Whoever changes the configuration; it is as it was at the end."""
    with redis.Redis(port=server.port, decode_responses=True) as admin:
        names = ("maxclients", "client-output-buffer-limit", "timeout", "maxmemory")
        before = {name: admin.config_get(name)[name] for name in (*names, "maxmemory-policy")}
        yield admin
        for name, value in before.items():
            admin.config_set(name, value)


async def test_a_redis_as_it_comes(server: RedisProcess) -> None:
    """Nothing is to be done about one with its defaults."""
    found = await examined(*OURS, redis_url=server.url)
    assert {code: one.status.value for code, one in found.items()} == dict.fromkeys(OURS, "well")
    assert server.url in found["redis_reachable"].measured


async def test_nobody_there() -> None:
    """That is a failure; whatever else would be asked there is unknown."""
    found = await examined(*OURS, redis_url=f"redis://127.0.0.1:{free_port()}")
    assert found.pop("redis_reachable").status == "failure"
    assert {one.status for one in found.values()} == {"unknown"}


async def test_a_wrong_password(server: RedisProcess) -> None:
    one = await finding("redis_reachable", redis_url=f"redis://:geheim@127.0.0.1:{server.port}")
    assert one.status == "failure"
    assert "AUTH" in one.measured
    assert "geheim" not in one.measured


async def test_frozen(monkeypatch: pytest.MonkeyPatch, redis: RedisProcess) -> None:
    """One that accepts, and is silent."""
    monkeypatch.setattr(redis_probe, "CONNECT_SECONDS", 0.5)
    redis.signal(signal.SIGSTOP)
    one = await finding("redis_reachable", redis_url=redis.url)
    redis.signal(signal.SIGCONT)
    assert (one.status, "no answer within 0.5 s" in one.measured) == ("failure", True)


@pytest.mark.parametrize("program", PROGRAMS, ids=program_name)
async def test_a_replica(program: str) -> None:
    """It is told with its primary, which is where REDIS_URL should lead."""
    with replication(program) as pair:
        one = await finding("redis_role", redis_url=pair.replica.url)
        assert (one.status, one.measured) == (
            "failure", f"a replica of 127.0.0.1:{pair.primary.port}",
        )  # fmt: skip
        assert one.mend == f"export REDIS_URL={pair.primary.url}"
        assert (await finding("redis_role", redis_url=pair.primary.url)).status == "well"
        with Sentinel(pair) as sentinel:

            async def told() -> Finding | None:
                one = await finding("redis_role", redis_url=f"redis://127.0.0.1:{sentinel.port}")
                return one if "Sentinel" in one.measured else None

            one = await eventually(told, "the Sentinel answers")
        assert one.status == "failure"
        assert one.measured.endswith(f"primary chat is at 127.0.0.1:{pair.primary.port}")


async def test_a_replica_that_knows_no_hello() -> None:
    """As one before Redis 6, or behind some proxies: ROLE and INFO tell as much."""
    with replication(without=("HELLO",)) as pair:
        found = await examined(*OURS, redis_url=pair.replica.url)
    assert found["redis_role"].status == "failure"
    assert found["redis_version"].status == found["redis_cluster"].status == "well"


@pytest.mark.parametrize("program", PROGRAMS, ids=program_name)
async def test_a_node_of_a_cluster(program: str) -> None:
    with closing(RedisProcess("--cluster-enabled", "yes", program=program)) as node:
        node.start()
        one = await finding("redis_cluster", redis_url=node.url)
    assert (one.status, one.measured) == ("warning", "cluster")


async def test_an_old_version(server: RedisProcess) -> None:
    """No such server is to be had here: what it says of itself is made up."""
    hello = [b"server", b"redis", b"version", b"5.0.14", b"mode", b"standalone", b"role", b"master"]
    with RedisProxy(server.port) as proxy:
        proxy.misbehaviour = lambda command: resp(hello) if command == "HELLO" else None
        one = await finding("redis_version", redis_url=f"redis://127.0.0.1:{proxy.port}")
    assert (one.status, one.measured) == ("failure", "redis 5.0.14")


async def test_too_few_connections(server: RedisProcess, admin: redis.Redis) -> None:
    """There is to be room for all pods' links a second time."""
    with running_server(REDIS_URL=server.url):
        connected = int(admin.info("clients")["connected_clients"])
        admin.config_set("maxclients", connected + 2)
        one = await finding("redis_maxclients", redis_url=server.url)
        assert one.status == "warning"
        assert f"of {connected + 2} connections" in one.measured
        assert "CONFIG SET maxclients 10000" in one.mend


@pytest.mark.parametrize(
    ("limit", "status"),
    [
        ("pubsub 1mb 512kb 60", "warning"),
        ("pubsub 64mb 8mb 2", "warning"),
        ("pubsub 0 0 0", "well"),
        ("pubsub 256mb 64mb 5", "well"),
    ],
)
async def test_the_buffer_of_subscribers(
    server: RedisProcess, admin: redis.Redis, limit: str, status: str
) -> None:
    """It must hold what a pod lets wait on purpose; a setting that lets more wait needs more."""
    admin.config_set("client-output-buffer-limit", limit)
    one = await finding("redis_pubsub_buffer", redis_url=server.url)
    assert one.status == status
    if status == "well" and "256mb" in limit:
        larger = {"redis_url": server.url, "backpressure_bytes": 2**28}
        assert (await finding("redis_pubsub_buffer", **larger)).status == "warning"


async def test_idle_connections_that_redis_ends(server: RedisProcess, admin: redis.Redis) -> None:
    for seconds, status in ((2, "warning"), (5, "well"), (0, "well")):
        admin.config_set("timeout", seconds)
        one = await finding("redis_timeout", redis_url=server.url)
        assert (one.status, one.measured) == (status, f"timeout {seconds}")


async def test_eviction(server: RedisProcess, admin: redis.Redis) -> None:
    """It is a fault if there is a bound of memory that sets it off."""
    admin.config_set("maxmemory-policy", "volatile-lru")
    assert (await finding("redis_eviction", redis_url=server.url)).status == "well"
    admin.config_set("maxmemory", "100mb")
    one = await finding("redis_eviction", redis_url=server.url)
    assert (one.status, one.measured) == ("warning", "maxmemory 104857600, volatile-lru")


async def test_a_slow_way(server: RedisProcess) -> None:
    """A network on which each answer takes its time."""

    def delay(command: str) -> None:
        time.sleep(1.5 * ROUND_TRIP_LIMIT_MS / 1000)

    with RedisProxy(server.port) as proxy:
        proxy.misbehaviour = delay
        one = await finding("redis_round_trip", redis_url=f"redis://127.0.0.1:{proxy.port}")
    assert one.status == "warning"
    assert float(one.measured.removesuffix(" ms")) > ROUND_TRIP_LIMIT_MS


async def test_a_certificate_that_ends_tomorrow(server: RedisProcess, tmp_path: Path) -> None:
    """That of Redis is looked at where it is shown, and where it is trusted."""
    made = self_signed_certificate(tmp_path, begun=timedelta(days=89), left=timedelta(days=1))
    with RedisProxy(server.port, tls=made.server_context()) as proxy:
        url = f"rediss://127.0.0.1:{proxy.port}?ssl_ca_certs={made.pem}"
        codes = ("redis_reachable", "redis_certificate", "certificate_files")
        found = await examined(*codes, redis_url=url)
    assert [found[code].status for code in codes] == ["well", "warning", "warning"]
    assert "ends in 1.0 days" in found["redis_certificate"].measured


async def test_what_an_acl_does_not_let_us_see(server: RedisProcess, admin: redis.Redis) -> None:
    """It is unknown, with Redis' own words; nothing is claimed to be well."""
    admin.execute_command("ACL SETUSER few on nopass resetkeys resetchannels -@all")
    found = await examined(*OURS, redis_url=f"redis://few:x@127.0.0.1:{server.port}")
    unknown = {code for code, one in found.items() if one.status == "unknown"}
    assert unknown == {
        "redis_maxclients", "redis_pubsub_buffer", "redis_timeout", "redis_eviction",
    }  # fmt: skip
    assert "NOPERM" in found["redis_timeout"].measured
    admin.execute_command("ACL DELUSER few")
