"""Workers that are told to stop, and Sanic's inspector: reload, scale, shutdown."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from ..support.harness import (
    SLOW,
    RedisProcess,
    ServerProcess,
    StartServer,
    close_code,
    eventually,
    free_port,
    is_alive,
    receive,
    wait_until,
    without_httpx,
    without_settings,
)

SANIC = str(Path(sys.executable).with_name("sanic"))
GOING_AWAY = 1001


class Inspector:
    """Sanic's inspector of a server, as its command line speaks to it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.environment = {
            "SANIC_INSPECTOR": "true",
            "SANIC_INSPECTOR_PORT": str(self.port),
            "CHAT_HANDSHAKE_TIMEOUT": "0.5",  # the time that replaced workers wait
        }

    def ask(self, *command: str) -> str:
        """Run `sanic inspect` with a command; what it printed."""
        done = subprocess.run(
            [SANIC, "inspect", *command, "--port", str(self.port)],
            capture_output=True,
            text=True,
            timeout=60,
            env=without_httpx(without_settings(os.environ)),
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def inspector() -> Inspector:
    return Inspector()


def workers(server: ServerProcess) -> list[int]:
    """The PIDs of the workers that have started to serve, oldest first; the inspector is none."""
    said = r"Pod \S+ (?:is|serves, and is not) ready.* \[(\d+)\]"
    return server.by_age(map(int, re.findall(said, server.log)))


def living(server: ServerProcess) -> list[int]:
    """The PIDs of those that live, oldest first."""
    return [pid for pid in workers(server) if is_alive(pid)]


def wait_for_workers(server: ServerProcess, count: int) -> None:
    """Wait until that many have become ready in all."""
    wait_until(lambda: len(workers(server)) >= count, f"{count} workers are ready")


def ends_well(server: ServerProcess) -> None:
    """Nobody was said to have died, and it stops with exit code 0, nothing left."""
    server.stop()
    assert "died" not in server.log
    assert "Killed" not in server.log


# -- SIGTERM -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_worker_that_is_told_to_stop(
    start_server: StartServer, shared_redis: RedisProcess, number: signal.Signals
) -> None:
    """SIGTERM to one worker drains and replaces it; that is no death, and hurts nobody else."""
    server = start_server(workers=2, REDIS_URL=shared_redis.url, CHAT_RESTART_LIMIT="0")
    clients = await server.connect_to_pods(2, "reload-one")
    pids = {pod["pod_id"]: pod["pid"] for pod in server.stats()["pods"]}
    [(stopped, client), (other, witness)] = clients.items()
    os.kill(pids[stopped], number)
    assert await close_code(client) == GOING_AWAY
    await asyncio.to_thread(wait_for_workers, server, 3)
    assert not is_alive(pids[stopped])
    assert re.search(
        rf"Restarting in 0 s: worker \S+ \(PID {pids[stopped]}\) has stopped", server.log
    )
    after = await server.connect_to_pods(2, "reload-one")
    assert other in after
    assert stopped not in after
    await witness.send('{"data": "still there"}')
    assert (await receive(witness))["data"] == "still there"
    for each in (witness, *after.values()):
        await each.close()
    await asyncio.to_thread(ends_well, server)


def test_all_workers_are_told_to_stop(
    start_server: StartServer, shared_redis: RedisProcess
) -> None:
    """SIGTERM to every worker, twice, replaces each: at once, and after a second."""
    server = start_server(workers=2, REDIS_URL=shared_redis.url, CHAT_RESTART_LIMIT="0")
    for ready, pause in ((4, 0), (6, 1)):
        for pid in living(server):
            os.kill(pid, signal.SIGTERM)
        wait_for_workers(server, ready)
        assert server.log.count(f"Restarting in {pause} s: worker") == 2
    ends_well(server)


