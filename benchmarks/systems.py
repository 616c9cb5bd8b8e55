"""What is measured against what: plain data, and how a server of each is started."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from tests.harness import ServerProcess, wait_until

from .processes import SERVER_CORE, started_on
from .wire import PLAIN, SOCKET_IO, Wire

_PEERS = Path(__file__).resolve().parent / "peers"
_NODE = _PEERS / "node"
_BUN = _PEERS / "bun"
_PYTHON = sys.executable


@dataclass(frozen=True)
class System:
    """A server that can be put under load.

    `command` gets `--port N`, and REDIS_URL in its environment; it prints
    `Worker ready [PID]` for each process that serves.
    All systems share one Redis: each needs channels of its own, or it hears what it is not to.
    """

    name: str
    title: str
    command: tuple[str, ...]
    wire: Wire = PLAIN
    shares_port: bool = False
    """Whether `--workers N` starts N processes on one port; else each has a port of its own."""
    needs: tuple[str, ...] = ()
    """Programs (`node`) and Python packages (`socketio`) without which it is skipped."""
    packages: Path | None = None
    """The folder whose `package.json` says what npm has to install for it."""

    @property
    def missing(self) -> str:
        """What is needed and not here, or nothing."""
        return " ".join(n for n in self.needs if not (shutil.which(n) or find_spec(n)))


SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        System(
            "sanic_chat", "sanic_chat", (_PYTHON, "-m", "sanic", "server:app"), shares_port=True
        ),
        System(
            "stock_sanic", "stock Sanic + redis-py",
            (_PYTHON, "-m", "sanic", "benchmarks.peers.stock_sanic:app"), shares_port=True,
        ),
        System(
            "websockets", "websockets broadcast() + redis-py",
            (_PYTHON, "-m", "benchmarks.peers.websockets_broadcast"),
        ),
        System(
            "python_socketio", "python-socketio + Redis manager",
            (_PYTHON, "-m", "uvicorn", "benchmarks.peers.python_socketio:app",
             "--log-level", "warning"),
            wire=SOCKET_IO, needs=("socketio", "uvicorn"),
        ),
        System(
            "node_ws", "Node ws + ioredis", ("node", str(_NODE / "ws.js")),
            needs=("node", "npm"), packages=_NODE,
        ),
        System(
            "socketio", "Socket.IO + Redis adapter", ("node", str(_NODE / "socketio.js")),
            wire=SOCKET_IO, needs=("node", "npm"), packages=_NODE,
        ),
        System(
            "bun", "Bun (uWebSockets) + its Redis client", ("bun", str(_BUN / "server.js")),
            needs=("node", "npm"), packages=_BUN,
        ),
    )
}  # fmt: skip

SEND_PRICE = System("send_price", "only send()", (_PYTHON, "-m", "benchmarks.peers.send_price"))
"""No system, but the floor: what the kernel takes for the same bytes to the same sockets."""


def title(system: str) -> str:
    """A system's name for people."""
    return SEND_PRICE.title if system == SEND_PRICE.name else SYSTEMS[system].title


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
                ServerProcess(*more, *options, command=system.command, environment=environment)
                for more in arguments
            ]

    def wait_ready(self) -> None:
        """Wait until all workers serve. Raises AssertionError if they do not within 20 s."""
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
