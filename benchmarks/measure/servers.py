"""The servers under load: started on a core of their own, ended when their scenario is over."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.support.harness import ServerProcess, wait_until

from ..load.wire import WIRES
from ..systems import System
from .processes import SERVER_CORE, cpu_seconds, started_on

QUIET_SECONDS = 10.0
QUIET_LOOK_SECONDS = 0.05
QUIET_SHARE = 0.1
"""Before a round, servers get that long to take less than that share of a core, all together."""


class Server:
    """A server from its start on; `wait_ready` before anything else, `close` at the end."""

    def __init__(
        self,
        system: System,
        *,
        redis_url: str,
        workers: int,
        options: tuple[str, ...] = (),
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.system = system
        self._workers = workers
        environment = {"REDIS_URL": redis_url, **(settings or {})}
        if system.packages is not None:
            modules = _installed(system.packages)
            environment["NODE_PATH"] = str(modules)
            environment["PATH"] = f"{modules / '.bin'}{os.pathsep}{os.environ['PATH']}"
        # Sanic counts its workers; of the others each worker is a process of its own.
        arguments = [("--workers", str(workers))] if system.shares_port else [()] * workers
        with started_on(SERVER_CORE):
            self._processes = [
                ServerProcess(
                    *more,
                    *options,
                    command=system.command,
                    environment=environment,
                    cwd=system.directory,
                )
                for more in arguments
            ]
        # Pods of other servers hear a room for some time after its last member has left it.
        self.wire = replace(WIRES[system.wire], rooms=f"bench-{self._processes[0].port:05d}")

    def wait_ready(self) -> None:
        """Wait until all workers serve. Raises AssertionError if they do not in time."""
        for process in self._processes:
            process.wait_ready(self._workers if self.system.shares_port else 1)
            wait_until(partial(_listens, process.port), f"{self.system.name} listens")
        self.ports = [process.port for process in self._processes]
        self.pids = [pid for process in self._processes for pid in process.worker_pids]

    def dropped(self) -> int:
        """Messages that went nowhere, as sanic_chat's own stats say."""
        return sum(self._processes[0].pod()["messages_dropped"].values())

    def close(self) -> None:
        """Kill it."""
        for process in self._processes:
            process.close()


class Servers:
    """The running servers of some systems."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._servers: dict[tuple[str, int], Server] = {}

    def get(self, systems: Iterable[System], *, workers: int) -> list[Server]:
        """One server of each, with that many workers; those that do not run yet are started."""
        keys = []
        for system in systems:
            key = (system.name, workers)
            if key not in self._servers:
                self._servers[key] = Server(system, redis_url=self._redis_url, workers=workers)
            keys.append(key)
        servers = [self._servers[key] for key in keys]
        for server in servers:
            server.wait_ready()
        return servers

    def close(self) -> None:
        """Kill them all."""
        while self._servers:
            self._servers.popitem()[1].close()


def wait_until_quiet(servers: list[Server]) -> None:
    """Let servers finish what the last round left them with, such as thousands of lost clients."""
    pids = [pid for server in servers for pid in server.pids]
    deadline = time.monotonic() + QUIET_SECONDS
    spent = cpu_seconds(pids)
    while time.monotonic() < deadline:
        time.sleep(QUIET_LOOK_SECONDS)
        before, spent = spent, cpu_seconds(pids)
        if spent - before < QUIET_SHARE * QUIET_LOOK_SECONDS:
            return


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _installed(packages: Path) -> Path:
    """The packages of a peer, installed into the user's cache when first needed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = cache / "sanic_chat-benchmarks" / packages.name
    directory.mkdir(parents=True, exist_ok=True)
    wanted = (packages / "package.json").read_text()
    manifest, done = directory / "package.json", directory / "installed.json"
    if not done.exists() or done.read_text() != wanted:
        print(f"installing {packages.name}'s packages into {directory}", file=sys.stderr)
        manifest.write_text(wanted)
        command = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(command, cwd=directory, check=True, timeout=180, stdout=sys.stderr)
        done.write_text(wanted)
    return directory / "node_modules"
