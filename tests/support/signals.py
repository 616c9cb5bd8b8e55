"""Signals to a server: as `kill` and as a terminal sends them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from .harness import ServerProcess

Send = Callable[[ServerProcess, int], None]


def to_main(server: ServerProcess, number: int) -> None:
    """A signal as `kill` sends it: to the main process."""
    server.signal(number)


def to_group(server: ServerProcess, number: int) -> None:
    """A signal as a terminal sends it: to every process of the group."""
    os.killpg(server.pid, number)


def holds_signals(server: ServerProcess) -> bool:
    """Whether the main process has come as far as blocking both signals.

    Before that it is Python that imports modules, and a signal ends it as it ends any program.
    """
    try:
        status = Path(f"/proc/{server.pid}/status").read_text()
    except FileNotFoundError:
        return False
    blocked = int(status.partition("SigBlk:")[2].split()[0], 16)
    return all(blocked >> (number - 1) & 1 for number in (signal.SIGINT, signal.SIGTERM))
