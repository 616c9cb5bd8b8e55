"""Requests that take their time, or are none: cut, answered, and never a traceback."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from ..support.clients import RawClient, assert_refused, running_server
from ..support.frames import client_frame
from ..support.harness import (
    DEADLINE,
    SLOW,
    RedisProcess,
    ServerProcess,
    StartServer,
    eventually,
    memory,
)
from ..support.tls import self_signed_certificate

TIMEOUT = 1.0
IDLE_TIMEOUT = 2.0
ANSWER_TIMEOUT = 2.0
MARGIN = 5.0
"""Seconds that a slow machine may take longer."""

STATS = b"GET /ws/stats HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def server(own_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(
        REDIS_URL=own_redis.url,
        CHAT_HANDSHAKE_TIMEOUT=str(TIMEOUT),
        CHAT_SUBSCRIBE_TIMEOUT=str(1.8 * TIMEOUT),
        SANIC_KEEP_ALIVE_TIMEOUT=str(IDLE_TIMEOUT),
        SANIC_RESPONSE_TIMEOUT=str(ANSWER_TIMEOUT),
    ) as server:
        yield server


async def read_to_the_end(client: RawClient, *, since: float | None = None) -> tuple[bytes, float]:
    """What still comes, and after how many seconds, from now or `since`, the connection ends."""
    began = time.monotonic() if since is None else since
    received = b""
    with suppress(ConnectionError):
        async with asyncio.timeout(DEADLINE):
            while part := await client.reader.read(65536):
                received += part
    return received, time.monotonic() - began


@asynccontextmanager
async def dripping(client: RawClient, part: bytes) -> AsyncIterator[None]:
    """Send something again and again."""

    async def drip() -> None:
        while True:
            client.send(part)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(drip())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def assert_late(answer: bytes) -> None:
    """It is one answer: 408 in JSON."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b"content-type: application/json" in head
    assert json.loads(body)["code"] == "request_timeout"


# -- deadlines -------------------------------------------------------------------------------


async def test_a_silent_connection(server):
    """Who says nothing is cut without a word."""
    began = time.monotonic()
    async with RawClient(server) as client:
        received, seconds = await read_to_the_end(client, since=began)
    assert received == b""
    assert TIMEOUT - 0.1 < seconds < TIMEOUT + MARGIN


@pytest.mark.parametrize(
    ("begin", "drip"),
    [
        pytest.param(b"", b"G", id="byte by byte"),
        pytest.param(b"GET /ws HTTP/1.1\r\n", b"X: y\r\n", id="header without end"),
        pytest.param(b"GET /ws HTTP/1.1\r\nHost: h\r\n", b"", id="last line missing"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"", id="TLS"),
    ],
)
async def test_a_slow_request(server, begin, drip):
    """A head that does not end in time gets 408, however steadily bytes arrive."""
    began = time.monotonic()
    async with RawClient(server) as client:
        client.send(begin)
        async with dripping(client, drip):
            received, seconds = await read_to_the_end(client, since=began)
    assert_late(received)
    assert TIMEOUT - 0.1 < seconds < TIMEOUT + MARGIN


async def test_a_slow_second_request(server):
    """On a connection that is kept alive each request has its own time, and no more."""
    async with RawClient(server) as client:
        for _ in range(2):
            client.send(STATS)
            assert (await client.answer())[0] == 200
            await asyncio.sleep(0.6 * TIMEOUT)  # idle: not the time of the next request
        began = time.monotonic()
        client.send(STATS[:10])
        received, seconds = await read_to_the_end(client, since=began)
    assert_late(received)
    assert TIMEOUT - 0.1 < seconds < TIMEOUT + MARGIN


async def test_an_idle_connection(server):
    """A connection that is kept alive may idle for longer, but not for ever."""
    async with RawClient(server) as client:
        began = time.monotonic()
        client.send(STATS)
        assert (await client.answer())[0] == 200
        received, seconds = await read_to_the_end(client, since=began)
    assert received == b""
    assert IDLE_TIMEOUT - 0.2 < seconds < IDLE_TIMEOUT + MARGIN


