"""kill -9 of the main process: whatever it has started ends, and clients are told."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ..support.harness import (
    ServerProcess,
    StartServer,
    close_code,
    eventually,
    is_alive,
    wait_until,
)

GOING_AWAY = 1001


async def test_a_killed_main_process_leaves_nothing(start_server: StartServer) -> None:
    """kill -9 of the main process: workers drain with 1001, and every other process ends."""
    server = start_server(workers=2)
    found = re.search(r"unix://(\S+)/redis\.sock", server.log)
    assert found is not None
    clients = await server.connect_to_pods(2)
    descendants = server.descendants()
    commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in descendants]
    for part in ("resource_tracker", "valkey-server"):
        assert any(part in command for command in commands), commands
    server.process.kill()
    server.process.wait()

    for client in clients.values():
        assert await close_code(client) == GOING_AWAY
    await eventually(lambda: not any(map(is_alive, descendants)), f"{commands} have ended")
    assert not Path(found[1]).exists()
    assert "Traceback" not in server.log


def a_worker_starts(server: ServerProcess) -> bool:
    return "Starting worker" in server.log


def a_worker_is_replaced(server: ServerProcess) -> bool:
    if len(server.worker_pids) == 2 and is_alive(server.worker_pids[0]):
        os.kill(server.worker_pids[0], signal.SIGKILL)
    return server.log.count("Starting worker") == 3


@pytest.mark.parametrize("moment", [a_worker_starts, a_worker_is_replaced])
def test_a_main_process_killed_early_leaves_nothing(
    start_server: StartServer, moment: Callable[[ServerProcess], bool]
) -> None:
    """Workers that are still starting when the main process is killed end as well."""
    server = start_server(workers=2, wait=False)

    def has_come() -> bool:
        server.descendants()
        return moment(server)

    wait_until(has_come, moment.__name__)
    descendants = server.descendants()
    server.process.kill()
    server.process.wait()
    wait_until(lambda: not any(map(is_alive, descendants)), f"{descendants} have ended")
