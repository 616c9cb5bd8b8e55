"""Every way to start the server, each with the real command."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from sanic_chat.version import VERSION

from ..support.cases import crossed
from ..support.harness import ROOT, ServerProcess, is_alive, receive, wait_until

SANIC = str(Path(sys.executable).with_name("sanic"))
SERVER_FILE = str(ROOT / "server.py")

TWO_WORKERS = ("--workers", "2")
ONE_WORKER = ("--workers", "1")
"""Enough for a command that begins as another one does."""
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
        pytest.param((SANIC, "server:app"), ONE_WORKER, 1, id="sanic server:app"),
        pytest.param((SANIC, "server"), ONE_WORKER, 1, id="sanic server"),
        pytest.param(
            (SANIC, "sanic_chat:create_app"),
            TWO_WORKERS,
            2,
            id="sanic sanic_chat:create_app",
        ),
        pytest.param(
            (SANIC, "server:create_app", "--factory"),
            ONE_WORKER,
            1,
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
        assert f"sanic_chat {VERSION} at http://127.0.0.1:{server.port} (" in server.log
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


@crossed(
    options={"workers": ONE_WORKER, "single process": ALONE},
    use_uvloop={"uvloop": True, "asyncio": False},
)
async def test_both_event_loops_serve(use_uvloop: bool, options: tuple[str, ...]) -> None:
    """SANIC_USE_UVLOOP decides which event loop a worker runs on; both serve and stop well."""
    environment = {"SANIC_USE_UVLOOP": str(use_uvloop).lower()}
    with closing(ServerProcess(*options, environment=environment)) as server:
        server.wait_ready()
        assert worker_uses_uvloop(server) is use_uvloop
        await talks(server)
        server.stop()


@pytest.mark.parametrize(
    "command",
    [
        pytest.param((SANIC, "server.py", *TWO_WORKERS), id="sanic server.py"),
        pytest.param((SANIC, "server.py", *ALONE), id="sanic server.py --single-process"),
        pytest.param((SANIC, "server:app", *TWO_WORKERS), id="sanic server:app"),
        pytest.param((SANIC, "sanic_chat:create_app", *TWO_WORKERS), id="create_app"),
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


def test_no_workers_are_one_sentence() -> None:
    """`--workers 0` ends the command with exit code 1 and one line that says how many may be."""
    with closing(ServerProcess("--workers", "0", environment={})) as server:
        assert server.wait() == 1
        [line] = server.log.splitlines()
        assert line.endswith("--workers is 0; allowed are 1 or more")


@pytest.mark.parametrize("options", [ONE_WORKER, ALONE], ids=["workers", "single process"])
def test_a_port_in_use_ends_the_command(options: tuple[str, ...]) -> None:
    """A port that is in use ends the command with a sentence; no process and no Redis is left."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with closing(ServerProcess(*options, "--port", str(port), environment={})) as server:

            def has_ended() -> bool:
                server.descendants()
                return server.process.poll() is not None

            wait_until(has_ended, "the command ends")
            assert server.process.returncode == 1
            *_, line = server.log.splitlines()
            where = f"sanic_chat cannot listen at 127.0.0.1:{port}: Address already in use. "
            assert line.startswith(where)
            assert "choose another port with --port" in line
            assert "ERROR" not in server.log
            wait_until(lambda: not server.descendants(), "all its processes have ended")


def test_a_unix_socket_without_a_folder_is_one_sentence(tmp_path: Path) -> None:
    """A Unix socket in a folder that is not there ends the command with a line that says so."""
    socket_path = tmp_path / "nowhere" / "chat.sock"
    options = (*ONE_WORKER, "--unix", str(socket_path))
    with closing(ServerProcess(*options, environment={})) as server:
        assert server.wait() == 1
        assert f"There is no folder {socket_path.parent}" in server.log


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
        assert first.get("/ws/stats").json()["complete"]
        first.stop()


# -- under an ASGI server ----------------------------------------------------------------------

UVICORN = (sys.executable, "-m", "uvicorn", "server:app")
NOT_ASGI = "sanic_chat is a server of its own and no ASGI application"


def test_an_asgi_server_is_refused() -> None:
    """`uvicorn server:app` ends at once, with one sentence that says how to start it."""
    with closing(ServerProcess(environment={}, command=UVICORN)) as server:
        assert server.wait() > 0
        assert server.log.count(NOT_ASGI) == 1
        assert "sanic server:app --workers N" in server.log
        assert "Traceback" not in server.log
        assert server.descendants() == set()


def test_an_asgi_server_that_does_not_ask_first_gets_errors() -> None:
    """Without a lifespan each request is answered with the sentence, and each WebSocket refused."""
    options = ("--lifespan", "off")
    with closing(ServerProcess(*options, environment={}, command=UVICORN)) as server:
        wait_until(lambda: "Uvicorn running" in server.log, "it listens")
        answer = server.get("/ready")
        assert (answer.status_code, answer.json()["code"]) == (500, "no_asgi")
        assert NOT_ASGI in answer.json()["message"]
        with pytest.raises(InvalidStatus):
            connect(server.url(), proxy=None)
        assert "Traceback" not in server.log
        server.process.terminate()
        server.wait()


# -- what a start leaves -----------------------------------------------------------------------

TELLS = """
import gc

from sanic import json
from sanic_chat import create_app

app = create_app()
frozen_at_the_start = []


@app.before_server_start
def look(app):
    frozen_at_the_start.append(gc.get_freeze_count())


@app.get("/frozen")
async def frozen(request):
    return json([*frozen_at_the_start, gc.get_freeze_count(), len(gc.get_objects())])
"""


@pytest.mark.parametrize("options", [ONE_WORKER, ALONE], ids=["workers", "single process"])
def test_the_garbage_collector_skips_what_a_start_has_made(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    """A worker that is ready has frozen its objects, after everybody's listeners have run."""
    (tmp_path / "tells.py").write_text(TELLS)
    command = (SANIC, "tells:app")
    environment = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    with closing(ServerProcess(*options, environment=environment, command=command)) as server:
        server.wait_ready()
        before, frozen, others = httpx.get(f"http://127.0.0.1:{server.port}/frozen").json()
        assert before < frozen / 10  # Python 3.12 freezes some by itself
        assert frozen > 10 * others
        server.stop()


@pytest.mark.parametrize(
    ("environment", "status", "cors"),
    [({}, 404, False), ({"SANIC_AUTO_EXTEND": "true"}, 200, True)],
    ids=["default", "asked for"],
)
def test_sanic_ext_adds_nothing_unasked(
    environment: dict[str, str], status: int, cors: bool
) -> None:
    """That sanic-ext is installed adds neither /docs nor CORS headers; Sanic's setting does."""
    environment = {"SANIC_CORS_ORIGINS": "*", **environment}
    with closing(ServerProcess(*ALONE, environment=environment)) as server:
        server.wait_ready()
        origin = {"Origin": "https://elsewhere.example"}
        answer = httpx.get(f"http://127.0.0.1:{server.port}/docs/openapi.json", headers=origin)
        assert answer.status_code == status
        answer = server.get("/health", headers=origin)
        assert answer.status_code == 200
        assert any(name.startswith("access-control-") for name in answer.headers) is cors
        server.stop()
