"""Servers that are reloaded: their program, their settings, and what the log says."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any, NamedTuple

from .harness import ROOT, RedisProcess, ServerProcess, is_alive, wait_until

PROGRAM = """
import os
from pathlib import Path
from sanic_chat import create_app

app = create_app()


@app.before_server_start
def start(app):
    if Path(__file__).with_name("fault").exists():
        os._exit(3)
"""


class Place(NamedTuple):
    """Where a server has its program, its settings and its certificate."""

    directory: Path

    @property
    def env_file(self) -> Path:
        return self.directory / "chat.env"

    @property
    def program(self) -> Path:
        return self.directory / "reloaded.py"

    @property
    def fault(self) -> Path:
        """As long as it exists, no worker starts."""
        return self.directory / "fault"

    def settings(self, redis: RedisProcess, **settings: str) -> None:
        """Write the environment file."""
        settings = {"REDIS_URL": redis.url, "CHAT_HANDSHAKE_TIMEOUT": "0.5", **settings}
        self.env_file.write_text("".join(f"{name}={settings[name]}\n" for name in settings))

    def command(self) -> dict[str, Any]:
        """How to start a server here."""
        self.program.write_text(PROGRAM)
        return {
            "command": (sys.executable, "-m", "sanic", "reloaded:app"),
            "PYTHONPATH": f"{self.directory}{os.pathsep}{ROOT}",
            "PYTHONDONTWRITEBYTECODE": "1",  # programs change within the second
            "CHAT_ENV_FILE": str(self.env_file),
        }


def living(server: ServerProcess) -> list[int]:
    """The PIDs of the workers that live, oldest first."""
    return [pid for pid in server.worker_pids if is_alive(pid)]


def begin(server: ServerProcess) -> None:
    """Ask for a reload."""
    server.descendants()
    server.signal(signal.SIGHUP)


OVER, REFUSED = "The reload is over", "The reload is refused"


def outcome(server: ServerProcess, before: str) -> str:
    """What the log says behind `before`, once a reload is at its end."""

    def new() -> str:
        log = server.log[len(before) :]
        return log if OVER in log or REFUSED in log else ""

    return str(wait_until(new, "the reload is over"))


def reload(server: ServerProcess) -> str:
    """Reload; what the log says of it."""
    before = server.log
    begin(server)
    log = outcome(server, before)
    server.descendants()
    return log
