"""Every way to start the server, each with the real command."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from .harness import ROOT, ServerProcess, is_alive, receive, wait_until

SANIC = str(Path(sys.executable).with_name("sanic"))
SERVER_FILE = str(ROOT / "server.py")

TWO_WORKERS = ("--workers", "2")
ALONE = ("--single-process",)


def worker_uses_uvloop(server: ServerProcess) -> bool:
    """Whether the first worker runs on libuv, which wakes its loop with an eventfd.

    The loop of the standard library uses a pair of sockets.
    """
    descriptors = Path(f"/proc/{server.worker_pids[0]}/fd").iterdir()
    return any("eventfd" in os.readlink(descriptor) for descriptor in descriptors)


async def talks(server: ServerProcess) -> None:
    """A client gets what it sends, as JSON with its six keys."""
    async with server.connect("lobby") as client:
        await client.send('{"data": "hello"}')
        message = await receive(client)
        assert list(message) == ["id", "type", "room", "from", "data", "timestamp"]
        assert (message["room"], message["data"]) == ("lobby", "hello")


@pytest.mark.parametrize(
    ("command", "options", "workers"),
    [
        pytest.param((SANIC, "server.py"), TWO_WORKERS, 2, id="sanic server.py"),
        pytest.param((SANIC, "server:app"), TWO_WORKERS, 2, id="sanic server:app"),
        pytest.param((SANIC, "server"), TWO_WORKERS, 2, id="sanic server"),
        pytest.param(
            (SANIC, "sanic_chat:create_app", "--factory"),
            TWO_WORKERS,
            2,
            id="sanic sanic_chat:create_app --factory",
        ),
        pytest.param(
            (SANIC, "server:create_app", "--factory"),
            TWO_WORKERS,
            2,
            id="sanic server:create_app --factory",
        ),
        pytest.param((SANIC, "server.py"), ALONE, 1, id="sanic server.py --single-process"),
        pytest.param((sys.executable, "-m", "sanic", "server:app"), (), 1, id="python -m sanic"),
        pytest.param((sys.executable, "server.py"), TWO_WORKERS, 2, id="python server.py"),
        pytest.param(
            (sys.executable, "server.py"), ALONE, 1, id="python server.py --single-process"
        ),
    ],
)
async def test_the_command_serves_and_stops(
    command: tuple[str, ...], options: tuple[str, ...], workers: int
) -> None:
    """The command starts that many pods, which serve a WebSocket and stop well on SIGTERM."""
    with closing(ServerProcess(*options, environment={}, command=command)) as server:
        server.wait_ready(workers)
        await talks(server)
        wait_until(lambda: len(server.stats()["pods"]) == workers, f"{workers} pods report")
        server.stop()


async def test_the_program_runs_from_another_directory(tmp_path: Path) -> None:
    """`python /path/server.py` serves with several workers, whatever the directory it is run in."""
    command = (sys.executable, SERVER_FILE)
    with closing(
        ServerProcess(*TWO_WORKERS, environment={}, command=command, cwd=tmp_path)
    ) as server:
        server.wait_ready(2)
        await talks(server)
        server.stop()


@pytest.mark.parametrize("options", [TWO_WORKERS, ALONE], ids=["workers", "single process"])
@pytest.mark.parametrize("use_uvloop", [True, False], ids=["uvloop", "asyncio"])
async def test_both_event_loops_serve(use_uvloop: bool, options: tuple[str, ...]) -> None:
    """SANIC_USE_UVLOOP decides which event loop a worker runs on; both serve and stop well."""
    environment = {"SANIC_USE_UVLOOP": str(use_uvloop).lower()}
    with closing(ServerProcess(*options, environment=environment)) as server:
        server.wait_ready(2 if options is TWO_WORKERS else 1)
        assert worker_uses_uvloop(server) is use_uvloop
        await talks(server)
        server.stop()


@pytest.mark.parametrize(
    "command",
    [
        pytest.param((SANIC, "server.py", *TWO_WORKERS), id="sanic server.py"),
        pytest.param((SANIC, "server.py", *ALONE), id="sanic server.py --single-process"),
        pytest.param((SANIC, "server:app", *TWO_WORKERS), id="sanic server:app"),
        pytest.param((sys.executable, "server.py", *TWO_WORKERS), id="python server.py"),
    ],
)
def test_a_wrong_setting_is_one_sentence(command: tuple[str, ...]) -> None:
    """A wrong setting ends the command with exit code 1 and one line that names it."""
    environment = {"CHAT_DRAIN_TIMEOUT": "soon"}
    with closing(ServerProcess(environment=environment, command=command)) as server:
        assert server.wait() == 1
        (line,) = server.log.splitlines()
        assert "CHAT_DRAIN_TIMEOUT is 'soon'" in line
        assert server.descendants() == set()


@pytest.mark.parametrize("options", [TWO_WORKERS, ALONE], ids=["workers", "single process"])
def test_a_port_in_use_ends_the_command(options: tuple[str, ...]) -> None:
    """A port that is in use ends the command with an error; no process and no Redis is left."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with closing(ServerProcess(*options, "--port", str(port), environment={})) as server:

            def has_ended() -> bool:
                server.descendants()
                return server.process.poll() is not None

            wait_until(has_ended, "the command ends")
            assert server.process.returncode > 0
            assert "Address already in use" in server.log
            assert "Traceback" not in server.log
            wait_until(lambda: not server.descendants(), "all its processes have ended")


def test_a_second_server_leaves_the_first_alone() -> None:
    """Two servers without REDIS_URL on one machine have a Redis each, and stop one by one."""
    with (
        closing(ServerProcess(*ALONE, environment={})) as first,
        closing(ServerProcess(*ALONE, environment={})) as second,
    ):
        first.wait_ready()
        second.wait_ready()
        (pod,) = first.stats()["pods"]
        second.stop()
        assert is_alive(first.pid)
        assert [report["pod_id"] for report in first.stats()["pods"]] == [pod["pod_id"]]
        assert httpx.get(f"{first.http}/ws/stats").json()["complete"]
        first.stop()
