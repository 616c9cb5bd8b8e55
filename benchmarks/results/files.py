"""Results as JSON files, and on which machine they were measured."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.support.servers import PROGRAMS

from .result import Result, summary


def machine() -> dict[str, Any]:
    """The machine and the versions with which the figures were measured."""
    packages = ("sanic", "uvloop", "redis", "hiredis", "websockets", "python-socketio", "uvicorn")
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _first_line("git", "describe", "--always", "--dirty"),
        "cpu": f"{len(cpu)} × {cpu[0].partition(': ')[2]}" if cpu else platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "redis_server": _first_line(PROGRAMS[0], "--version"),
        "node": _first_line("node", "--version"),
        **{name: _version(name) for name in packages},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except ImportError:
        return ""


def _first_line(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.partition("\n")[0]
    except OSError:
        return ""


def write_json(path: Path, results: list[Result], **more: Any) -> None:
    """Write every round, their medians, and the machine; and what else there is to say."""
    medians = [r.to_json() for by_system in summary(results).values() for r in by_system.values()]
    data = {
        "machine": machine(),
        "medians": medians,
        "rounds": [result.to_json() for result in results],
        **more,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1))


def read_json(path: Path) -> list[Result]:
    """Every round of what `write_json` wrote."""
    return [Result.from_json(data) for data in json.loads(path.read_text())["rounds"]]
