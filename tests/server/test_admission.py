"""How many clients a worker takes, and which pages: over real sockets."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from ..support.clients import RawClient, running_server
from ..support.harness import RedisProcess, ServerProcess, eventually

LIMIT = 5
PAGE = "https://chat.example.com"


@pytest.fixture(scope="module")
def small_server(own_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(
        REDIS_URL=own_redis.url,
        CHAT_MAX_CONNECTIONS=str(LIMIT),
        CHAT_RETRY_AFTER="7",
        CHAT_SUBSCRIBE_TIMEOUT="5",
    ) as server:
        yield server


async def upgrade(client: RawClient, room: str = "full") -> tuple[int, str]:
    status, _, body = await client.request(f"/ws/{room}")
    return status, "" if status == 101 else json.loads(body)["code"]


@asynccontextmanager
async def clients_of(server: ServerProcess, count: int) -> AsyncIterator[list[RawClient]]:
    """So many TCP connections to a server that has no clients yet."""
    await eventually(lambda: server.pod()["connections"] == 0, "nobody is connected")
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(RawClient(server)) for _ in range(count)]


async def test_the_limit(small_server):
    """One client too many gets 503 and when to come back; a place that is left is free again."""
    server = small_server
    refused = server.pod()["upgrades_refused"].get("too_many_connections", 0)
    async with clients_of(server, LIMIT) as clients, RawClient(server) as late:
        for client in clients:
            assert await upgrade(client) == (101, "")
        status, headers, body = await late.request("/ws/other")
        assert (status, headers["retry-after"]) == (503, "7")
        assert json.loads(body)["code"] == "too_many_connections"
        pod = server.pod()
        assert (pod["connections"], pod["max_connections"]) == (LIMIT, LIMIT)
        assert pod["upgrades_refused"]["too_many_connections"] == refused + 1
        clients[0].writer.transport.abort()

        async def has_place() -> bool:
            async with RawClient(server) as newcomer:
                return (await upgrade(newcomer))[0] == 101

        await eventually(has_place, "there is a place")


async def test_a_storm_does_not_overshoot(small_server, own_redis):
    """While Redis makes all handshakes wait, no more of them are begun than there are places."""
    async with clients_of(small_server, 4 * LIMIT) as clients:
        own_redis.signal(signal.SIGSTOP)
        try:
            answers = [
                asyncio.create_task(upgrade(client, f"storm-{number}"))
                for number, client in enumerate(clients)
            ]
            refused = 3 * LIMIT
            await eventually(
                lambda: sum(answer.done() for answer in answers) == refused, f"{refused} answers"
            )
            assert [a.result() for a in answers if a.done()] == (
                [(503, "too_many_connections")] * refused
            )
        finally:
            own_redis.signal(signal.SIGCONT)
        statuses = [status for status, _ in await asyncio.gather(*answers)]
        assert statuses.count(101) == LIMIT
        assert small_server.pod()["handshakes"] == 0


async def test_clients_that_give_up_leave_their_place(small_server, own_redis):
    """A handshake whose client goes away before its answer does not keep its place."""
    async with clients_of(small_server, LIMIT) as clients:
        own_redis.signal(signal.SIGSTOP)
        try:
            for number, client in enumerate(clients):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await upgrade(client, f"gone-{number}")
                client.writer.transport.abort()
        finally:
            own_redis.signal(signal.SIGCONT)
    async with clients_of(small_server, LIMIT) as clients:
        await eventually(lambda: small_server.pod()["handshakes"] == 0, "no handshake is left")
        for client in clients:
            assert await upgrade(client) == (101, "")


async def test_the_log_of_a_full_server(small_server):
    """However many are refused, the log has a line a second at most."""
    server = small_server
    async with clients_of(server, LIMIT) as clients:
        for client in clients:
            assert await upgrade(client) == (101, "")
        lines, began = server.log.count("CHAT_MAX_CONNECTIONS"), time.monotonic()
        for _ in range(50):
            async with RawClient(server) as late:
                assert (await upgrade(late))[0] == 503
        seconds = time.monotonic() - began
        assert server.log.count("CHAT_MAX_CONNECTIONS") - lines <= 1 + seconds


@pytest.fixture(scope="module")
def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(REDIS_URL=shared_redis.url) as server:
        yield server


@pytest.fixture(scope="module")
def strict_server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(REDIS_URL=shared_redis.url, CHAT_ALLOWED_ORIGINS=PAGE) as server:
        yield server


@pytest.mark.parametrize("prefix", ["", "/api/chat-api"], ids=["no prefix", "prefix"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"Host": "chat.example.com", "Origin": PAGE}, 101, id="own host"),
        pytest.param({"Host": "h:8000", "Origin": "http://h:8000"}, 101, id="own port"),
        pytest.param({"Host": "h:8000", "Origin": "http://h:3000"}, 403, id="other port"),
        pytest.param({"Host": "chat.example.com"}, 101, id="no browser"),
        pytest.param({"Host": "backend:8000", "Origin": PAGE}, 403, id="other host"),
        pytest.param({"Host": "h", "Origin": "null"}, 403, id="null"),
        pytest.param({"Host": "h", "Origin": ""}, 403, id="empty"),
        pytest.param(
            {"Host": "backend", "Origin": PAGE, "X_Forwarded_Host": "chat.example.com"},
            403,
            id="forwarded host",
        ),
        pytest.param(
            {"Host": "chat.example.com", "Origin": PAGE, "origin": "https://evil.example"},
            403,
            id="two origins",
        ),
        pytest.param(
            {"Host": "evil.example", "host": "chat.example.com", "Origin": PAGE},
            400,
            id="two hosts",
        ),
        pytest.param({"Host": None, "Origin": PAGE}, 403, id="no host"),
    ],
)
async def test_the_own_host(server, prefix, headers, status):
    """By default only pages of the host in the Host header may connect."""
    async with RawClient(server) as client:
        answer, _, body = await client.request(f"{prefix}/ws", **headers)
    assert answer == status
    if status == 403:
        assert json.loads(body)["code"] == "forbidden_origin"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"Host": "anything", "Origin": PAGE}, 101, id="listed"),
        pytest.param({"Host": "h", "Origin": "https://CHAT.example.com:443"}, 101, id="spelling"),
        pytest.param({"Host": "h", "Origin": "http://h"}, 403, id="own host"),
        pytest.param({"Host": "h"}, 101, id="no browser"),
    ],
)
async def test_the_list(strict_server, headers, status):
    """With CHAT_ALLOWED_ORIGINS its pages may connect, and no others."""
    async with RawClient(strict_server) as client:
        assert (await client.request("/ws", **headers))[0] == status


async def test_refused_origins_are_counted_and_logged(strict_server):
    """The stats count who was refused; the log says whom, escaped, once a second at most."""
    before = strict_server.pod()["upgrades_refused"].get("forbidden_origin", 0)
    lines, began = strict_server.log.count("Refused a page"), time.monotonic()
    for number in range(50):
        async with RawClient(strict_server) as client:
            status, _, _ = await client.request("/ws", Origin=f"https://evil-{number}\x1b[31m")
            assert status == 403
    await eventually(
        lambda: strict_server.pod()["upgrades_refused"]["forbidden_origin"] == before + 50,
        "all are counted",
    )
    seconds = time.monotonic() - began
    assert strict_server.log.count("Refused a page") - lines <= 1 + seconds
    assert "\x1b" not in strict_server.log.partition("Refused a page")[2].partition("\n")[0]


async def test_what_is_said_of_a_foreign_page(server, strict_server):
    """With the rule of the own host client and log are told of Host; with a list they are not."""
    told = {}
    for which, asked in (("host", server), ("list", strict_server)):
        async with RawClient(asked) as client:
            _, _, body = await client.request(
                "/ws", Host="backend:8000", Origin="https://a.example"
            )
        told[which] = json.loads(body)["message"]
    assert told["host"] == (
        "Pages of this origin may not connect here: it is not that of the Host header, unless a "
        "proxy has changed Host"
    )
    assert told["list"] == "Pages of this origin may not connect here"
    # Of this page, or of one that another test has refused within the same second.
    assert (
        ": they differ, unless a proxy has changed Host (it has to pass it on; nginx: "
        "proxy_set_header Host $http_host); CHAT_ALLOWED_ORIGINS names pages that may" in server.log
    )
    assert "proxy" not in strict_server.log


def test_a_wrong_list_keeps_the_server_from_starting(start_server):
    """A list that holds no origins is refused in a sentence, with exit code 1."""
    server = start_server(wait=False, CHAT_ALLOWED_ORIGINS="chat.example.com")
    assert server.wait() == 1
    assert (
        "sanic_chat does not start: CHAT_ALLOWED_ORIGINS is 'chat.example.com'; allowed is a "
        "comma-separated list of origins like https://chat.example.com" in server.log
    )