@pytest.mark.parametrize(
    ("length", "part"),
    [("Content-Length: 50000", b"x"), ("Transfer-Encoding: chunked", b"1\r\nx\r\n")],
    ids=["long", "without end"],
)
async def test_a_slow_body(server, length, part):
    """A request whose body does not end in time gets 408, however steadily bytes arrive."""
    async with RawClient(server) as client:
        began = time.monotonic()
        client.send(f"GET /health HTTP/1.1\r\nHost: h\r\n{length}\r\n\r\n".encode())
        async with dripping(client, part):
            received, seconds = await read_to_the_end(client, since=began)
    assert_late(received)
    assert ANSWER_TIMEOUT - 0.2 < seconds < ANSWER_TIMEOUT + MARGIN


async def test_a_slow_body_that_is_not_read(server):
    """A body that nobody wants does not keep its connection, however steadily it arrives."""
    async with RawClient(server) as client:
        client.send(b"POST /ws HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\n")
        assert (await client.answer())[0] == 405
        async with dripping(client, b"x"):
            _, seconds = await read_to_the_end(client)
    assert seconds < IDLE_TIMEOUT + MARGIN


async def test_a_large_body(server):
    """A body that is too large ends its connection instead of being read."""
    async with RawClient(server) as client:
        client.send(b"POST /ws HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999\r\n\r\n" + bytes(99))
        assert (await client.answer())[0] == 405
        _, seconds = await read_to_the_end(client)
    assert seconds < IDLE_TIMEOUT - 0.5


async def test_an_answer_that_is_not_taken(server):
    """Who asks and does not read is cut."""
    async with RawClient(server) as client:
        client.writer.transport.pause_reading()
        requests = int(Path("/proc/sys/net/ipv4/tcp_wmem").read_text().split()[2]) // 1000
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * (requests + 2000))
        sessions = server.pod()["connections"]
        # Its bytes stay in the kernel when the server does not read on: it ends with a reset.
        async with asyncio.timeout(DEADLINE):
            while not client.writer.transport.is_closing():
                client.send(b"\r\n")
                await asyncio.sleep(0.05)
        assert server.pod()["connections"] == sessions


async def test_a_session_has_no_deadline(server):
    """After the upgrade none of this applies."""
    async with RawClient(server) as client:
        assert (await client.request("/ws/patient"))[0] == 101
        await asyncio.sleep(1.6 * TIMEOUT)
        client.send(client_frame(0x81, b'{"data": 1}'))
        assert json.loads((await client.frame())[1])["data"] == 1


async def test_a_request_that_waits_for_redis(server, own_redis):
    """The time that the server itself takes is not the client's."""
    own_redis.signal(signal.SIGSTOP)
    try:
        async with RawClient(server) as client:
            began = time.monotonic()
            assert (await client.request("/ws/slow-redis"))[0] == 101
            assert time.monotonic() - began > 1.5 * TIMEOUT
    finally:
        own_redis.signal(signal.SIGCONT)


async def test_a_frozen_process(start_server, shared_redis):
    """Time in which the process could not read is not held against who has sent."""
    server = start_server(
        "--single-process", REDIS_URL=shared_redis.url, CHAT_HANDSHAKE_TIMEOUT=str(TIMEOUT)
    )
    async with RawClient(server) as client:
        client.send(STATS[:10])
        server.signal(signal.SIGSTOP)
        try:
            client.send(STATS[10:])
            await asyncio.sleep(1.5 * TIMEOUT)
        finally:
            server.signal(signal.SIGCONT)
        assert (await client.answer())[0] == 200
    server.stop()


