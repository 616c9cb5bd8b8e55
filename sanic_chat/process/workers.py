"""The workers of a manager: which there are, and how one takes another's place.

    place (Sanic's `WorkerProcess`) ─→ its newest process, and older ones that still live

What it touches of Sanic's `WorkerManager`: `.transient`, `.durable`, `.monitor_publisher` (messages
`"{name}:"` and `"{name}::STARTUP_FIRST"`), `._server_settings`; of a process `.name`, `.pid`,
`.worker_state`, `.set_state()`, `._current_process`, `._terminate_soon()`; and the names of the
processes.

May live here: what is asked of processes and of the manager. Must not know when.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Any

from sanic.worker.constants import ProcessState, RestartOrder
from sanic.worker.manager import WorkerManager
from sanic.worker.process import Worker, WorkerProcess

from .rehearsal import Rehearsal
from .reload import START_SECONDS
from .watchdog import Watchdog

_OF_SANIC = f"{Worker.WORKER_PREFIX}-"
_SERVES = f"{Worker.WORKER_PREFIX}-{WorkerProcess.SERVER_LABEL}-"


class Workers:
    """The processes of a manager, each at a place that has a name."""

    def __init__(self, manager: WorkerManager, watchdog: Watchdog) -> None:
        self._manager = manager
        self._watchdog = watchdog
        self._before_start: SimpleQueue[Callable[[], None]] = SimpleQueue()
        # Sanic's loses sight of a worker when two reloads meet, and when its successor fails.
        WorkerProcess._terminate_soon = lambda process: None  # type: ignore[method-assign]

    # -- which there are -------------------------------------------------------------------

    def places(self) -> list[WorkerProcess]:
        """The processes that Sanic restarts: the workers, and a program's own transient ones."""
        # In one go, since the manager may be adding to them in its own thread.
        return [each for it in list(self._manager.transient.values()) for each in it.processes]

    def all_places(self) -> list[WorkerProcess]:
        """These, and the durable ones: a reloader, an inspector."""
        return [*self.places(), *self._durable()]

    def living(self) -> list[BaseProcess]:
        """The living processes of all places, with those that were replaced."""
        durable = {each.name for each in self._durable()}
        return [
            child
            for child in multiprocessing.active_children()
            if child.name.startswith(_OF_SANIC) and child.name not in durable
        ]

    def replaced(self) -> dict[int, BaseProcess]:
        """Those of them that are not the newest at their place, by PID."""
        living = self.living()  # first: one made meanwhile would seem to have been replaced
        newest = {place.pid for place in self.places()}
        return {
            worker.pid: worker
            for worker in living
            if worker.pid is not None and worker.pid not in newest
        }

    def serving(self) -> dict[int, BaseProcess]:
        """Those of the living that serve clients, by PID."""
        return {
            worker.pid: worker
            for worker in self.living()
            if worker.pid is not None and worker.name.startswith(_SERVES)
        }

    def all_up(self) -> bool:
        """Whether the newest server process at each place lives and has ever served."""
        return all(
            place.pid
            and place._current_process.is_alive()
            and self._watchdog.has_started(place.pid)
            for place in self.places()
            if place.name.startswith(_SERVES)
        )

    def _durable(self) -> Iterable[WorkerProcess]:
        return [each for it in list(self._manager.durable.values()) for each in it.processes]

    # -- one after another: see `reload.Crew` -----------------------------------------------

    def names(self) -> list[str]:
        return [place.name for place in self.places() if place.name.startswith(_SERVES)]

    def process(self, name: str) -> BaseProcess | None:
        place = self._place(name)
        return None if place is None else place._current_process

    def is_up(self, process: BaseProcess) -> bool:
        return process.pid is not None and self._watchdog.has_started(process.pid)

    def succeed(self, name: str) -> None:
        self._manager.monitor_publisher.send(f"{name}::{RestartOrder.STARTUP_FIRST}")

    def put_back(self, name: str, process: BaseProcess) -> None:
        place = self._place(name)
        if place is not None:
            place._current_process = process
            place.set_state(ProcessState.ACKED, force=True)
            place.worker_state[name] = {**place.worker_state[name], "pid": process.pid}

    def before_next_start(self, call: Callable[[], None]) -> None:
        self._before_start.put(call)

    def tls(self) -> Any:
        return self._manager._server_settings.get("ssl")

    def rehearse(self, environment: Mapping[str, str]) -> Rehearsal:
        loader = self._manager._server_settings["app_loader"]
        return Rehearsal(environment, loader=loader, timeout=START_SECONDS)

    def anybody_leaves(self) -> bool:
        return bool(self.replaced())

    def prepare_start(self) -> None:
        """Make the calls that are due before a process is made; in the thread that makes it."""
        while not self._before_start.empty():
            self._before_start.get()()

    def restart(self, name: str) -> None:
        """Have a place's process made anew, which has ended."""
        self._manager.monitor_publisher.send(f"{name}:")

    def _place(self, name: str) -> WorkerProcess | None:
        return next((place for place in self.places() if place.name == name), None)

    # -- signals ---------------------------------------------------------------------------

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to all that live, also to those that were replaced."""
        for worker in self.living():
            send(worker, number)

    def kill_all(self) -> None:
        """Kill all of them, and the durable ones."""
        for process in [*self.living(), *(each._current_process for each in self.all_places())]:
            send(process, signal.SIGKILL)


def send(process: BaseProcess, number: signal.Signals) -> None:
    """Send a signal to a process if it has begun and not ended."""
    if process.pid is not None and process.is_alive():
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
