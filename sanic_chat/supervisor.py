"""The main process's watch over its workers: orderly stops, and a new one for who dies or hangs.

Sanic never restarts a worker that died (sanic#3062), and acting on its manager from a signal
handler or from two threads hangs or crashes it (sanic#2997, #3055). Two threads here only look
on, and speak to the manager through the pipe that it reads in its own loop.

The only file that knows Sanic's `WorkerManager`. What it touches there: `.transient_processes`,
`.durable_processes`, `.processes`, `.worker_state` (of each worker a `"state"`),
`.monitor_publisher` (messages `"{name}:"`, `"__TERMINATE__"` and `"__TERMINATE_EARLY__"`),
`.wait_for_ack`, `.kill`, `.cleanup`, `ServerKilled`, and of a process `.name`, `.pid`, `.state`,
`.exitcode`, `.is_alive()`, `.set_state()`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from sanic.exceptions import ServerKilled
from sanic.worker.constants import ProcessState
from sanic.worker.manager import WorkerManager
from sanic.worker.process import WorkerProcess

from .logs import logger
from .pulse import PulseWatch
from .signals import STOP_SIGNALS

POLL_SECONDS = 0.1
START_SECONDS = 30.0
"""How long a stop waits for workers that are still starting before it kills them."""
SAME_REQUEST_SECONDS = 2.0
"""Signals this close to the first say the same: `timeout`, terminals and service managers often
signal a process and its group. A later one means that the drain is not to be waited for."""
RESTART_WINDOW_SECONDS = 60.0
MAX_BACKOFF_SECONDS = 30.0
_DEAD = (ProcessState.FAILED, ProcessState.COMPLETED)


class Supervisor:
    """Stops a manager's workers on a signal, and has those that die restarted.

    The first death is answered at once, further ones within a minute after 1, 2, 4 … 30 s; more
    than `restart_limit` deaths within a minute end the server with exit code 1. Who hangs, as
    `pulses` tells, is killed, which makes it one that died. When the server stops, workers have
    `stop_timeout` seconds to end before they are killed.
    """

    def __init__(
        self,
        manager: WorkerManager,
        *,
        restart_limit: int,
        stop_timeout: float,
        pulses: PulseWatch | None,
    ) -> None:
        self._manager = manager
        self._restart_limit = restart_limit
        self._stop_timeout = stop_timeout
        self._pulses = pulses
        self._next_look = 0.0
        self._started = threading.Event()
        self._stopping = threading.Event()
        self._failed = False
        self._deaths: deque[float] = deque()
        self._dead_pids: dict[str, int | None] = {}
        self._restart_at: dict[str, float] = {}

    def start(self) -> None:
        """Begin to watch; SIGINT and SIGTERM must be blocked in this process (see `signals`)."""
        # Sanic's kills whole process groups, and with them whoever started the server.
        self._manager.kill = self._kill  # type: ignore[method-assign]
        self._cleanup: Callable[[], None] = self._manager.cleanup
        self._manager.cleanup = self._clean_up  # type: ignore[method-assign]
        self._wait_for_ack: Callable[[], None] = self._manager.wait_for_ack
        self._manager.wait_for_ack = self._wait_for_start  # type: ignore[method-assign]
        for target in (self._wait_for_signals, self._watch_workers):
            threading.Thread(target=target, name=target.__name__.strip("_"), daemon=True).start()

    # -- stopping --------------------------------------------------------------------------

    def _wait_for_signals(self) -> None:
        received = signal.Signals(signal.sigwait(STOP_SIGNALS))
        logger.info("Received %s: stopping", received.name)
        self._begin_stop()
        first = time.monotonic()
        while time.monotonic() - first < SAME_REQUEST_SECONDS:
            signal.sigwait(STOP_SIGNALS)
        logger.warning("Received a second signal: killing the workers")
        self._kill_processes()

    def _begin_stop(self) -> None:
        self._stopping.set()
        threading.Thread(target=self._stop, name="stop", daemon=True).start()

    def _stop(self) -> None:
        # The manager puts back what it reads before all workers are up, and spins (sanic#2997).
        if not self._started.wait(START_SECONDS):
            self._kill_processes()
            return
        with suppress(OSError, EOFError):
            for process in self._manager.durable_processes:
                # A reloader or inspector was born with the signals blocked.
                _kill(process)
            self._manager.monitor_publisher.send("__TERMINATE__")
            self._kill_who_does_not_stop()

    def _kill_who_does_not_stop(self) -> None:
        # Both Sanic's manager and multiprocessing would wait for it for ever.
        time.sleep(self._stop_timeout)
        for process in list(self._manager.transient_processes):
            if _kill(process):
                logger.error(
                    "Killed worker %s (PID %s): it did not stop within %g s",
                    process.name,
                    process.pid,
                    self._stop_timeout,
                )

    def _kill_processes(self) -> None:
        for process in list(self._manager.processes):
            _kill(process)

    def _kill(self) -> None:
        """In place of `WorkerManager.kill`: the workers, and nobody else."""
        self._kill_processes()
        for process in list(self._manager.processes):
            process.set_state(ProcessState.TERMINATED, force=True)  # or Sanic waits 10 s for them
        raise ServerKilled

    def _wait_for_start(self) -> None:
        """In place of `WorkerManager.wait_for_ack`, to know when it is over."""
        self._wait_for_ack()
        self._started.set()

    def _clean_up(self) -> None:
        """In place of `WorkerManager.cleanup`, which is the last thing its `run` calls."""
        self._cleanup()
        if self._failed:
            raise ServerKilled  # makes Sanic's exit code 1

    # -- restarting ------------------------------------------------------------------------

    def _watch_workers(self) -> None:
        with suppress(OSError, EOFError):  # the manager's proxies go when it stops
            while not self._stopping.wait(POLL_SECONDS):
                if not self._started.is_set():
                    self._give_up_early()
                    continue
                for process in list(self._manager.transient_processes):
                    dead = process.state in _DEAD and not _is_alive(process)
                    if dead and self._dead_pids.get(process.name) != process.pid:
                        self._dead_pids[process.name] = process.pid
                        self._died(process)
                self._restart_who_is_due()
                if self._pulses is not None:
                    self._kill_who_hangs(self._pulses)

    def _give_up_early(self) -> None:
        """End a server whose first workers do not all come up: Sanic waits 30 s for the dead."""
        for process in list(self._manager.transient_processes):
            if process.exitcode and not self._was_up(process):
                logger.error("Giving up: %s while it started", _how_it_died(process))
                self._stopping.set()
                self._manager.monitor_publisher.send("__TERMINATE_EARLY__")
                return

    def _was_up(self, process: WorkerProcess) -> bool:
        state = self._manager.worker_state[process.name].get("state")
        return bool(state == ProcessState.ACKED.name)

    def _died(self, process: WorkerProcess) -> None:
        now = time.monotonic()
        while self._deaths and now - self._deaths[0] > RESTART_WINDOW_SECONDS:
            self._deaths.popleft()
        self._deaths.append(now)
        count = len(self._deaths)
        how = _how_it_died(process)
        if count > self._restart_limit:
            logger.error(
                "Giving up: %s, death number %d within %d s", how, count, RESTART_WINDOW_SECONDS
            )
            self._failed = True
            self._begin_stop()
            return
        delay = 0.0 if count == 1 else min(2.0 ** (count - 2), MAX_BACKOFF_SECONDS)
        logger.warning("Restarting in %g s: %s", delay, how)
        self._restart_at[process.name] = now + delay

    def _restart_who_is_due(self) -> None:
        now = time.monotonic()
        for name in [name for name, at in self._restart_at.items() if at <= now]:
            del self._restart_at[name]
            self._manager.monitor_publisher.send(f"{name}:")

    def _kill_who_hangs(self, pulses: PulseWatch) -> None:
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + pulses.interval
        living = {
            process.pid: process
            for process in list(self._manager.transient_processes)
            if process.pid is not None and _is_alive(process)
        }
        for pid in pulses.look(living):
            logger.error(
                "Killing worker %s (PID %d): its event loop stands still for %g s",
                living[pid].name,
                pid,
                pulses.timeout,
            )
            _kill(living[pid])


def _how_it_died(process: WorkerProcess) -> str:
    return f"worker {process.name} (PID {process.pid}) died with exit code {process.exitcode}"


def _kill(process: WorkerProcess) -> bool:
    """kill -9; False if it was dead."""
    if process.pid is None or not _is_alive(process):
        return False
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    return True


def _is_alive(process: WorkerProcess) -> bool:
    return bool(process.is_alive())  # type: ignore[no-untyped-call]
