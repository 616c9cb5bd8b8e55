"""A server at its URL: what a real nginx with a line too few, or too little time, does to it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

import jwt
import pytest

from sanic_chat.doctor.findings import Finding
from sanic_chat.doctor.site import Site

from ..support.clients import running_server
from ..support.examined import examined, finding, site
from ..support.harness import RedisProcess, ServerProcess, free_port
from ..support.nginx import nginx
from ..support.tls import self_signed_certificate

SECRET = "a secret of at least thirty-two bytes"
OURS = ["url_reachable", "url_upgrade", "url_host"]
GOOD = (
    "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
    "proxy_set_header Connection upgrade; proxy_set_header Host $http_host; "
)


@pytest.fixture(scope="module")
def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(REDIS_URL=shared_redis.url, CHAT_HEARTBEAT_TIMEOUT="6") as server:
        yield server


@pytest.fixture(scope="module")
def guarded(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    """A server that asks for tokens, of pages of one site."""
    with running_server(
        REDIS_URL=shared_redis.url,
        CHAT_REDIS_PREFIX="guarded",
        CHAT_ALLOWED_ORIGINS="https://chat.example",
        AUTH_ENABLED="1",
        AUTH_SECRET=SECRET,
    ) as server:
        yield server


def behind(url: str, **fields: float) -> Site:
    return Site(f"{url}/api/chat-api", **fields)


def seconds(what: str, found: Finding) -> float:
    """The time of which a finding says that."""
    told = re.match(rf"{what} ([\d.]+) s", found.measured)
    assert told is not None, found.measured
    return float(told[1])


async def test_without_a_proxy(server: ServerProcess) -> None:
    found = await examined(*OURS, site=site(server))
    assert {code: one.status.value for code, one in found.items()} == dict.fromkeys(OURS, "well")


async def test_a_good_proxy(server: ServerProcess, tmp_path: Path) -> None:
    """It keeps a connection for longer than half of the heartbeat, too."""
    with nginx(tmp_path, f"proxy_pass http://127.0.0.1:{server.port}; {GOOD}") as url:
        found = await examined(*OURS, "url_idle", site=behind(url, idle=4))
    assert {one.status for one in found.values()} == {"well"}
    assert seconds("held for", found["url_idle"]) >= 4


async def test_a_proxy_that_drops_upgrade(server: ServerProcess, tmp_path: Path) -> None:
    """The server is reached, and no WebSocket opens."""
    location = f"proxy_pass http://127.0.0.1:{server.port}; proxy_set_header Host $http_host;"
    with nginx(tmp_path, location) as url:
        found = await examined(*OURS, "url_idle", site=behind(url))
    assert found["url_reachable"].status == "well"
    assert found["url_upgrade"].status == "failure"
    assert found["url_upgrade"].measured.startswith("426 upgrade_required: ")
    assert "proxy_set_header Upgrade $http_upgrade" in found["url_upgrade"].mend
    assert found["url_host"].status == found["url_idle"].status == "unknown"


async def test_a_proxy_that_changes_host(server: ServerProcess, tmp_path: Path) -> None:
    """Programs connect through it, and pages of its own host do not."""
    location = GOOD.replace("proxy_set_header Host $http_host;", "proxy_set_header Host inside;")
    with nginx(tmp_path, f"proxy_pass http://127.0.0.1:{server.port}; {location}") as url:
        found = await examined(*OURS, site=behind(url))
    assert found["url_upgrade"].status == "well"
    assert found["url_host"].status == "failure"
    assert "forbidden_origin" in found["url_host"].measured
    assert "proxy_set_header Host $http_host" in found["url_host"].mend


async def test_a_proxy_that_is_impatient(server: ServerProcess, tmp_path: Path) -> None:
    """It cuts off who is silent for two seconds, before the server's ping after three."""
    location = f"proxy_pass http://127.0.0.1:{server.port}; {GOOD} proxy_read_timeout 1s;"
    with nginx(tmp_path, location) as url:
        found = await finding("url_idle", site=behind(url, idle=4))
    assert found.status == "warning"
    # Of the proxy's second some may be over before it is measured.
    assert 0 < seconds("cut off after", found) < 3
    assert found.limit == "3 s (half of CHAT_HEARTBEAT_TIMEOUT)"


async def test_silence_that_is_not_tried(server: ServerProcess) -> None:
    """It takes its time: without --idle it is told how much, and with too little that it is."""
    found = await finding("url_idle", site=site(server))
    assert (found.status, "--idle 8 does" in found.measured) == ("unknown", True)
    found = await finding("url_idle", site=site(server, idle=0.1))
    assert (found.status, "which is less than 3 s" in found.measured) == ("unknown", True)


