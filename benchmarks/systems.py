"""The systems that are measured: plain data, one entry each."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.support.harness import ROOT

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
    wire: str = "plain"
    """Its format, by its name in `load/wire.py`."""
    shares_port: bool = False
    """Whether `--workers N` starts N processes on one port; else each has a port of its own."""
    is_sanic_chat: bool = False
    """Whether it is sanic_chat, of whatever checkout."""
    needs: tuple[str, ...] = ()
    """Programs (`node`) and Python packages (`socketio`) without which it is skipped."""
    directory: Path = ROOT
    """The directory in which its command is run."""
    packages: Path | None = None
    """The folder whose `package.json` says what npm has to install for it."""

    @property
    def missing(self) -> str:
        """The names of what is needed and not here."""
        return " ".join(n for n in self.needs if not (shutil.which(n) or find_spec(n)))


SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        System(
            "sanic_chat", "sanic_chat", (_PYTHON, "-m", "sanic", "server:app"), shares_port=True,
            is_sanic_chat=True,
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
            wire="socket.io", needs=("socketio", "uvicorn"),
        ),
        System(
            "node_ws", "Node ws + ioredis", ("node", str(_NODE / "ws.js")),
            needs=("node", "npm"), packages=_NODE,
        ),
        System(
            "socketio", "Socket.IO + Redis adapter", ("node", str(_NODE / "socketio.js")),
            wire="socket.io", needs=("node", "npm"), packages=_NODE,
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
