"""/health and /ready: what they say while Redis is well, frozen or deaf, and in a drain."""

from __future__ import annotations

import asyncio
import errno
import json
import re
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import redis.asyncio

from ..support.clients import RawClient, RedisProxy, receive_data, running_server
from ..support.harness import (
    DEADLINE,
    NO_TLS,
    SLOW,
    RedisProcess,
    ServerProcess,
    eventually,
    free_port,
    receive_event,
    wait_until,
)
from ..support.tls import self_signed_certificate

PREFIX = "/api/chat-api"
INTERVAL = 0.3
REDIS_TIMEOUT = 2.0
HEALED_WITHIN = SLOW * 10.0
"""Seconds after which a pod is ready again, once Redis is well."""

SETTINGS = {
    "CHAT_PROOF_INTERVAL": str(INTERVAL),
    "CHAT_REDIS_TIMEOUT": str(REDIS_TIMEOUT),
    "CHAT_RETRY_AFTER": "7",
}


@pytest.fixture(scope="module")
def server(own_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(REDIS_URL=own_redis.url, **SETTINGS) as server:
        yield server


def ask(server: ServerProcess, path: str) -> tuple[int, dict[str, Any]]:
    """Status and body of an answer that nobody may cache."""
    answer = httpx.get(f"http://127.0.0.1:{server.port}{path}", timeout=DEADLINE, verify=NO_TLS)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    body: dict[str, Any] = answer.json()
    return answer.status_code, body


def why_unready(server: ServerProcess) -> str | None:
    """The code with which /ready refuses, None if it does not. /health is well all the time."""
    assert ask(server, "/health")[0] == 200
    status, body = ask(server, "/ready")
    assert (status, set(body)) in ((200, {"status", "pod_id"}), (503, {"code", "message"}))
    code: str | None = body.get("code")
    return code


async def becomes(server: ServerProcess, code: str | None, within: float = DEADLINE) -> None:
    await eventually(lambda: why_unready(server) == code, f"/ready says {code}", within)


@asynccontextmanager
async def mended(server: ServerProcess, own_redis: RedisProcess) -> AsyncIterator[None]:
    """A server that is ready; what happens to it here must be mended soon after the end."""
    room = f"room-{uuid4()}"
    await becomes(server, None)
    async with server.connect(room) as client:
        yield
        await becomes(server, None, HEALED_WITHIN)
        async with redis.asyncio.Redis(port=own_redis.port) as outside:
            await outside.publish(f"realtime:room:{room}", json.dumps({"data": "mended"}))
        await receive_data(client, "mended")


# -- what they say ---------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", [PREFIX, ""], ids=["prefix", "no prefix"])
async def test_all_is_well(server, prefix):
    """Both answer 200, with the pod's ID, with and without the prefix."""
    await becomes(server, None)
    pod = server.pod()
    assert ask(server, f"{prefix}/ready") == (200, {"status": "ready", "pod_id": pod["pod_id"]})
    status, body = ask(server, f"{prefix}/health")
    lag_ms = body.pop("loop_lag_ms")
    assert (status, body) == (200, {"status": "alive", "pod_id": pod["pod_id"]})
    assert 0 <= lag_ms < DEADLINE * 1000


@pytest.mark.parametrize("path", ["/ready", "/health"])
async def test_head(server, path):
    """HEAD is answered like GET, without a body; other methods are not."""
    await becomes(server, None)
    url = f"http://127.0.0.1:{server.port}{path}"
    answer = httpx.head(url)
    assert (answer.status_code, answer.content) == (200, b"")
    assert httpx.post(url).status_code == 405


async def test_the_proof_in_the_stats(server):
    """The pod's entry has the proof; its totals, rooms and messages know nothing of it."""
    await becomes(server, None)
    async with server.connect("stats-room"):
        before = server.pod()

        def later() -> dict[str, Any]:
            pod = server.pod()
            return pod if pod["uptime_seconds"] > before["uptime_seconds"] + 4 * INTERVAL else {}

        after = await eventually(later, "time for some proofs")
        assert after["ready"] is True
        assert 0 <= after["redis"]["proof_age_seconds"] < SLOW * 3 * INTERVAL
        assert 0 < after["redis"]["proof_round_trip_ms"] < SLOW * 1000 * INTERVAL
        assert after["redis"]["proofs_failed"] == before["redis"]["proofs_failed"]
        for same in ("messages_in", "messages_out", "messages_published", "messages_dropped"):
            assert after[same] == before[same]
        assert after["redis"]["echoes_dropped"] == before["redis"]["echoes_dropped"]
        assert after["rooms"] == 1
        assert server.stats()["largest_rooms"] == [{"room": "stats-room", "members": 1}]


async def test_nobody_receives_the_proof(server, own_redis):
    """No client ever sees a canary, nor what others publish on the channels between pods."""
    await becomes(server, None)
    pod = server.pod()
    async with (
        server.connect(events="system,presence") as client,
        redis.asyncio.Redis(port=own_redis.port) as outside,
        outside.pubsub() as spy,
    ):
        await receive_event(client, "welcome")
        await spy.subscribe("realtime:control")
        for _ in range(3):  # its confirmation, and two canaries
            assert await spy.get_message(timeout=DEADLINE)
        for channel, ears in (("realtime:control", 2), (f"realtime:pod:{pod['pod_id']}", 1)):
            assert await outside.publish(channel, json.dumps({"data": "for nobody"})) == ears
        await outside.publish("realtime:global", json.dumps({"data": "end"}))
        assert json.loads(await asyncio.wait_for(client.recv(), DEADLINE))["data"] == "end"
    assert server.pod()["messages_dropped"]["bad_envelope"] == 2


@pytest.fixture
def tls_redis(own_redis: RedisProcess, tmp_path: Path) -> Iterator[RedisProxy]:
    """The Redis, with a certificate that nobody vouches for."""
    context = self_signed_certificate(tmp_path).server_context()
    with RedisProxy(own_redis.port, tls=context) as proxy:
        yield proxy


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("rediss://127.0.0.1:{tls}", "CERTIFICATE_VERIFY_FAILED"),
        ("redis://127.0.0.1:{tls}", "Then REDIS_URL must begin with rediss://"),
        ("rediss://127.0.0.1:{plain}", "is TLS spoken there, as rediss:// says?"),
        ("redis://127.0.0.1:{none}", f"Errno {errno.ECONNREFUSED}"),
        ("redis://nowhere.invalid", "the name 'nowhere.invalid' "),
    ],
)
async def test_why_there_is_no_redis(start_server, own_redis, tls_redis, url, reason):
    """/ready says what is in the way, as the log does, once for each connection."""
    ports = {"tls": tls_redis.port, "plain": own_redis.port, "none": free_port()}
    server = start_server("--single-process", REDIS_URL=url.format(**ports))

    def is_told() -> bool:
        status, body = ask(server, "/ready")
        return status == 503 and body["code"] == "no_redis" and reason in body["message"]

    await eventually(is_told, f"/ready says {reason}")
    assert server.log.count(reason) <= 3
    server.stop()


