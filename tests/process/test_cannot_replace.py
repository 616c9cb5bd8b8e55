"""What keeps a worker from being replaced: the server does without it, or says so and ends."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from ..support.clients import receive_data
from ..support.harness import (
    DEADLINE,
    ROOT,
    RedisProcess,
    ServerProcess,
    StartServer,
    is_alive,
    wait_until,
)
from ..support.metrics import worker_ends

GOING_AWAY = 1001

linux = pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets, prlimit")


def program(directory: Path, text: str) -> dict[str, Any]:
    """How to start a server whose program has some more lines at its end."""
    head = (
        "import os, resource, time\nfrom pathlib import Path\nfrom sanic_chat import create_app\n"
    )
    (directory / "faulty.py").write_text(f"{head}\n\napp = create_app()\n\n{text}")
    return {
        "command": (sys.executable, "-m", "sanic", "faulty:app"),
        "PYTHONPATH": f"{directory}{os.pathsep}{ROOT}",
        "FAULT": str(directory / "fault"),
    }


def kill(server: ServerProcess) -> None:
    """kill -9 of the oldest worker."""
    server.descendants()
    os.kill(server.worker_pids[0], signal.SIGKILL)


async def close_code(client: ClientConnection) -> int | None:
    """Wait until the connection is closed, whichever way; 1006 means without a close frame."""
    await asyncio.wait_for(client.wait_closed(), DEADLINE)
    return client.close_code


def logs(server: ServerProcess, text: str) -> None:
    """Wait until the log has that text."""
    try:
        wait_until(lambda: text in server.log or server.process.poll() is not None, text)
    finally:
        assert text in server.log, server.log


def has_given_up(server: ServerProcess, why: str) -> None:
    """It ends with exit code 1, one line of the log says why, and no process is left."""
    assert server.wait(3 * DEADLINE) == 1
    assert re.search(rf"Giving up: .*{why}", server.log), server.log
    assert server.log.count("Giving up") == 1
    wait_until(lambda: not server.descendants(), "all its processes are gone")


# -- files that are cleaned away ---------------------------------------------------------------


@linux
async def test_the_directory_for_temporary_files_is_emptied(start_server: StartServer) -> None:
    """A killed worker is replaced, and the embedded Redis, whose socket is gone, as well."""
    directory = Path(tempfile.mkdtemp())  # with a short name, as a socket's must be
    server = start_server(workers=2, TMPDIR=str(directory))
    [private] = directory.iterdir()
    shutil.rmtree(private)
    kill(server)
    await asyncio.to_thread(server.wait_ready, 3)
    await asyncio.to_thread(logs, server, "The embedded Redis was started anew")
    sender, receiver = (await server.connect_to_pods(2, "cleaned")).values()
    wait_until(
        lambda: [pod["ready"] for pod in server.stats()["pods"]] == [True, True],
        "the pods reach each other over it",
    )
    await sender.send('{"data": "hello"}')
    await receive_data(receiver, "hello")  # what is told of the outage may come before
    await sender.close()
    await receiver.close()
    await asyncio.to_thread(server.stop)
    directory.rmdir()


@linux
def test_no_file_is_needed(
    start_server: StartServer, shared_redis: RedisProcess, tmp_path: Path
) -> None:
    """With a REDIS_URL the server makes no file at all."""
    start_server(REDIS_URL=shared_redis.url, TMPDIR=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


ASKS = """
import os, socket, sys

os.setuid(int(sys.argv[1]))
with socket.socket(socket.AF_UNIX) as client:
    client.connect(b"\\0" + sys.argv[2].encode())
    client.settimeout(10)
    print(client.recv(64))
"""


@linux
@pytest.mark.skipif(os.getuid() != 0, reason="takes another user's part")
def test_other_users_are_turned_away(start_server: StartServer, shared_redis: RedisProcess) -> None:
    """The workers' states are for the server's own user: others are not even asked for the key."""
    names = abstract_sockets(start_server(REDIS_URL=shared_redis.url))

    def ask(user: int, name: str) -> str:
        command = [sys.executable, "-I", "-S", "-c", ASKS, str(user), name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert names
    for name in names:
        assert "CHALLENGE" in ask(0, name)
        assert ask(65534, name) == "b''\n"


def abstract_sockets(server: ServerProcess) -> list[str]:
    """The names of the sockets that Sanic's table of workers has in this server."""
    opened = set()
    for pid in (server.pid, *server.descendants()):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                opened.add(os.readlink(link))
    lines = Path("/proc/net/unix").read_text()
    named = re.findall(r"(\d+) @(sanic-chat-\w+)$", lines, re.MULTILINE)
    return [name for inode, name in named if f"socket:[{inode}]" in opened]


