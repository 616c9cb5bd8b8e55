"""Workers that are killed or hang: who is replaced, when the server ends, what clients see."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection

from sanic_chat.process.supervisor import START_SECONDS

from ..support.cases import crossed
from ..support.harness import (
    DEADLINE,
    ROOT,
    SLOW,
    RedisProcess,
    ServerProcess,
    StartServer,
    eventually,
    is_alive,
    receive,
    wait_until,
)
from ..support.metrics import worker_ends

GOING_AWAY = 1001
ABNORMAL = 1006


def pids(server: ServerProcess, pods: int) -> dict[str, int]:
    """The PIDs of the pods, by pod ID, once that many have reported."""

    def reported() -> dict[str, int] | None:
        found = {report["pod_id"]: report["pid"] for report in server.stats()["pods"]}
        return found if len(found) == pods else None

    found: dict[str, int] = wait_until(reported, f"{pods} pods have reported")
    return found


def kill(pid: int) -> None:
    """kill -9."""
    os.kill(pid, signal.SIGKILL)


async def close_code(client: ClientConnection) -> int | None:
    """Wait until the connection is closed, whichever way; 1006 means without a close frame."""
    await asyncio.wait_for(client.wait_closed(), DEADLINE)
    return client.close_code


async def is_served(client: ClientConnection, text: str) -> None:
    """The client gets back what it sends."""
    await client.send(f'{{"data": "{text}"}}')
    while (await receive(client))["data"] != text:
        pass


async def test_a_killed_worker_is_replaced(
    start_server: StartServer, shared_redis: RedisProcess
) -> None:
    """A new pod takes a killed worker's place; the other worker's clients notice nothing.

    Within 10 s the stats have forgotten the old pod and its clients.
    """
    server = start_server(workers=2, REDIS_URL=shared_redis.url)
    clients = await server.connect_to_pods(2, "supervisor-replaced")
    victim, survivor = clients
    kill(pids(server, 2)[victim])
    killed = time.monotonic()

    assert await close_code(clients[victim]) == ABNORMAL
    await is_served(clients[survivor], "one is dead")
    await asyncio.to_thread(server.wait_ready, 3)
    assert time.monotonic() - killed < SLOW * 3
    after = await server.connect_to_pods(2, "supervisor-replaced")
    assert survivor in after
    assert victim not in after
    (new,) = after.keys() - clients.keys()

    def connections() -> dict[str, int]:
        return {pod["pod_id"]: pod["connections"] for pod in server.stats()["pods"]}

    await eventually(lambda: connections() == {survivor: 2, new: 1}, "the stats are right")
    assert time.monotonic() - killed < SLOW * 10

    await is_served(clients[survivor], "it was replaced")
    await after[new].send('{"data": "from the new pod"}')
    while (await receive(clients[survivor]))["data"] != "from the new pod":
        pass
    assert clients[survivor].close_code is None
    for client in (clients[survivor], *after.values()):
        await client.close()


async def test_connects_wait_while_all_workers_are_dead(
    start_server: StartServer, shared_redis: RedisProcess
) -> None:
    """With all workers killed at once, clients that connect are queued, and then served."""
    server = start_server(workers=2, REDIS_URL=shared_redis.url, CHAT_STATS_INTERVAL="0.2")
    before = pids(server, 2)
    for pid in server.worker_pids:
        kill(pid)
    killed = time.monotonic()
    wait_until(lambda: not any(map(is_alive, server.worker_pids)), "both workers are dead")

    rooms = [f"supervisor-queued-{index}" for index in range(20)]
    clients = await asyncio.gather(*map(server.connect, rooms))
    for client, room in zip(clients, rooms, strict=True):
        await is_served(client, room)
    assert time.monotonic() - killed < SLOW * 3
    await asyncio.to_thread(server.wait_ready, 4)

    def only_the_new() -> bool:
        known = {report["pod_id"] for report in server.stats()["pods"]}
        return len(known) == 2 and known.isdisjoint(before)

    await eventually(only_the_new, "the stats know the new pods only")
    assert time.monotonic() - killed < SLOW * 10
    await asyncio.gather(*(client.close() for client in clients))


@crossed(number={"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}, victims={"one": 1, "both": 2})
def test_a_stop_right_after_a_death_is_orderly(
    start_server: StartServer, victims: int, number: signal.Signals
) -> None:
    """SIGTERM right after a kill -9 stops the server within seconds, with exit code 0."""
    server = start_server(workers=2)
    server.descendants()
    for pid in server.worker_pids[:victims]:
        kill(pid)
    server.signal(number)
    server.wait()
    server.stop()


async def test_a_stop_during_the_back_off_is_orderly(
    start_server: StartServer, shared_redis: RedisProcess
) -> None:
    """SIGTERM while a dead worker waits for its restart drains the others without delay."""
    server = start_server(workers=2, REDIS_URL=shared_redis.url)
    ((pod_id, client),) = (await server.connect_to_pods(1)).items()
    served_by = pids(server, 2)[pod_id]
    kill(next(pid for pid in server.worker_pids if pid != served_by))
    await asyncio.to_thread(server.wait_ready, 3)
    kill(server.worker_pids[-1])
    wait_until(lambda: "Restarting in 1 s" in server.log, "the back-off begins")

    server.signal(signal.SIGTERM)
    assert await close_code(client) == GOING_AWAY
    await asyncio.to_thread(server.wait)
    server.stop()


async def test_too_many_deaths_end_the_server(start_server: StartServer) -> None:
    """More deaths than CHAT_RESTART_LIMIT end the server with exit code 1, and the log says why."""
    server = start_server(workers=2, CHAT_RESTART_LIMIT="1")
    clients = await server.connect_to_pods(2)
    kill(server.worker_pids[0])
    await asyncio.to_thread(server.wait_ready, 3)
    descendants = server.descendants()
    victim = server.worker_pids[-1]
    kill(victim)

    codes = {await close_code(client) for client in clients.values()}
    assert codes == {GOING_AWAY, ABNORMAL}
    assert await asyncio.to_thread(server.wait) == 1
    (line,) = (line for line in server.log.splitlines() if "Giving up" in line)
    assert re.search(rf"PID {victim}\) died with exit code -9 \(SIGKILL\), death number 2", line)
    assert "Traceback" not in server.log
    wait_until(lambda: not any(map(is_alive, descendants)), f"{descendants} are gone")


def test_the_limit_may_be_zero(start_server: StartServer) -> None:
    """CHAT_RESTART_LIMIT=0 ends the server with the first death."""
    server = start_server(workers=1, CHAT_RESTART_LIMIT="0")
    server.descendants()
    kill(server.worker_pids[0])
    assert server.wait() == 1
    wait_until(lambda: not server.descendants(), "all its processes are gone")


def start_app(
    start_server: StartServer, directory: Path, source: str, **options: Any
) -> ServerProcess:
    """Start an app whose module has this source, and stands in a directory of its own."""
    (directory / "some_app.py").write_text(source)
    return start_server(
        command=(sys.executable, "-m", "sanic", "some_app:app"),
        PYTHONPATH=f"{directory}{os.pathsep}{ROOT}",
        **options,
    )


CANNOT_START = """
import os