# -- the inspector -----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--zero-downtime",)], ids=["plain", "zero downtime"])
async def test_a_reload(
    start_server: StartServer,
    shared_redis: RedisProcess,
    inspector: Inspector,
    options: tuple[str, ...],
) -> None:
    """`sanic inspect reload` replaces all workers, whose clients get 1001."""
    server = start_server(workers=2, REDIS_URL=shared_redis.url, **inspector.environment)
    clients = await server.connect_to_pods(2, "reload-all")
    before = workers(server)
    await asyncio.to_thread(inspector.ask, "reload", *options)
    for client in clients.values():
        assert await close_code(client) == GOING_AWAY
    await asyncio.to_thread(wait_for_workers, server, 4)
    await eventually(lambda: not any(map(is_alive, before)), "the old ones have ended")
    after = await server.connect_to_pods(2, "reload-all")
    assert after.keys().isdisjoint(clients)
    for client in after.values():
        await client.close()
    server.descendants()
    await asyncio.to_thread(ends_well, server)


async def test_a_reload_without_downtime_refuses_nobody(
    start_server: StartServer, shared_redis: RedisProcess, inspector: Inspector
) -> None:
    """With `--zero-downtime` the old workers serve until the new ones do."""
    server = start_server(workers=1, REDIS_URL=shared_redis.url, **inspector.environment)
    client = await server.connect("reload-one")
    reload = asyncio.create_task(asyncio.to_thread(inspector.ask, "reload", "--zero-downtime"))
    assert await close_code(client) == GOING_AWAY
    assert len(workers(server)) == 2  # somebody else was ready before
    await reload
    await asyncio.to_thread(ends_well, server)


def test_two_reloads_at_a_time(
    start_server: StartServer, shared_redis: RedisProcess, inspector: Inspector
) -> None:
    """A reload during another one leaves as many workers as there were, and no more."""
    server = start_server(workers=2, REDIS_URL=shared_redis.url, **inspector.environment)
    for _ in range(2):
        inspector.ask("reload", "--zero-downtime")
    wait_for_workers(server, 6)
    wait_until(lambda: len(living(server)) == 2, "the others have ended")
    assert living(server) == workers(server)[-2:]
    server.descendants()
    ends_well(server)


def test_scaling(
    start_server: StartServer, shared_redis: RedisProcess, inspector: Inspector
) -> None:
    """`sanic inspect scale` adds workers and ends some; those that are left are watched."""
    server = start_server(workers=1, REDIS_URL=shared_redis.url, **inspector.environment)
    inspector.ask("scale", "3")
    wait_for_workers(server, 3)
    inspector.ask("scale", "2")
    wait_until(lambda: len(living(server)) == 2, "one has ended")
    assert "died" not in server.log
    os.kill(living(server)[0], signal.SIGKILL)
    wait_for_workers(server, 4)
    assert len(living(server)) == 2
    httpx.post(f"http://127.0.0.1:{inspector.port}/scale", json={"replicas": -1})
    wait_until(lambda: "Cannot scale to 0 workers" in server.log, "that is refused")
    assert len(living(server)) == 2
    server.descendants()
    server.stop()


def test_a_shutdown_by_the_inspector(
    start_server: StartServer, shared_redis: RedisProcess, inspector: Inspector
) -> None:
    """`sanic inspect shutdown` stops the server as SIGTERM does, with nothing left."""
    server = start_server(REDIS_URL=shared_redis.url, **inspector.environment)
    server.descendants()
    inspector.ask("shutdown")
    assert server.wait() == 0
    ends_well(server)
    assert "Restarting" not in server.log


def test_a_stop_during_a_reload(
    start_server: StartServer, shared_redis: RedisProcess, inspector: Inspector
) -> None:
    """SIGTERM while old workers drain and new ones start ends them all, and is not delayed."""
    server = start_server(REDIS_URL=shared_redis.url, **inspector.environment)
    inspector.ask("reload", "--zero-downtime")
    wait_until(lambda: server.log.count("Starting worker") > 1, "a new one starts")
    server.descendants()
    began = time.monotonic()
    ends_well(server)
    assert time.monotonic() - began < SLOW * 5
