"""How a real server reaches Redis: password, database, socket and TLS, all in the URL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis.asyncio

from ..support.clients import RedisProxy, own_echo, say
from ..support.harness import DEADLINE, RedisProcess, ServerProcess, eventually, receive
from ..support.tls import self_signed_certificate


async def assert_crosses(server: ServerProcess, room: str, outside: redis.asyncio.Redis) -> None:
    """The server hears what is published, and publishes what its clients say."""
    async with server.connect(room) as client, outside.pubsub() as listener:
        channel = f"realtime:room:{room}"
        await outside.publish(channel, '{"data": "from outside"}')
        assert (await receive(client))["data"] == "from outside"
        await listener.subscribe(channel)
        assert (await listener.get_message(timeout=DEADLINE))["type"] == "subscribe"
        await say(client, "from inside")
        assert b'"data":"from inside"' in (await listener.get_message(timeout=DEADLINE))["data"]
    assert server.stats()["complete"] is True


@pytest.mark.parametrize(
    ("mode", "url"),
    [
        ("--workers=2", "redis://127.0.0.1/chat"),
        ("--workers=2", "rediss://127.0.0.1?ssl_ca_certs=/none.pem"),
        ("--single-process", "rediss://127.0.0.1?ssl_ca_certs=/none.pem"),
    ],
)
def test_the_server_does_not_start(start_server, mode: str, url: str) -> None:
    """A URL whose path, options or files are wrong ends the start, with a sentence."""
    server = start_server(mode, wait=False, REDIS_URL=url)
    assert server.wait() == 1
    assert "sanic_chat does not start: REDIS_URL cannot be used: " in server.log
    assert "Traceback" not in server.log


async def test_a_user_without_a_password(start_server, room) -> None:
    """A user alone is introduced with an empty password, which is what `nopass` takes."""
    with closing(RedisProcess()) as process:
        process.start()
        async with redis.asyncio.Redis(port=process.port) as admin:
            await admin.execute_command("ACL SETUSER chat on nopass ~* &* +@all")
            await admin.acl_setuser("default", enabled=False)
        server = start_server(
            "--single-process", REDIS_URL=f"redis://chat@127.0.0.1:{process.port}"
        )
        async with redis.asyncio.Redis(port=process.port, username="chat", password="") as outside:
            await assert_crosses(server, room, outside)
            assert {client["user"] for client in await outside.client_list()} == {"chat"}
        server.stop()


async def test_wrong_password(start_server, room):
    """With a wrong password a server serves its own clients, and does not flood the log."""
    process = RedisProcess("--requirepass", "right")
    try:
        process.start()
        server = start_server(
            "--single-process", REDIS_URL=f"redis://:wrong-one@127.0.0.1:{process.port}"
        )
        async with (
            server.connect(room) as client,
            redis.asyncio.Redis(port=process.port, password="right") as admin,
        ):

            async def attempts() -> bool:
                return (await admin.info("stats"))["total_connections_received"] > 10

            await eventually(attempts, "the server has tried again and again")
            await own_echo(client)
        away = [line for line in server.log.splitlines() if "WRONGPASS" in line]
        assert "serves, and is not ready (redis_refuses) [" in server.log
        assert "is ready [" not in server.log
        assert len(away) == 3  # subscriber, publisher and stats
        assert "wrong-one" not in server.log
        server.stop()
    finally:
        process.close()


async def test_password_and_database(start_server, room):
    """Password and database in the URL are used, for everything, and never shown."""
    process = RedisProcess("--requirepass", "p@ss/word")
    try:
        process.start()
        server = start_server(
            "--single-process",
            REDIS_URL=f"redis://default:p%40ss%2Fword@127.0.0.1:{process.port}/3",
        )
        async with redis.asyncio.Redis(port=process.port, password="p@ss/word", db=3) as outside:
            await assert_crosses(server, room, outside)
            assert await outside.scard("realtime:pods") == 1
            names = {c["name"]: c["db"] for c in await outside.client_list() if c["name"]}
            links = {name.rpartition(":")[2] for name in names}
            assert links == {"publisher", "subscriber", "stats"}
            assert set(names.values()) == {"3"}
        for secret in ("p@ss", "p%40ss"):
            assert secret not in server.log
        server.stop()
    finally:
        process.close()


async def test_unix_socket(start_server, room, tmp_path):
    """A unix:// URL reaches Redis through its socket."""
    path = tmp_path / "redis.sock"
    process = RedisProcess("--unixsocket", str(path))
    try:
        process.start()
        server = start_server("--single-process", REDIS_URL=f"unix://{path}?db=2")
        async with redis.asyncio.Redis(port=process.port, db=2) as outside:
            await assert_crosses(server, room, outside)
            assert await outside.scard("realtime:pods") == 1
        server.stop()
    finally:
        process.close()


@pytest.fixture
def tls_proxy(shared_redis: RedisProcess, tmp_path: Path) -> Iterator[tuple[RedisProxy, Path]]:
    """Redis behind TLS, and the certificate it shows."""
    certificate = self_signed_certificate(tmp_path)
    with RedisProxy(shared_redis.port, tls=certificate.server_context()) as proxy:
        yield proxy, certificate.pem


@pytest.mark.parametrize("options", ["ssl_ca_certs={}", "ssl_cert_reqs=none"])
async def test_tls(start_server, shared_redis, tls_proxy, room, options):
    """A rediss:// URL speaks TLS, with the options in the URL."""
    proxy, certificate = tls_proxy
    url = f"rediss://127.0.0.1:{proxy.port}?{options.format(certificate)}"
    server = start_server("--single-process", REDIS_URL=url)
    async with redis.asyncio.Redis(port=shared_redis.port) as outside:
        await assert_crosses(server, room, outside)
    assert re.search(rf"Redis at rediss://127\.0\.0\.1:{proxy.port}\b", server.log)
    server.stop()


async def test_renewed_certificates(start_server, shared_redis, tls_proxy, room, tmp_path):
    """When authority and certificate are renewed, the next connections take what is there then."""
    proxy, certificate = tls_proxy
    server = start_server(
        "--single-process", REDIS_URL=f"rediss://127.0.0.1:{proxy.port}?ssl_ca_certs={certificate}"
    )
    async with redis.asyncio.Redis(port=shared_redis.port) as outside:
        await assert_crosses(server, room, outside)
        renewed = self_signed_certificate(tmp_path)  # in the same files
        proxy.tls.load_cert_chain(renewed.pem, renewed.key)
        proxy.cut()

        def connected_again() -> bool:
            pod = server.pod()
            return pod["ready"] and pod["redis"]["reconnects"] == 2 and server.stats()["complete"]

        await eventually(connected_again, "the pod is connected again")
        await assert_crosses(server, room, outside)
    assert server.log.count("CERTIFICATE_VERIFY_FAILED") == 0
    server.stop()


async def test_untrusted_certificate(start_server, tls_proxy, room):
    """A certificate that nobody vouches for is refused; own clients are served."""
    proxy, _ = tls_proxy
    server = start_server("--single-process", REDIS_URL=f"rediss://127.0.0.1:{proxy.port}")
    async with server.connect(room) as client:
        await own_echo(client)
    assert server.stats()["complete"] is False
    assert server.log.count("CERTIFICATE_VERIFY_FAILED") == 3  # subscriber, publisher and stats
    server.stop()
