"""The commands of the docs that make a password for Redis."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

import pytest

from sanic_chat.redis_url import RedisURL

from ..support.harness import ROOT


def commands(page: str, name: str) -> str:
    """The commands of a page under a mark."""
    text = (ROOT / "docs" / page).read_text()
    [found] = re.findall(rf"<!-- test: {name} -->\n```sh\n(.*?)\n```", text, re.DOTALL)
    return found


@pytest.mark.parametrize(
    ("page", "mark", "acl", "url"),
    [
        ("redis.md", "password", "users.acl", None),
        ("deploy.md", "secrets", "conf/docker/secrets/users.acl", "conf/docker/secrets/redis_url"),
    ],
)
def test_a_password_for_redis(
    tmp_path: Path, page: str, mark: str, acl: str, url: str | None
) -> None:
    """Each time another one: the server's file has it, and Redis' file the hash of it."""
    (tmp_path / "conf/docker").mkdir(parents=True)
    (tmp_path / "conf/redis").symlink_to(ROOT / "conf/redis")
    passwords = set()
    for _ in range(2):
        done = subprocess.run(
            ["sh", "-eu"], input=commands(page, mark), cwd=tmp_path, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        told = done.stdout.removeprefix("REDIS_URL=").strip()
        password = RedisURL.read(told if url is None else (tmp_path / url).read_text()).password
        assert re.fullmatch("[0-9a-f]{64}", password)
        assert f" #{hashlib.sha256(password.encode()).hexdigest()} " in (tmp_path / acl).read_text()
        passwords.add(password)
    assert len(passwords) == 2