async def test_tokens_and_origins(guarded: ServerProcess) -> None:
    """Without a token the handshake arrives; of the right site it is judged by the settings."""
    found = await examined(*OURS, "url_idle", site=site(guarded))
    assert [found[code].status for code in OURS] == ["well", "well", "failure"]
    assert "401 unauthorized" in found["url_upgrade"].measured
    assert found["url_idle"].status == "unknown"
    ours = ("https://chat.example",)
    found = await examined(*OURS, site=site(guarded, origins=ours))
    assert {one.status for one in found.values()} == {"well"}
    token = jwt.encode({"sub": "anna"}, SECRET, algorithm="HS256")
    headers = {"Authorization": f"Bearer {token}"}
    found = await examined(*OURS, site=site(guarded, origins=ours, headers=headers))
    assert found["url_upgrade"].measured == found["url_host"].measured == "101"


async def reached(url: str) -> Finding:
    return await finding("url_reachable", site=Site(url))


async def test_nobody_there(tmp_path: Path, server: ServerProcess) -> None:
    """No server, another server, or one behind a proxy that does not find it: a failure each."""
    found = await examined(*OURS, "url_idle", site=Site(f"http://127.0.0.1:{free_port()}"))
    statuses = [one.status.value for one in found.values()]
    assert statuses == ["failure", "failure", "unknown", "unknown"]
    with nginx(tmp_path, "return 200 hello;") as url:
        found = await examined(*OURS, site=Site(url))
    assert (found["url_reachable"].status, found["url_reachable"].measured) == (
        "failure", "200 hello",
    )  # fmt: skip
    assert found["url_upgrade"].status == "failure"
    assert (await reached(f"{server.http}/elsewhere")).measured.startswith("404 ")
    with nginx(tmp_path, f"proxy_pass http://127.0.0.1:{free_port()}; {GOOD}") as url:
        found = await examined(*OURS, site=behind(url))
    for code in ("url_reachable", "url_upgrade"):
        assert (found[code].status, found[code].measured[:4]) == ("failure", "502 ")
        assert found[code].mend.startswith("start the server")


async def test_a_redirect(server: ServerProcess, tmp_path: Path) -> None:
    """It is followed by programs, and by no browser that opens a WebSocket."""
    target = f"http://127.0.0.1:{server.port}$request_uri"
    with nginx(tmp_path, f"return 301 {target};") as url:
        found = await examined(*OURS, site=behind(url))
    assert [one.status.value for one in found.values()] == ["well", "failure", "unknown"]
    assert found["url_upgrade"].measured.startswith(f"301 leads to {server.http}/ws/doctor-")


async def test_an_answer_that_never_ends(
    shared_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given up, and what is not about that server is found all the same."""
    monkeypatch.setattr("sanic_chat.doctor.site.REQUEST_SECONDS", 0.5)

    answering: list[asyncio.Task[None]] = []

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.append(current := asyncio.current_task())
        assert current is not None
        with suppress(ConnectionError):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()

    async with await asyncio.start_server(trickle, "127.0.0.1", 0) as slow:
        port = slow.sockets[0].getsockname()[1]
        codes = (*OURS, "redis_eviction", "redis_maxclients")
        found = await examined(
            *codes, site=Site(f"http://127.0.0.1:{port}"), redis_url=shared_redis.url
        )
        await asyncio.wait(answering)  # who asked has hung up
    assert found["url_reachable"].status == "failure"
    assert "0.5 s" in found["url_reachable"].measured
    statuses = [one.status.value for one in found.values()]
    assert statuses == ["well", "well", "failure", "failure", "unknown"]


async def test_a_server_that_is_not_ready() -> None:
    """It serves its own clients, and says why nobody should be sent there."""
    with closing(RedisProcess()) as process:
        process.start()
        with running_server(REDIS_URL=process.url, CHAT_REDIS_TIMEOUT="1") as alone:
            process.kill()
            found = await reached(alone.http)
            while found.status == "well":  # it has not noticed yet
                found = await reached(alone.http)
    assert (found.status, found.measured.partition(":")[0]) == ("warning", "503 no_redis")


async def test_a_certificate_that_ends_tomorrow(
    shared_redis: RedisProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told, by whoever trusts it and by who does not."""
    made = self_signed_certificate(tmp_path, begun=timedelta(days=89), left=timedelta(days=1))
    codes = (*OURS, "url_certificate")
    with running_server(REDIS_URL=shared_redis.url, certificate=made) as server:
        found = await examined(*codes, site=site(server))
        statuses = [found[code].status.value for code in codes]
        assert statuses == ["failure", "failure", "unknown", "warning"]
        for code in ("url_reachable", "url_upgrade"):
            assert "is not trusted here: self-signed certificate" in found[code].measured
            assert "SSL_CERT_FILE" in found[code].mend
        monkeypatch.setenv("SSL_CERT_FILE", str(made.pem))
        found = await examined(*codes, site=site(server))
        statuses = [found[code].status.value for code in codes]
        assert statuses == ["well", "well", "well", "warning"]


async def test_reports_of_a_server_with_its_own_redis() -> None:
    """Without a REDIS_URL the pods are those that the server tells."""
    with running_server() as server:
        codes = ("pods_ready", "pods_settings", "cores", "descriptors", "deployments")
        found = await examined(*codes, site=site(server))
    assert found["pods_ready"].measured == "1 of 1 ready"
    assert found["pods_settings"].status == found["cores"].status == "well"
    assert found["deployments"].status == "unknown"
