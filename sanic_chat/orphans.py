"""When the main process dies without stopping its workers, nobody else ever would.

A worker notices and stops by itself. Python's `multiprocessing.Manager`, in which Sanic keeps the
state of its workers, does not notice (sanic#2986): the orphaned workers end it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from contextlib import suppress

from sanic.worker.manager import WorkerManager

from .logs import logger

_STATE_SERVER = "SANIC_CHAT_STATE_SERVER_PID"


def remember_state_server(manager: WorkerManager) -> None:
    """In the main process, before workers are made: let them know the state server's PID."""
    state_server = manager.worker_state._manager  # type: ignore[attr-defined]
    os.environ[_STATE_SERVER] = str(state_server._process.pid)


class OrphanWatch:
    """In a worker: stops it, as SIGTERM does, once the main process is gone."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._orphaned = False
        main_process = multiprocessing.parent_process()
        if main_process is not None:
            # A pipe that only the main process holds open.
            loop.add_reader(main_process.sentinel, self._stop, main_process.sentinel)

    def _stop(self, sentinel: int) -> None:
        self._loop.remove_reader(sentinel)
        self._orphaned = True
        logger.error("The main process is gone: stopping")
        os.kill(os.getpid(), signal.SIGTERM)

    def end_state_server(self) -> None:
        """The last thing a worker does: if it is an orphan, end the state server too."""
        if self._orphaned and _STATE_SERVER in os.environ:
            with suppress(ProcessLookupError):
                os.kill(int(os.environ[_STATE_SERVER]), signal.SIGKILL)
