"""The manager of Sanic's workers: what its own methods do besides, in its own thread.

    its method ─→ the hook around it ─→ what has happened, for `supervisor`, which looks at it
    supervisor ─→ terminate ─→ the pipe that it reads in its own loop

This file and `workers` are the only ones that know Sanic's `WorkerManager`. What this one touches
there: `.monitor_publisher` (messages `"__TERMINATE__"` and `"__TERMINATE_EARLY__"`), `.start`,
`.monitor`, `.wait_for_ack`, `.restart`, `.scale`, `.shutdown`, `.kill`, `.cleanup`, `ServerKilled`.

May live here: what is done before, behind or in place of one of its methods. Must not know why a
worker is made anew, nor when.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from queue import SimpleQueue
from typing import Any

from sanic.exceptions import ServerKilled
from sanic.worker.constants import ProcessState, RestartOrder
from sanic.worker.manager import WorkerManager

from ..logs.logger import logger
from .workers import Workers, send

POLL_SECONDS = 0.02
"""The time between two looks at who still lives, when all are to end."""

_TOO_EARLY = "__TERMINATE_EARLY__"


class ManagerHooks:
    """A manager that survives what its workers do, and ends them all at its own end.

    `on_shutdown` is called once it has told its workers to stop.
    """

    def __init__(
        self, manager: WorkerManager, workers: Workers, *, on_shutdown: Callable[[], None]
    ) -> None:
        self.started = threading.Event()
        """Set once all workers have been up."""
        self.stopping = threading.Event()
        """Set once the server is to end."""
        self.failed = False
        """Whether the exit code is to be 1."""
        self.not_made: SimpleQueue[tuple[str, str]] = SimpleQueue()
        """The names of workers that the manager could not make, each with the reason."""
        self.told: set[int] = set()
        """The PIDs of workers that Sanic has told to stop before it made others."""
        self._manager = manager
        self._workers = workers
        self._on_shutdown = on_shutdown

    def install(self) -> None:
        """Put the hooks around the methods."""
        for method in (
            self._start,
            self._monitor,
            self._wait_for_ack,
            self._restart,
            self._scale,
            self._shutdown,
            self._cleanup,
        ):
            name = method.__name__.removeprefix("_")
            setattr(self._manager, name, partial(method, getattr(self._manager, name)))
        # Sanic's kills whole process groups, and with them whoever started the server.
        self._manager.kill = self._kill  # type: ignore[method-assign]

    def terminate(self) -> None:
        """Have the manager stop its workers, and end. Only once it has `started`."""
        with suppress(OSError):  # it stops already
            self._manager.monitor_publisher.send("__TERMINATE__")

    def terminate_early(self) -> None:
        """Have the manager end, whose first workers will not all come up."""
        self.stopping.set()
        self._manager.monitor_publisher.send(_TOO_EARLY)

    # -- the hooks, in the manager's thread ------------------------------------------------

    def _start(self, start: Callable[[], None]) -> None:
        try:
            start()
        except OSError as error:
            logger.error("Giving up: a worker could not be made: %s", error)
            self._kill()

    def _monitor(self, monitor: Callable[[], None]) -> None:
        try:
            monitor()
        except ServerKilled:
            raise
        except Exception:
            logger.exception("Giving up: Sanic's manager of the workers has failed")
            self.failed = True
            self._manager.shutdown()  # type: ignore[no-untyped-call]

    def _wait_for_ack(self, wait_for_ack: Callable[[], None]) -> None:
        wait_for_ack()
        self.started.set()

    def _restart(self, restart: Callable[..., None], **settings: Any) -> None:
        if settings["process_names"] == [_TOO_EARLY]:
            return  # a worker says that it failed to start; its end says so too
        if settings.get("restart_order") is not RestartOrder.STARTUP_FIRST:
            names = settings["process_names"]
            self.told |= {
                place.pid
                for place in self._workers.places()
                if place.pid is not None and (not names or place.name in names)
            }
        with self._surviving():
            restart(**settings)

    def _scale(self, scale: Callable[[int], None], workers: int) -> None:
        with self._surviving():
            scale(workers)

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        """Keep an exception from the manager's loop, and note which worker was not made by it.

        Mostly the cause is a limit of processes, memory or descriptors, and may be over soon.
        """
        try:
            self._workers.prepare_start()
            yield
        except Exception as error:
            logger.error("Sanic's manager could not do what it was asked to: %r", error)
            for process in self._workers.places():
                if process.pid is None:
                    self.not_made.put((process.name, str(error)))

    def _shutdown(self, shutdown: Callable[[], None]) -> None:
        self.stopping.set()
        shutdown()
        # Sanic does not know those that others have replaced.
        self._workers.signal_all(signal.SIGTERM)
        self._on_shutdown()

    def _cleanup(self, cleanup: Callable[[], None]) -> None:
        """End all processes, as the last call of the manager's `run`.

        Sanic's own waits 10 s for each worker.
        """
        while self._workers.living():
            time.sleep(POLL_SECONDS)
        for process in self._workers.all_places():
            if process.pid is None:
                process.set_state(ProcessState.TERMINATED, force=True)
            else:
                send(process._current_process, signal.SIGKILL)  # a reloader, an inspector
        cleanup()
        if self.failed:
            raise ServerKilled  # makes Sanic's exit code 1

    def _kill(self) -> None:
        """Kill the server's processes, and nobody else's, as `WorkerManager.kill` would."""
        self._workers.kill_all()
        for process in self._workers.all_places():
            process.set_state(ProcessState.TERMINATED, force=True)  # or Sanic waits 10 s for them
        raise ServerKilled
