"""A server where nothing can be written, as a user who is nobody: what the image runs as."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from ..support.deployment import image_command, image_health_check
from ..support.harness import (
    RedisProcess,
    ServerProcess,
    eventually,
    receive,
    wait_until,
)
from ..support.sandbox import USER, need_sandbox, sandboxed

COMMAND = (str(Path(sys.executable).with_name("sanic-chat")), *image_command()[1:])


@pytest.fixture(autouse=True)
def sandbox() -> None:
    need_sandbox()


@contextmanager
def sandboxed_server(
    *options: str, shared_memory: bool = False, **environment: str
) -> Iterator[ServerProcess]:
    """What the image runs, as PID 1; of an option that is given twice the last counts."""
    command = sandboxed(*COMMAND, shared_memory=shared_memory, first=True)
    server = ServerProcess(
        *options, environment={"TMPDIR": "/none", **environment}, command=command
    )
    try:
        yield server
    finally:
        server.close()


def main_process(server: ServerProcess) -> int:
    """The PID, outside, of the server's PID 1."""
    [pid] = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    return int(pid)


async def test_what_the_image_runs(shared_redis: RedisProcess, room: str) -> None:
    """It serves on both workers, replaces one that dies, is healthy, and drains on SIGTERM."""
    with sandboxed_server(REDIS_URL=shared_redis.url) as server:
        server.wait_ready(2)
        status = Path(f"/proc/{main_process(server)}/status").read_text()
        assert f"Uid:\t{USER}\t{USER}\t{USER}\t{USER}" in status
        assert "CapEff:\t0000000000000000" in status
        clients = await server.connect_to_pods(2, room)
        first, second = clients.values()
        await first.send('{"data": "hello"}')
        for client in (first, second):
            assert (await receive(client))["data"] == "hello"

        metrics = await asyncio.to_thread(httpx.get, f"{server.http}/metrics")
        assert "sanic_chat_workers 2\n" in metrics.text
        pids = {pod["pod_id"]: pod["pid"] for pod in server.stats()["pods"]}
        victim = pids[next(iter(clients))]
        outside = next(pid for pid in server.descendants() if inner_pid(pid) == victim)
        os.kill(outside, signal.SIGKILL)
        await eventually(lambda: len(server.worker_pids) == 3, "a new worker is ready")

        check = [part.replace(":8000", f":{server.port}") for part in image_health_check()]
        done = await asyncio.to_thread(subprocess.run, [sys.executable, *check[1:]])
        assert done.returncode == 0
        os.kill(main_process(server), signal.SIGTERM)
        assert await asyncio.to_thread(server.wait) == 0
        assert "Traceback" not in server.log
        for client in clients.values():
            await client.close()


def inner_pid(pid: int) -> int:
    """The PID that a process has in its own namespace."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    raise AssertionError("there is such a line since Linux 4.1")


def test_its_own_redis_in_shared_memory() -> None:
    """Without a REDIS_URL it needs one place to write to, and finds /dev/shm."""
    with sandboxed_server("--workers", "1", shared_memory=True) as server:
        server.wait_ready()
        assert "unix:///dev/shm/" in server.log
        wait_until(lambda: server.get("/ready").is_success, "it is ready")
        os.kill(main_process(server), signal.SIGTERM)
        assert server.wait() == 0


def test_nowhere_to_write() -> None:
    """Without a REDIS_URL, and without any such place, it does not start, and says why."""
    with sandboxed_server() as server:
        assert server.wait() == 1
        assert (
            "There is no directory for the socket of the embedded Redis: set TMPDIR" in server.log
        )
        assert "Traceback" not in server.log
