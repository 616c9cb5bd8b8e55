"""What Redis lets a user do: the documented ACL is enough, and each word that it lacks is found."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from sanic_chat.doctor.findings import Finding
from sanic_chat.protocol.api_keys import read_key

from ..support.examined import examined, finding
from ..support.harness import ROOT, RedisProcess, wait_until

DOCTOR = ROOT / "docs/doctor.md"
PASSWORD = "correct-horse"
[DOCUMENTED] = re.findall(r"^ACL SETUSER .*$", (ROOT / "docs/redis.md").read_text(), re.MULTILINE)
WORDS = DOCUMENTED.replace(">password", f">{PASSWORD}").split()[2:]


@pytest.fixture
def admin(server: RedisProcess) -> Iterator[Redis]:
    """A user that may do everything; the other one has the documented ACL."""
    with Redis(port=server.port, decode_responses=True) as admin:
        admin.execute_command("ACL SETUSER", *WORDS)
        yield admin
        wait_until(lambda: admin.keys("*") == [], "nothing is left behind")
        assert admin.acl_deluser("sanic_chat") == 1


KEYS = (read_key(f"backend:publish:{'x' * 32}"),)


async def acl(server: RedisProcess, **settings: Any) -> Finding:
    url = f"redis://sanic_chat:{PASSWORD}@127.0.0.1:{server.port}"
    return await finding("redis_acl", redis_url=url, **{"api_keys": KEYS, **settings})


async def test_the_documented_acl(server: RedisProcess, admin: Redis) -> None:
    """It is the smallest one, and enough."""
    assert (await acl(server)).status == "well"


async def test_what_only_the_api_needs(server: RedisProcess, admin: Redis) -> None:
    """Without keys for backends nobody misses it."""
    admin.execute_command("ACL SETUSER", "sanic_chat", "-eval")
    assert (await acl(server, api_keys=())).status == "well"


@pytest.mark.parametrize("word", [word for word in WORDS if word[0] == "+"])
async def test_a_command_that_is_missing(server: RedisProcess, admin: Redis, word: str) -> None:
    """It is named, with the one command that gives it to this user, and that is enough."""
    admin.execute_command("ACL SETUSER", "sanic_chat", f"-{word[1:]}")
    one = await acl(server)
    vital = word in ("+subscribe", "+publish")
    assert one.status == ("failure" if vital else "warning")
    assert one.measured == f"refused: {word}"
    program, *command = shlex.split(one.mend)
    assert program == "redis-cli"
    admin.execute_command(*command)
    assert (await acl(server)).status == "well"


@pytest.mark.parametrize(
    ("allowed", "missing", "status"),
    [
        ("&realtime:room:* &realtime:pod:* &realtime:control", "&realtime:global", "failure"),
        ("&realtime:room:* &realtime:global &realtime:control", "&realtime:pod:*", "failure"),
        ("&realtime:pod:* &realtime:global &realtime:control", "&realtime:room:*", "warning"),
        ("&realtime:pod:* &realtime:global &realtime:room:*", "&realtime:control", "failure"),
    ],
)
async def test_a_channel_that_is_missing(
    server: RedisProcess, admin: Redis, allowed: str, missing: str, status: str
) -> None:
    admin.execute_command("ACL SETUSER", "sanic_chat", "resetchannels", *allowed.split())
    one = await acl(server)
    assert (one.status, one.measured) == (status, f"refused: {missing}")
    admin.execute_command(*shlex.split(one.mend)[1:])
    assert (await acl(server)).status == "well"


PATTERNS = [word for word in WORDS if word[0] == "~"]


@pytest.mark.parametrize("missing", PATTERNS)
async def test_a_key_that_is_missing(server: RedisProcess, admin: Redis, missing: str) -> None:
    rest = set(PATTERNS) - {missing}
    admin.execute_command("ACL SETUSER", "sanic_chat", "resetkeys", *rest)
    one = await acl(server)
    assert (one.status, one.measured) == ("warning", f"refused: {missing}")


async def test_a_user_that_may_only_add(server: RedisProcess, admin: Redis) -> None:
    """Who could make a key, and neither delete it nor let it expire, makes none."""
    for word in ("set", "del", "srem", "pexpire"):
        admin.execute_command("ACL SETUSER", "sanic_chat", f"-{word}")
    one = await acl(server)
    assert one.measured == "refused: +set +pexpire +srem +del"
    assert admin.keys("*") == []


async def test_a_user_for_the_doctor(server: RedisProcess, admin: Redis) -> None:
    """The one that is documented may see everything that there is to be checked."""
    [line] = re.findall(r"^ACL SETUSER .*$", DOCTOR.read_text(), re.MULTILINE)
    name, *words = line.split()[2:]
    admin.execute_command("ACL SETUSER", name, *words)
    password = words[1].removeprefix(">")
    found = await examined(redis_url=f"redis://{name}:{password}@127.0.0.1:{server.port}")
    assert admin.acl_deluser(name) == 1
    ours = {code: one for code, one in found.items() if code.startswith("redis_")}
    assert ours.pop("redis_certificate").status == "unknown"
    ours |= {code: found[code] for code in ("deployments", "listeners")}
    assert {code for code, one in ours.items() if one.status != "well"} == set()


async def test_another_prefix(server: RedisProcess, admin: Redis) -> None:
    """What is allowed for one deployment is not for another, and the mend names that one's."""
    one = await acl(server, redis_prefix="staging")
    assert one.status == "failure"
    assert "&staging:global" in one.measured
    assert "realtime" not in one.mend
