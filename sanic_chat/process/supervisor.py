"""The supervisor: in the main process, it acts on signals, and replaces workers that end.

    a stop signal ─→ stop ─→ SIGTERM to each worker ─→ (stop_timeout) ─→ SIGKILL
    SIGHUP ─→ Reload ─→ new workers ─→ Handover: the old ones leave
    a worker ends ─→ Restarts ─→ (a pause) ─→ started again, or given up
    a worker hangs (Watchdog) ─→ SIGKILL

Sanic never restarts a worker that died (sanic#3062), and acting on its manager from a signal
handler or from two threads hangs or crashes it (sanic#2997, #3055). Threads here only look on, and
speak to the manager through the pipe that it reads in its own loop.

This file and `workers` are the only ones that know Sanic's `WorkerManager`. What this one touches
there: `.monitor_publisher` (messages `"__TERMINATE__"` and `"__TERMINATE_EARLY__"`), `.start`,
`.monitor`, `.wait_for_ack`, `.restart`, `.scale`, `.shutdown`, `.kill`, `.cleanup`, `ServerKilled`.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Any

from sanic.exceptions import ServerKilled
from sanic.worker.constants import ProcessState, RestartOrder
from sanic.worker.manager import WorkerManager
from sanic.worker.process import WorkerProcess

from ..logs.logger import logger
from .handover import Handover
from .os_signals import RELOAD, SignalWaiter
from .reload import NewSettings, Reload
from .restarts import GiveUp, Restarts
from .watchdog import Watchdog
from .workers import Workers, send

POLL_SECONDS = 0.1
START_SECONDS = 30.0
"""The time that a stop gives workers that are still starting before it kills them."""
SAME_REQUEST_SECONDS = 2.0
"""The time after the first signal in which others mean the same: `timeout`, terminals and service
managers often signal a process and its group. A later one ends the wait for the drain."""

_TOO_EARLY = "__TERMINATE_EARLY__"


class Supervisor:
    """Stops a manager's workers on a signal, and replaces those that end.

    `Restarts` says when. If it gives up, or the manager or this watch fails, the server drains and
    ends with exit code 1. A worker that exits with 0 was told to stop, and has not died. A worker
    that hangs, as `watchdog` tells, is killed. Workers that were replaced leave, as `Handover`
    says, once all new ones are up. A worker that does not stop within `stop_timeout` seconds is
    killed, and in `handshake_timeout` seconds a connection has asked for what it wants.

    SIGHUP reloads, with the settings that `read` reads. The signals of `levels` are passed on to
    the workers.
    """

    def __init__(
        self,
        manager: WorkerManager,
        *,
        restart_limit: int,
        stop_timeout: float,
        handshake_timeout: float,
        watchdog: Watchdog,
        read: Callable[[Any], NewSettings],
        levels: Mapping[signal.Signals, Callable[[], None]],
    ) -> None:
        self.ends: Counter[str] = Counter()
        """The ends of workers so far, by reason: died, hung, not_made, replaced, stopped."""
        self._manager = manager
        self._workers = Workers(manager, watchdog)
        self._handover = Handover(pause=handshake_timeout, stop_timeout=stop_timeout)
        self._reload = Reload(self._workers, read=read)
        self._levels = levels
        self._watchdog = watchdog
        self._next_look = 0.0
        self._signals = SignalWaiter()
        self._restarts = Restarts(limit=restart_limit)
        self._started = threading.Event()
        self._stopping = threading.Event()
        self._failed = False
        self._not_made: SimpleQueue[tuple[str, str]] = SimpleQueue()
        """The names of workers that the manager could not make, each with the reason."""
        self._ended: dict[str, int] = {}
        self._hanging: set[int] = set()
        """The workers that were killed because they hang, and have not ended yet."""
        self._told: set[int] = set()
        """The PIDs of workers that Sanic has told to stop before it made others."""

    @property
    def workers(self) -> int:
        """The workers that there should be."""
        return len(self._workers.names())

    @property
    def last_reload_refused(self) -> bool:
        """Whether the workers go on with what they had before the last reload."""
        return self._reload.was_refused

    def allow(self, *, stop_timeout: float, handshake_timeout: float) -> None:
        """Give workers so much time, if that is more than they had: some have old settings."""
        handover = self._handover
        handover.stop_timeout = max(handover.stop_timeout, stop_timeout)
        handover.pause = max(handover.pause, handshake_timeout)

    def start(self) -> None:
        """Begin to watch. This process must have called `os_signals.hold_signals`."""
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
        for target in (self._wait_for_signals, self._watch):
            threading.Thread(target=target, name=target.__name__.strip("_"), daemon=True).start()

    # -- around the manager's own methods, in its thread ------------------------------------

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
            self._failed = True
            self._manager.shutdown()  # type: ignore[no-untyped-call]

    def _wait_for_ack(self, wait_for_ack: Callable[[], None]) -> None:
        wait_for_ack()
        self._started.set()

    def _restart(self, restart: Callable[..., None], **settings: Any) -> None:
        if settings["process_names"] == [_TOO_EARLY]:
            return  # a worker says that it failed to start; its end says so too
        if settings.get("restart_order") is not RestartOrder.STARTUP_FIRST:
            names = settings["process_names"]
            self._told |= {
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
                    self._not_made.put((process.name, str(error)))

    def _shutdown(self, shutdown: Callable[[], None]) -> None:
        self._stopping.set()
        shutdown()
        # Sanic does not know those that others have replaced.
        self._workers.signal_all(signal.SIGTERM)
        threading.Thread(target=self._kill_who_does_not_stop, name="killer", daemon=True).start()

    def _kill_who_does_not_stop(self) -> None:
        # Both Sanic's manager and multiprocessing would wait for it for ever.
        time.sleep(self._handover.stop_timeout)
        for worker in self._workers.living():
            self._kill_late(worker)

    def _cleanup(self, cleanup: Callable[[], None]) -> None:
        """End all processes, as the last call of the manager's `run`.

        Sanic's own waits 10 s for each worker.
        """
        while self._workers.living():
            time.sleep(POLL_SECONDS / 5)
        for process in self._workers.all_places():
            if process.pid is None:
                process.set_state(ProcessState.TERMINATED, force=True)
            else:
                send(process._current_process, signal.SIGKILL)  # a reloader, an inspector
        cleanup()
        if self._failed:
            raise ServerKilled  # makes Sanic's exit code 1

    def _kill(self) -> None:
        """Kill the server's processes, and nobody else's, as `WorkerManager.kill` would."""
        self._workers.kill_all()
        for process in self._workers.all_places():
            process.set_state(ProcessState.TERMINATED, force=True)  # or Sanic waits 10 s for them
        raise ServerKilled

    def _kill_late(self, worker: BaseProcess) -> None:
        logger.error(
            "Killed worker %s (PID %s): it did not stop within %g s",
            worker.name,
            worker.pid,
            self._handover.stop_timeout,
        )
        send(worker, signal.SIGKILL)

    # -- signals ---------------------------------------------------------------------------

    def _wait_for_signals(self) -> None:
        logger.info("Received %s: stopping", self._wait_for_stop().name)
        self._begin_stop()
        first = time.monotonic()
        while time.monotonic() - first < SAME_REQUEST_SECONDS:
            self._wait_for_stop()
        logger.warning("Received a second signal: killing the workers")
        self._workers.kill_all()

    def _wait_for_stop(self) -> signal.Signals:
        """Wait for a stop signal, and act on the others."""
        while True:
            number, stops = self._signals.wait()
            if stops:
                return number
            if number in self._levels:
                self._levels[number]()  # first: a worker that is being made inherits it
                self._workers.signal_all(number)
            elif number is RELOAD and not self._stopping.is_set():
                self._reload.request()
            elif number is RELOAD:
                self._signals.ignore(number, "the server stops")

    # -- stopping --------------------------------------------------------------------------

    def _begin_stop(self) -> None:
        self._stopping.set()
        threading.Thread(target=self._stop, name="stop", daemon=True).start()

    def _stop(self) -> None:
        # The manager puts back what it reads before all workers are up, and spins (sanic#2997).
        if self._started.wait(START_SECONDS):
            with suppress(OSError):  # it stops already
                self._manager.monitor_publisher.send("__TERMINATE__")
        else:
            self._workers.kill_all()

    def _give_up(self, reason: str, *arguments: Any) -> None:
        logger.error(f"Giving up: {reason}", *arguments)
        self._failed = True
        self._begin_stop()

    # -- replacing -------------------------------------------------------------------------

    def _watch(self) -> None:
        try:
            while not self._stopping.wait(POLL_SECONDS):
                if self._started.is_set():
                    self._look(time.monotonic())
                else:
                    self._give_up_early()
        except Exception:
            if not self._stopping.is_set():
                logger.exception("The watch over the workers has failed")
                self._give_up("nobody would replace a worker that ends")
        finally:
            self._reload.close()

    def _give_up_early(self) -> None:
        """End a server whose first workers do not all come up: Sanic waits 30 s for dead ones."""
        for place in self._workers.places():
            worker = place._current_process
            if worker.exitcode is not None and not self._watchdog.has_started(worker.pid):
                logger.error("Giving up: %s while it started", _how_it_died(worker))
                self._stopping.set()
                self._manager.monitor_publisher.send(_TOO_EARLY)
                return

    def _look(self, now: float) -> None:
        try:
            for place in self._workers.places():
                if place.name != self._reload.starting:
                    self._look_at(place, now)
            while not self._not_made.empty():
                name, error = self._not_made.get()
                if name == self._reload.starting:
                    self._reload.not_made(name, error)
                else:
                    self.ends["not_made"] += 1
                    how = f"worker {name} could not be made: {error}"
                    self._replace(how, partial(self._restarts.died, name, now, was_up=False))
        except GiveUp as reason:
            self._give_up("%s", reason)
            return
        places = {place.name for place in self._workers.places()}
        for name in self._restarts.take_due(now, but=self._reload.starting):
            if name in places:  # and was not scaled away
                self._workers.restart(name)
        self._reload.look()
        self._let_leave(now)
        if now >= self._next_look:
            self._next_look = now + self._watchdog.interval
            self._kill_who_hangs()

    def _look_at(self, place: WorkerProcess, now: float) -> None:
        worker: BaseProcess = place._current_process
        if worker.pid is None:
            return
        was_up = self._watchdog.has_started(worker.pid)
        if worker.is_alive():
            if was_up:
                self._restarts.is_up(place.name)
            return
        if self._ended.get(place.name) == worker.pid:
            return
        self._ended[place.name] = worker.pid
        if was_up and worker.exitcode == 0:
            self.ends["stopped"] += 1
            how = f"worker {place.name} (PID {worker.pid}) has stopped"
            self._replace(how, partial(self._restarts.stopped, place.name, now))
        else:
            self.ends["hung" if worker.pid in self._hanging else "died"] += 1
            self._hanging.discard(worker.pid)
            pause = partial(self._restarts.died, place.name, now, was_up=was_up)
            self._replace(_how_it_died(worker), pause)

    def _replace(self, how: str, pause: Callable[[], float]) -> None:
        try:
            logger.warning("Restarting in %g s: %s", pause(), how)
        except GiveUp as reason:
            raise GiveUp(f"{how}, {reason}") from None

    def _let_leave(self, now: float) -> None:
        """Have those leave who were replaced, or are too many."""
        replaced = self._workers.replaced()
        places = {place.name for place in self._workers.places()}
        self._told.intersection_update(worker.pid for worker in self._workers.living())
        steps = self._handover.look(
            replaced,
            now,
            may_leave=not self._reload.keeps_everybody and self._workers.all_up(),
            at_once={
                pid
                for pid, worker in replaced.items()
                if pid in self._told or worker.name not in places
            },
        )
        for pid, number in steps:
            worker = replaced[pid]
            if number is signal.SIGKILL:
                self._kill_late(worker)
                continue
            if number is signal.SIGTERM:
                logger.info("Worker %s (PID %d) is no longer needed, and stops", worker.name, pid)
                self.ends["replaced"] += 1
            send(worker, number)

    def _kill_who_hangs(self) -> None:
        serving = self._workers.serving()
        self._hanging.intersection_update(serving)
        for pid in self._watchdog.look(serving):
            logger.error(
                "Killing worker %s (PID %d): its event loop stands still for %g s",
                serving[pid].name,
                pid,
                self._watchdog.timeout,
            )
            self._hanging.add(pid)
            send(serving[pid], signal.SIGKILL)


def _how_it_died(worker: BaseProcess) -> str:
    return f"worker {worker.name} (PID {worker.pid}) died with exit code {worker.exitcode}"
