"""Clients behind each proxy: whose pages may connect, HTTP/2, silence, limits of one address."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from ..support.balancers import TwoServers, proxy, with_change
from ..support.clients import RawClient
from ..support.frames import client_frame
from ..support.harness import DEADLINE, RedisProcess, eventually, receive
from ..support.http2 import connect_http2
from ..support.tls import Certificate, self_signed_certificate

TOO_MANY = 429


@pytest.fixture(scope="module")
def servers(shared_redis: RedisProcess) -> Iterator[TwoServers]:
    """Two servers with the settings that all have unless they say otherwise."""
    servers = TwoServers([shared_redis.url] * 2)
    yield servers
    servers.close()


@pytest.fixture(scope="module")
def patient_servers(shared_redis: RedisProcess) -> Iterator[TwoServers]:
    """Two that ping silent clients every two seconds."""
    servers = TwoServers([shared_redis.url] * 2, CHAT_HEARTBEAT_TIMEOUT="4")
    yield servers
    servers.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return self_signed_certificate(tmp_path_factory.mktemp("certificate"))


async def test_hosts_and_origins(kind, servers, tmp_path, room) -> None:
    """A page of the proxy's host may connect through it, and no other; messages go both ways."""
    with proxy(kind, servers, tmp_path) as front:
        own = {"Origin": f"http://127.0.0.1:{front.port}"}
        async with front.connect(room, **own) as one, front.connect(room, **own) as other:
            await one.send('{"data": "hello"}')
            assert (await receive(other))["data"] == "hello"
        with pytest.raises(InvalidStatus) as refusal:
            await front.connect(room, Origin="http://elsewhere.example")
        assert refusal.value.response.status_code == 403


async def test_metrics_are_not_for_all(kind, servers, tmp_path) -> None:
    """However their path is spelled, a proxy does not tell what the server would."""
    spellings = """/metrics /metrics/ /metrics// //metrics /%6Detrics /metric%73 /./metrics
    /x/../metrics
    /metrics?a=b /metrics;a /METRICS /metrics%2f /%2fmetrics /metrics/. /metrics%00 /metrics%20"""
    told = 0
    with proxy(kind, servers, tmp_path) as front:
        for spelling in spellings.split():
            for prefix in ("", "/api/chat-api"):
                path = f"{prefix}{spelling}"
                async with RawClient(servers.running[0]) as client:
                    client.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
                    direct, _, body = await client.answer()
                told += direct == 200 and b"sanic_chat_workers" in body
                async with RawClient(front) as client:
                    client.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
                    status, _, body = await client.answer()
                assert b"sanic_chat_workers" not in body, path
                assert status in (400, 403, 404), path
        page = await asyncio.to_thread(httpx.get, front.http.replace("/api/chat-api", "/"))
        assert page.status_code == 200
    assert told >= 4


@pytest.mark.parametrize("kind", with_change("tls_port"), indirect=True, ids=str)
async def test_http_2(kind, servers, certificate, tmp_path, room) -> None:
    """The page comes over HTTP/2; its WebSockets in HTTP/1.1 beside it, on the same port."""
    with proxy(kind, servers, tmp_path, certificate=certificate) as front:
        origin = f"https://127.0.0.1:{front.tls_port}"
        tls = certificate.client_context()
        async with httpx.AsyncClient(http2=True, verify=tls, timeout=DEADLINE) as browser:
            page = await browser.get(f"{origin}/")
        assert (page.status_code, page.http_version) == (200, "HTTP/2")
        assert "<html" in page.text
        tls = certificate.client_context()
        tls.set_alpn_protocols(["http/1.1"])  # as browsers do for a WebSocket
        async with front.connect(room, tls=tls, Origin=origin) as client:
            await client.send('{"data": "hello"}')
            assert (await receive(client))["data"] == "hello"


@pytest.mark.parametrize("kind", with_change("tls_port"), indirect=True, ids=str)
async def test_a_websocket_within_http_2(
    kind, patient_servers, certificate, tmp_path, room
) -> None:
    """HAProxy takes it, and keeps it while it is silent; nginx does not offer it."""
    path = f"/api/chat-api/ws/{room}"
    with proxy(kind, patient_servers, tmp_path, certificate=certificate, idle=4) as front:
        tls = certificate.client_context()
        own = f"https://127.0.0.1:{front.tls_port}"
        async with (
            connect_http2(front.tls_port, path, tls, origin=own) as client,
            front.connect(room) as other,
        ):
            assert client.is_offered == (kind.name == "HAProxy")
            if not client.is_offered:
                return
            assert client.status == 200
            for number in range(2):
                assert await client.receive() == b""  # a ping, after two seconds
                client.pong()
                client.send(b'{"data": %d}' % number)
                assert (await receive(other))["data"] == number
                assert json.loads(await client.receive())["data"] == number
        async with connect_http2(front.tls_port, path, tls, origin="https://e.example") as client:
            assert client.status == 403


async def test_silent_clients(kind, patient_servers, tmp_path, room) -> None:
    """Pings keep a silent client connected, if the proxy waits longer than half of the timeout."""
    with proxy(kind, patient_servers, tmp_path, idle=4) as front:
        async with RawClient(front) as client:
            assert (await client.request(f"/api/chat-api/ws/{room}"))[0] == 101
            for _ in range(3):  # two seconds each
                assert await client.frame() == (9, b"")
                client.send(client_frame(0x8A))


async def test_clients_that_are_silent_for_too_long(kind, servers, tmp_path, room) -> None:
    """With a shorter timeout the proxy cuts them off before the first ping."""
    with proxy(kind, servers, tmp_path, idle=1) as front:
        async with RawClient(front) as client:
            assert (await client.request(f"/api/chat-api/ws/{room}"))[0] == 101
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await client.frame()


@pytest.mark.parametrize("kind", with_change("clients"), indirect=True, ids=str)
async def test_clients_of_one_address(kind, servers, tmp_path, room) -> None:
    """One more than its limit gets 429, until one of them goes; who is connected stays."""
    with proxy(kind, servers, tmp_path, clients=2) as front:

        async def may_connect() -> bool:
            try:
                await clients.enter_async_context(front.connect(room))
            except InvalidStatus as refusal:
                return refusal.response.status_code != TOO_MANY
            return True

        async with AsyncExitStack() as clients:
            async with front.connect(room) as first, front.connect(room) as second:
                assert not await may_connect()
                await first.send('{"data": "still here"}')
                assert (await receive(second))["data"] == "still here"
            await eventually(may_connect, "there is room for another one")


@pytest.mark.parametrize("kind", with_change("burst"), indirect=True, ids=str)
async def test_requests_of_one_address(kind, servers, tmp_path) -> None:
    """More at once than its limit get 429."""
    with proxy(kind, servers, tmp_path, rate="1r/m", burst=5) as front:
        async with httpx.AsyncClient(timeout=DEADLINE) as client:
            answers = [(await client.get(f"{front.http}/health")).status_code for _ in range(20)]
        assert answers[0] == 200
        assert answers.index(TOO_MANY) <= 7
        assert set(answers[answers.index(TOO_MANY) :]) == {TOO_MANY}