async def test_many_slow_connections(server):
    """While hundreds are slow, and when they are all cut at once, others connect at once."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(RawClient(server)) for _ in range(300)]
        for number, client in enumerate(clients):
            client.send(STATS[: number % 20])
        ends = asyncio.gather(*map(read_to_the_end, clients))
        longest = 0.0
        while not ends.done():
            began = time.monotonic()
            async with RawClient(server) as newcomer:
                assert (await newcomer.request())[0] == 101
            longest = max(longest, time.monotonic() - began)
            await asyncio.sleep(0.01)
        for number, (received, _) in enumerate(await ends):
            if number % 20:
                assert_late(received)
            else:
                assert received == b""
        assert longest < SLOW
    assert "Traceback" not in server.log


@pytest.fixture
def tls_server(
    start_server: StartServer, shared_redis: RedisProcess, tmp_path: Path
) -> ServerProcess:
    """A server that speaks TLS itself."""
    certificate = self_signed_certificate(tmp_path)
    return start_server(
        "--single-process", "--cert", str(certificate.pem), "--key", str(certificate.key),
        REDIS_URL=shared_redis.url,
        CHAT_HANDSHAKE_TIMEOUT=str(TIMEOUT),
    )  # fmt: skip


async def test_tls(tls_server):
    """The deadline covers the TLS handshake, and what comes after it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    async with RawClient(tls_server) as silent, RawClient(tls_server) as half:
        half.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        ends = await asyncio.gather(read_to_the_end(silent), read_to_the_end(half))
        assert max(seconds for _, seconds in ends) < TIMEOUT + MARGIN
    for begin in (b"", STATS[:10]):
        began = time.monotonic()
        async with RawClient(tls_server, tls=context) as client:
            client.send(begin)
            received, seconds = await read_to_the_end(client, since=began)
            assert TIMEOUT - 0.1 < seconds < TIMEOUT + MARGIN
        if begin:
            assert_late(received)
    for origin, status in (("https://localhost", 101), ("http://localhost", 403)):
        async with RawClient(tls_server, tls=context) as client:
            assert (await client.request("/ws", Origin=origin))[0] == status


# -- what is no request ----------------------------------------------------------------------