# -- faults ----------------------------------------------------------------------------------


async def test_frozen_redis(server, own_redis):
    """A Redis that is stopped costs readiness before the links notice, and comes back."""
    async with mended(server, own_redis):
        own_redis.signal(signal.SIGSTOP)
        try:
            await becomes(server, "proof_overdue")
            await becomes(server, "no_redis")
            why = ask(server, "/ready")[1]["message"]
            assert re.search(r"\((silent for . s after a ping|no answer within . s)", why)
        finally:
            own_redis.signal(signal.SIGCONT)


async def test_a_silent_unsubscribe(start_server, own_redis):
    """A pod that Redis no longer knows, though its pings are answered, is found and mended."""
    with RedisProxy(own_redis.port) as proxy:
        server = start_server(
            "--single-process", REDIS_URL=f"redis://127.0.0.1:{proxy.port}", **SETTINGS
        )
        async with mended(server, own_redis), server.connect("deaf", events="system") as client:
            await receive_event(client, "welcome")
            failed = server.pod()["redis"]["proofs_failed"]
            proxy.deafen()
            deaf = time.monotonic()
            await receive_event(client, "degraded", HEALED_WITHIN)
            await receive_event(client, "recovered")
            assert (await receive_event(client, "gap"))["room"] is None
            assert (await receive_event(client, "gap"))["room"] == "deaf"
            assert time.monotonic() - deaf < HEALED_WITHIN
            assert server.pod()["redis"]["proofs_failed"] == failed + 1
        assert server.log.count("answers a PING, and does not deliver") == 1
        server.stop()


async def test_a_forbidden_proof(start_server, own_redis):
    """Without the right to publish a pod is never ready; it says why, and its log does once."""
    with RedisProxy(own_redis.port) as proxy:
        server = start_server(
            "--single-process", REDIS_URL=f"redis://127.0.0.1:{proxy.port}", **SETTINGS
        )
        async with mended(server, own_redis):
            proxy.misbehaviour = lambda command: (
                b"-NOPERM no channel\r\n" if command == "PUBLISH" else None
            )
            await becomes(server, "proof_overdue")
            assert ask(server, "/ready")[1]["message"].endswith("Redis says NOPERM no channel")
            await asyncio.sleep(3 * INTERVAL)
            assert server.log.count("refuses the proof of delivery: NOPERM no channel") == 1
            proxy.misbehaviour = lambda command: None
        server.stop()


# -- the drain -------------------------------------------------------------------------------


async def test_draining(start_server, shared_redis):
    """From the first moment of a drain on /ready is 503, while the socket still accepts."""
    server = start_server("--single-process", REDIS_URL=shared_redis.url, CHAT_RETRY_AFTER="7")
    wait_until(lambda: why_unready(server) is None, "the pod is ready")
    async with RawClient(server) as silent:
        assert (await silent.request())[0] == 101
        server.signal(signal.SIGTERM)
        assert await silent.close_code() == 1001  # and does not answer it, so that it lasts
        async with RawClient(server) as late:
            status, headers, body = await late.request(f"{PREFIX}/ready", Upgrade=None)
            assert (status, json.loads(body)["code"]) == (503, "draining")
            assert headers["retry-after"] == "7"
        assert ask(server, "/health")[0] == 200
    assert server.wait() == 0
