"""Pods beside each other: who is the odd one, and who else listens."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from redis import Redis

from sanic_chat.config.fingerprint import fingerprint
from sanic_chat.config.settings import Config
from sanic_chat.doctor.findings import Finding
from sanic_chat.doctor.site import Site
from sanic_chat.stats.report import encode_report
from sanic_chat.version import VERSION

from ..support.clients import running_server
from ..support.examined import examined, finding, site
from ..support.harness import RedisProcess, ServerProcess, free_port, wait_until
from ..support.reports import pod_report

SECRET = "a secret of at least thirty-two bytes"
OURS = [
    "pods_ready", "pods_version", "pods_settings", "pods_auth", "same_redis", "deployments",
    "listeners",
]  # fmt: skip


@pytest.fixture(scope="module")
def servers(own_redis: RedisProcess) -> Iterator[list[ServerProcess]]:
    """Two servers of one deployment."""
    with ExitStack() as stack:
        settings = {"REDIS_URL": own_redis.url, "CHAT_STATS_INTERVAL": "0.2"}
        started = [stack.enter_context(running_server(**settings)) for _ in range(2)]
        wait_until(lambda: started[0].stats()["totals"]["pods"] == 2, "both report")
        yield started


@pytest.fixture
def admin(own_redis: RedisProcess) -> Iterator[Redis]:
    with Redis(port=own_redis.port, decode_responses=True) as admin:
        yield admin


async def found(own_redis: RedisProcess, code: str, **settings: object) -> Finding:
    return await finding(code, redis_url=own_redis.url, **settings)


async def test_a_deployment_that_is_well(
    servers: list[ServerProcess], own_redis: RedisProcess
) -> None:
    told = await examined(*OURS, redis_url=own_redis.url, site=site(servers[0]))
    assert {code: one.status.value for code, one in told.items()} == dict.fromkeys(OURS, "well")
    assert told["pods_ready"].measured == "2 of 2 ready"
    assert told["pods_version"].measured == f"{VERSION} on all 2 pods"


async def test_an_odd_one(servers: list[ServerProcess], own_redis: RedisProcess) -> None:
    """A server with other settings, and one that asks for tokens, is named with host and PID."""
    other = {
        "REDIS_URL": own_redis.url,
        "CHAT_STATS_INTERVAL": "0.2",
        "AUTH_ENABLED": "1",
        "AUTH_SECRET": SECRET,
    }
    with running_server(**other) as odd:
        pod = odd.pod()
        told = await examined(*OURS, redis_url=own_redis.url)
    for code in ("pods_settings", "pods_auth"):
        assert told[code].status == "warning"
        rarest, common = told[code].measured.split("; ")
        assert f"{pod['pod_id']} ({pod['host']}, PID {pod['pid']})" in rarest
        assert common.count("PID") == 2
    assert told["pods_auth"].measured.startswith("tokens on ")
    assert told["pods_settings"].measured.startswith(f"{pod['settings']} on ")
    assert told["pods_version"].status == "well"


async def test_another_version(
    servers: list[ServerProcess], own_redis: RedisProcess, admin: Redis
) -> None:
    """A pod that tells another version, and one that is too old to tell any."""
    settings = fingerprint(Config(stats_interval=0.2))
    with reporting(admin, "next", version="9.9.9", settings=settings, auth=False):
        told = await examined("pods_version", "pods_settings", redis_url=own_redis.url)
    assert told["pods_settings"].status == "well"
    assert told["pods_version"].status == "warning"
    assert told["pods_version"].measured.startswith("9.9.9 on next; ")
    with reporting(admin, "old"):
        told = await examined("pods_version", "pods_auth", redis_url=own_redis.url)
    assert told["pods_version"].measured.startswith("a version before 0.1.0 on old; ")
    assert told["pods_auth"].measured.startswith("not told on old; ")


class reporting:
    """A pod that there is not reports to Redis."""

    def __init__(self, admin: Redis, pod_id: str, **fields: object) -> None:
        self._admin, self._pod_id = admin, pod_id
        self._text = encode_report(pod_report(pod_id, **fields))

    def __enter__(self) -> None:
        self._admin.set(f"realtime:pod:{self._pod_id}", self._text)
        self._admin.sadd("realtime:pods", self._pod_id)

    def __exit__(self, *_: object) -> None:
        self._admin.delete(f"realtime:pod:{self._pod_id}")
        self._admin.srem("realtime:pods", self._pod_id)


async def test_a_pod_that_is_not_ready(
    servers: list[ServerProcess], own_redis: RedisProcess, admin: Redis
) -> None:
    """It is named; one that drains is not ready on purpose; what cannot be read is counted."""
    with (
        reporting(admin, "ill", ready=False, draining=False),
        reporting(admin, "going", ready=False, draining=True),
    ):
        one = await found(own_redis, "pods_ready")
    assert (one.status, one.measured) == (
        "warning", "2 of 4 ready, 1 draining, not ready: ill",
    )  # fmt: skip
    with reporting(admin, "odd"):
        admin.set("realtime:pod:odd", json.dumps({"pod_id": "odd"}))
        one = await found(own_redis, "pods_ready")
    assert (one.status, one.measured) == ("warning", "2 of 2 ready, 1 unreadable")


async def test_nobody_reports(own_redis: RedisProcess) -> None:
    """Before the first start nothing is known, and nothing is wrong."""
    told = await examined(*OURS, redis_url=own_redis.url, redis_prefix="empty")
    assert {code: one.status.value for code, one in told.items()} == {
        **dict.fromkeys(OURS, "unknown"), "deployments": "well", "listeners": "well",
    }  # fmt: skip


async def test_another_redis_or_prefix(
    servers: list[ServerProcess], own_redis: RedisProcess
) -> None:
    """The server that was asked is none of those that report where REDIS_URL leads."""
    asked = site(servers[0])
    one = await found(own_redis, "same_redis", site=asked, redis_prefix="empty")
    assert one.status == "warning"
    assert servers[0].pod()["pod_id"] in one.measured


async def test_nothing_to_compare_with(
    servers: list[ServerProcess], own_redis: RedisProcess
) -> None:
    """Why is told as it is: what is named, and does not answer, is no lack of a name."""
    nobody = f"127.0.0.1:{free_port()}"
    for fields, why in (
        ({"site": site(servers[0])}, "there is no REDIS_URL"),
        ({"site": site(servers[0]), "redis_url": f"redis://{nobody}"}, "Redis cannot be asked: "),
        ({"redis_url": own_redis.url}, "no server was asked (--url)"),
        ({"redis_url": own_redis.url, "site": Site(f"http://{nobody}")}, "is not there"),
    ):
        one = await finding("same_redis", **fields)
        assert one.status == "unknown"
        assert why in one.measured


async def test_another_database(servers: list[ServerProcess], own_redis: RedisProcess) -> None:
    """A deployment of the same prefix on another database reports there, and hears all of ours."""
    with running_server(REDIS_URL=f"{own_redis.url}/1") as other:
        pod_id = other.pod()["pod_id"]
        told = await examined("deployments", "listeners", redis_url=own_redis.url)
    assert told["deployments"].status == "warning"
    assert told["deployments"].measured.startswith("1 pods listen there and report elsewhere: ")
    assert pod_id in told["deployments"].measured
    assert "database 1" in told["deployments"].measured
    assert told["listeners"].status == "well"  # it is a pod


async def test_a_pod_that_has_just_come(
    servers: list[ServerProcess], own_redis: RedisProcess, admin: Redis
) -> None:
    """One that listens already, and reports only a moment later, is one of ours."""
    pod_id = servers[0].pod()["pod_id"]
    servers[0].signal(signal.SIGSTOP)
    asyncio.get_running_loop().call_later(0.7, servers[0].signal, signal.SIGCONT)
    admin.delete(f"realtime:pod:{pod_id}")
    admin.srem("realtime:pods", pod_id)
    told = await examined("deployments", "listeners", redis_url=own_redis.url)
    assert {one.status for one in told.values()} == {"well"}


async def test_another_prefix_is_nothing_to_us(
    servers: list[ServerProcess], own_redis: RedisProcess
) -> None:
    with running_server(REDIS_URL=own_redis.url, CHAT_REDIS_PREFIX="staging"):
        told = await examined("deployments", "listeners", redis_url=own_redis.url)
    assert {one.status for one in told.values()} == {"well"}


@pytest.mark.parametrize(
    ("kind", "name", "status"),
    [
        ("psubscribe", "*", "warning"),
        ("psubscribe", "realtime:*", "warning"),
        ("psubscribe", "elsewhere:*", "well"),
        ("subscribe", "realtime:global", "warning"),
        ("subscribe", "elsewhere", "well"),
    ],
)
async def test_foreign_listeners(
    servers: list[ServerProcess], own_redis: RedisProcess, kind: str, name: str, status: str
) -> None:
    """Who hears everything, or global messages, is named by its address and its own name."""
    with Redis(port=own_redis.port, client_name="an-archive") as other, other.pubsub() as one:
        getattr(one, kind)(name)
        assert one.get_message(timeout=30)["type"] == kind
        found_ = await found(own_redis, "listeners")
    assert found_.status == status
    assert ("an-archive (127.0.0.1:" in found_.measured) == (status == "warning")


async def test_without_the_right_to_look(
    servers: list[ServerProcess], own_redis: RedisProcess, admin: Redis
) -> None:
    """Who may not ask for subscribers is told so; listeners are counted all the same."""
    admin.execute_command("ACL SETUSER few on nopass allkeys allchannels +@all -client|list")
    url = f"redis://few:x@127.0.0.1:{own_redis.port}"
    with Redis(port=own_redis.port) as other, other.pubsub() as one:
        one.psubscribe("*")
        assert one.get_message(timeout=30)["type"] == "psubscribe"
        told = await examined("deployments", "listeners", redis_url=url)
    assert (told["deployments"].status, "NOPERM" in told["deployments"].measured) == (
        "unknown", True,
    )  # fmt: skip
    assert told["listeners"].measured == "1 hear everything, by PSUBSCRIBE; nobody is named"