NO_REQUESTS = {
    "bytes": (400, bytes(range(1, 256)) + b"\r\n\r\n"),
    "TLS": (400, b"\x16\x03\x01 \x02\x00\x01 \x00\x01\xfc\x03\x03\r\n\r\n"),
    "three words": (400, b"what is this\r\n\r\n"),
    "no path": (400, b"GET ?room=a HTTP/1.1\r\nHost: h\r\n\r\n"),
    "no path but a host": (400, b"GET http://h HTTP/1.1\r\nHost: h\r\n\r\n"),
    "no URL": (400, b"GET http://[ HTTP/1.1\r\nHost: h\r\n\r\n"),
    "CONNECT": (400, b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n"),
    "HTTP/3": (400, b"GET /ws HTTP/3\r\n\r\n"),
    "two lengths": (
        400,
        b"GET /ws HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    "a length in other digits": (
        400,
        "GET /ws HTTP/1.1\r\nContent-Length: \u0665\r\n\r\nhello".encode(),
    ),
    "a chunk of 0x5 bytes": (
        400,
        b"GET /health HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    ),
    "a chunk of some bytes": (
        400,
        b"GET /health HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\xd9\xa5\r\nhello\r\n0\r\n\r\n",
    ),
    **{
        f"a field as {field!r}": (400, b"POST /ws HTTP/1.1\r\n%b\r\n\r\nhello" % field)
        for field in (
            b"Content-Length : 5",
            b" Content-Length: 5",
            b"X: y\nContent-Length: 5",
            b"X: y\rContent-Length: 5",
            b"X: \0",
            b": 5",
        )
    },
    **{
        f"chunks as {body!r}": (
            400,
            b"GET /health HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + body,
        )
        for body in (b"5\r\nhelloXX0\r\n\r\n", b"5;\n\r\nhello\r\n0\r\n\r\n", b"5\nhello\n0\n\n")
    },
    "long header": (431, b"GET /ws HTTP/1.1\r\nX: " + b"x" * 17000 + b"\r\n\r\n"),
    "long header without end": (431, b"GET /ws HTTP/1.1\r\nX: " + b"x" * 17000),
    "long URL": (431, b"GET /" + b"x" * 17000 + b" HTTP/1.1\r\n\r\n"),
    "slashes": (404, b"GET " + b"/" * 15000 + b"x" + b"/" * 1000 + b" HTTP/1.1\r\n\r\n"),
    "slashes at the end": (404, b"GET /x" + b"/" * 15000 + b" HTTP/1.1\r\n\r\n"),
    "escapes": (400, b"GET /" + b"%41" * 5000 + b" HTTP/1.1\r\n\r\n"),
    "OPTIONS": (405, b"OPTIONS /ws HTTP/1.1\r\nHost: h\r\n\r\n"),
    "two hosts": (400, b"GET /api/chat-api/ready HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n"),
}

BAD_HANDSHAKES = {
    "no key": (400, {"Sec_WebSocket_Key": None}),
    "version 8": (426, {"Sec_WebSocket_Version": "8"}),
    "HTTP/1.0": (400, {"version": "HTTP/1.0"}),
    "foreign page": (403, {"Origin": "https://evil.example"}),
    "bad room": (400, {"path": "/ws/a%2Ab"}),
}


@pytest.mark.parametrize("case", NO_REQUESTS)
async def test_no_request(server, case):
    """What is no request is refused in JSON, without a line in the log."""
    status, request = NO_REQUESTS[case]
    await assert_refused(server, request, status)


async def test_floods(server):
    """Thousands of bad handshakes are all answered, and cost neither memory nor a long log."""
    [worker] = server.worker_pids

    async def flood(times: int) -> None:
        for _ in range(times):
            for status, request in NO_REQUESTS.values():
                async with RawClient(server) as client:
                    client.send(request)
                    assert (await client.answer())[0] == status
            for status, changes in BAD_HANDSHAKES.values():
                async with RawClient(server) as client:
                    assert (await client.request(**changes))[0] == status
            async with RawClient(server) as client:
                client.send(STATS[:30])  # and goes away

    await flood(20)
    before, began = memory(worker), time.monotonic()
    lines = len(server.log.splitlines())
    await flood(100)
    assert memory(worker) - before < 2 * 2**20
    assert len(server.log.splitlines()) - lines <= 1 + time.monotonic() - began
    assert "Traceback" not in server.log


async def test_mangled_requests(server):
    """Whatever is done to a request, it is answered or waited for, never with a traceback."""
    chance = random.Random(11)
    originals = [
        b"GET /ws/lobby?room=lobby&echo=1 HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nOrigin: https://h\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer x.y.z\r\n\r\n",
        b"POST /ws HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n0\r\n\r\n",
        b"HEAD /ready HTTP/1.1\r\nHost: h\r\nCookie: a=b\r\nContent-Length: 3\r\n\r\nabc",
    ]
    lines, began = len(server.log.splitlines()), time.monotonic()
    for _ in range(600):
        request = bytearray(chance.choice(originals))
        for _ in range(chance.randint(1, 6)):
            place = chance.randrange(len(request))
            if chance.random() < 0.5:
                request[place] = chance.choice(b"\x00\xff\x80 \r\n%:;[]/?#&=+*\\\"'{}@,-0A")
            else:
                request[place : place + chance.randint(0, 9)] = chance.choice(
                    [b"", b"%", b"%zz", b"\x00", b"[", b"://", b"\xc3\xa9", b" ", b"\r\n", b"?" * 9]
                )
        async with RawClient(server) as client:
            client.send(bytes(request) + b"\r\n\r\n")
            with suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(0.02):
                    await client.reader.read(1)
    async with RawClient(server) as client:
        assert (await client.request())[0] == 101
    # A line a second about pages, and one about clients that break the protocol.
    assert len(server.log.splitlines()) - lines <= 2 * (1 + time.monotonic() - began)
    assert "Traceback" not in server.log
    await eventually(lambda: server.pod()["handshakes"] == 0, "no handshake is left")