from sanic_chat import create_app

app = create_app()


@app.before_server_start
def die(app):
    if os.environ["SANIC_WORKER_NAME"] == "Sanic-Server-1-0":
        os._exit(3)
"""


def test_a_worker_that_dies_in_the_first_start_ends_the_server(
    start_server: StartServer, tmp_path: Path
) -> None:
    """Without waiting for the worker that is dead; the exit code is 1, and the log says why."""
    server = start_app(start_server, tmp_path, CANNOT_START, workers=2, wait=False)
    assert server.wait() == 1
    assert "timed out" not in server.log  # nobody was waited for
    assert re.search(
        r"Giving up: worker Sanic-Server-1-0 \(PID \d+\) died with exit code 3", server.log
    )
    wait_until(lambda: not server.descendants(), "all its processes are gone")


HOLDS_UP_ITS_START = """
import os
import time
from pathlib import Path

from sanic_chat import create_app

app = create_app()


@app.before_server_start
def wait(app):
    while not Path(os.environ["MARKS"], "die").exists():
        time.sleep(0.02)
    os._exit(3)
"""


def test_a_stop_does_not_wait_for_workers_that_die_meanwhile(
    start_server: StartServer, tmp_path: Path
) -> None:
    """If one dies in its start after the signal, nobody waits for it to come up."""
    server = start_app(
        start_server, tmp_path, HOLDS_UP_ITS_START, workers=2, wait=False, MARKS=str(tmp_path)
    )
    wait_until(lambda: server.log.count("Starting worker") == 2, "both start")
    server.signal(signal.SIGTERM)
    wait_until(lambda: "Received SIGTERM" in server.log, "the signal is noticed")
    (tmp_path / "die").touch()
    assert server.wait(START_SECONDS / 2) == 1
    assert "died with exit code 3 while it started" in server.log
    wait_until(lambda: not server.descendants(), "all its processes are gone")


CANNOT_START_AGAIN = """
import os
from pathlib import Path

from sanic_chat import create_app

app = create_app()


@app.before_server_start
def start_once_per_slot(app):
    Path(os.environ["MARKS"], os.environ["SANIC_WORKER_NAME"]).touch(exist_ok=False)