# -- nothing to make a process from ------------------------------------------------------------


def allow_descriptors(pid: int, count: int) -> None:
    """Let a process open nothing whose number is not below that."""
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (count, 4096))


@linux
def test_a_process_cannot_be_made_for_a_while(
    start_server: StartServer, shared_redis: RedisProcess
) -> None:
    """It is tried again with growing pauses, and the log says why it failed."""
    server = start_server(REDIS_URL=shared_redis.url)
    allow_descriptors(server.pid, 3)
    kill(server)
    logs(server, "Restarting in 1 s: worker")
    allow_descriptors(server.pid, 1024)
    server.wait_ready(2)
    assert "could not be made: [Errno 24] Too many open files" in server.log
    assert "Traceback" not in server.log

    def are_told() -> bool:
        ends = worker_ends(server)  # on a slow machine it is tried more than once
        return ends.keys() == {"died", "not_made"} and ends["died"] == 1

    wait_until(are_told, "the metrics tell it")


@linux
async def test_a_process_can_no_longer_be_made(
    start_server: StartServer, shared_redis: RedisProcess
) -> None:
    """After a quarter of a minute the server drains, and ends with exit code 1."""
    server = start_server(workers=2, REDIS_URL=shared_redis.url)
    clients = await server.connect_to_pods(2)
    allow_descriptors(server.pid, 3)
    kill(server)
    codes = {await close_code(client) for client in clients.values()}
    assert codes == {GOING_AWAY, 1006}
    await asyncio.to_thread(
        has_given_up, server, "could not be made: .*, start number 5 in a row that failed"
    )
    assert "Traceback" not in server.log


@linux
def test_the_first_process_cannot_be_made(start_server: StartServer, tmp_path: Path) -> None:
    """The server ends at once."""
    text = """
@app.main_process_ready
def fill(app):
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 4096))
"""
    server = start_server(wait=False, **program(tmp_path, text))
    has_given_up(server, "a worker could not be made: .*Too many open files")
    assert "Traceback" not in server.log


def test_a_worker_that_no_longer_starts(start_server: StartServer, tmp_path: Path) -> None:
    """A worker that fails five times in a row ends the server, though others serve.

    The pauses in between are shorter here: those that there are, are waited for above.
    """
    text = """
from sanic_chat.process import restarts

restarts.MAX_PAUSE_SECONDS = 0.2

@app.before_server_start
def start_once_per_slot(app):
    Path(os.environ["FAULT"] + os.environ["SANIC_WORKER_NAME"]).touch(exist_ok=False)
"""
    server = start_server(workers=2, **program(tmp_path, text))
    kill(server)
    has_given_up(server, "died with exit code 0, start number 5 in a row that failed")


# -- who replaces them fails -------------------------------------------------------------------

FAILS = """
from sanic.worker.manager import WorkerManager
from sanic_chat.process.supervisor import Supervisor

original = {name}


def fail(*arguments):
    if Path(os.environ["FAULT"]).exists():
        raise RuntimeError("by order")
    return original(*arguments)


{name} = fail
"""


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Supervisor._look", "nobody would replace a worker that ends"),
        ("WorkerManager._sync_states", "Sanic's manager of the workers has failed"),
    ],
)
async def test_the_watch_itself_fails(
    start_server: StartServer, tmp_path: Path, name: str, why: str
) -> None:
    """The server drains and ends with exit code 1, and the log has the reason."""
    server = start_server(**program(tmp_path, FAILS.format(name=name)))
    client = await server.connect()
    descendants = server.descendants()
    (tmp_path / "fault").touch()
    assert await close_code(client) == GOING_AWAY
    await asyncio.to_thread(has_given_up, server, why)
    assert "RuntimeError: by order" in server.log
    assert not any(map(is_alive, descendants))