"""


def test_a_worker_that_cannot_start_again_ends_the_server(
    start_server: StartServer, tmp_path: Path
) -> None:
    """Failing starts are tried again with growing pauses, and then the server gives up."""
    server = start_app(
        start_server,
        tmp_path,
        CANNOT_START_AGAIN,
        MARKS=str(tmp_path),
        CHAT_RESTART_LIMIT="2",
    )
    kill(server.worker_pids[0])
    assert server.wait() == 1
    pauses = re.findall(r"Restarting in (\d+) s: worker (\S+)", server.log)
    assert [pause for pause, _ in pauses] == ["0", "1"]
    assert len({name for _, name in pauses}) == 1
    assert "FileExistsError" in server.log
    assert re.search(r"Giving up: worker .* death number 3 within 60 s", server.log)
    wait_until(lambda: not server.descendants(), "all its processes are gone")


# -- workers that hang -------------------------------------------------------------------------

HANGS = """
import time

from sanic import empty
from sanic_chat import create_app

app = create_app()


@app.get("/hang/<seconds:float>")
async def hang(request, seconds):
    time.sleep(seconds)
    return empty()
"""

HANG_SECONDS = 2


def hanging_program(directory: Path) -> dict[str, Any]:
    """How to start a server whose workers hang when they are asked to."""
    (directory / "hangs.py").write_text(HANGS)
    return {
        "command": (sys.executable, "-m", "sanic", "hangs:app"),
        "PYTHONPATH": f"{directory}{os.pathsep}{ROOT}",
        "CHAT_HANG_TIMEOUT": str(HANG_SECONDS),
    }


async def test_a_worker_that_hangs_is_replaced(start_server: StartServer, tmp_path: Path) -> None:
    """A blocked event loop, and a stopped process, are noticed; the log says which worker it was.

    A block of half the time is none.
    """
    server = start_server(workers=2, **hanging_program(tmp_path))
    clients = await server.connect_to_pods(2)

    async def ask_to_hang(seconds: float) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(f"GET /hang/{seconds} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        hanging.append(writer)

    hanging: list[asyncio.StreamWriter] = []
    await ask_to_hang(HANG_SECONDS / 2)
    await asyncio.sleep(HANG_SECONDS)
    for client in clients.values():
        await is_served(client, "nobody was killed")
    assert "Killing" not in server.log

    await ask_to_hang(60.0)
    await asyncio.to_thread(server.wait_ready, 3)
    (line,) = (line for line in server.log.splitlines() if "Killing worker" in line)
    found = re.search(rf"PID (\d+)\): its event loop stands still for {HANG_SECONDS} s", line)
    assert found is not None
    assert int(found[1]) in server.worker_pids[:2]
    assert f"(PID {found[1]}) died with exit code -9" in server.log

    (survivor,) = set(server.worker_pids[:2]) - {int(found[1])}
    os.kill(survivor, signal.SIGSTOP)
    await asyncio.to_thread(server.wait_ready, 4)
    assert re.search(rf"Killing worker \S+ \(PID {survivor}\)", server.log)
    await eventually(lambda: worker_ends(server) == {"hung": 2}, "the metrics tell it")
    for client in clients.values():
        assert await close_code(client) == ABNORMAL
    for writer in hanging:
        writer.transport.abort()


async def test_a_frozen_server_is_not_taken_for_hanging(
    start_server: StartServer, shared_redis: RedisProcess
) -> None:
    """After all processes stood still, main process included, no worker is killed for that."""
    server = start_server(REDIS_URL=shared_redis.url, CHAT_HANG_TIMEOUT=str(HANG_SECONDS))
    client = await server.connect("supervisor-frozen")
    os.killpg(server.pid, signal.SIGSTOP)
    await asyncio.sleep(2 * HANG_SECONDS)
    os.killpg(server.pid, signal.SIGCONT)
    await is_served(client, "still there")
    await asyncio.sleep(1.5 * HANG_SECONDS)
    await is_served(client, "and still there")
    assert "Killing" not in server.log
    assert len(server.worker_pids) == 1
    await client.close()


def test_a_worker_that_hangs_does_not_hang_the_stop(start_server: StartServer) -> None:
    """A worker that does not stop is killed 5 s after the time its drain may take."""
    server = start_server(CHAT_DRAIN_TIMEOUT="0.5")
    server.descendants()
    os.kill(server.worker_pids[0], signal.SIGSTOP)
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert time.monotonic() - began > 5
    assert re.search(
        rf"Killed worker \S+ \(PID {server.worker_pids[0]}\): it did not stop within 5.5 s",
        server.log,
    )
    server.stop()  # has stopped: nothing is left
