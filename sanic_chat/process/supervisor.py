"""The supervisor: in the main process, it acts on signals, and replaces workers that end.

    a stop signal ─→ stop ─→ SIGTERM to each worker ─→ (stop_timeout) ─→ SIGKILL
    SIGHUP ─→ Reload ─→ new workers ─→ Handover: the old ones leave
    a worker ends ─→ Restarts ─→ (a pause) ─→ started again, or given up
    a worker hangs (Watchdog) ─→ SIGKILL

Sanic never restarts a worker that died (sanic#3062), and acting on its manager from a signal
handler or from two threads hangs or crashes it (sanic#2997, #3055). Threads here only look on, and
speak to the manager by way of `manager_hooks` and `workers`.

May live here: which worker gets which signal, and when one is made anew. Must not know what a
worker serves, nor the methods of the manager.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing.process import BaseProcess
from typing import Any

from sanic.worker.manager import WorkerManager
from sanic.worker.process import WorkerProcess

from ..logs.logger import logger
from .handover import Handover
from .manager_hooks import ManagerHooks
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
        self._replaced: set[int] = set()
        """The workers that had been replaced at the last look."""
        self._workers = Workers(manager, watchdog)
        self._manager = ManagerHooks(manager, self._workers, on_shutdown=self._manager_stops)
        self._handover = Handover(pause=handshake_timeout, stop_timeout=stop_timeout)
        self._reload = Reload(self._workers, read=read)
        self._levels = levels
        self._watchdog = watchdog
        self._next_look = 0.0
        self._signals = SignalWaiter()
        self._restarts = Restarts(limit=restart_limit)
        self._stopping = self._manager.stopping
        self._ended: dict[str, int] = {}
        self._hanging: set[int] = set()
        """The workers that were killed because they hang, and have not ended yet."""

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
        self._manager.install()
        for target in (self._wait_for_signals, self._watch):
            threading.Thread(target=target, name=target.__name__.strip("_"), daemon=True).start()

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
        ends = time.monotonic() + START_SECONDS
        # The manager puts back what it reads before all workers are up, and spins (sanic#2997).
        while not self._manager.started.wait(POLL_SECONDS):
            if self._gives_up_early():
                return
            if time.monotonic() > ends:
                self._workers.kill_all()
                return
        self._manager.terminate()

    def _manager_stops(self) -> None:
        threading.Thread(target=self._kill_who_does_not_stop, name="killer", daemon=True).start()

    def _kill_who_does_not_stop(self) -> None:
        # Both Sanic's manager and multiprocessing would wait for it for ever.
        time.sleep(self._handover.stop_timeout)
        for worker in self._workers.living():
            self._kill_late(worker)

    def _kill_late(self, worker: BaseProcess) -> None:
        logger.error(
            "Killed worker %s (PID %s): it did not stop within %g s",
            worker.name,
            worker.pid,
            self._handover.stop_timeout,
        )
        send(worker, signal.SIGKILL)

    def _give_up(self, reason: str, *arguments: Any) -> None:
        logger.error(f"Giving up: {reason}", *arguments)
        self._manager.failed = True
        self._begin_stop()

    # -- replacing -------------------------------------------------------------------------

    def _watch(self) -> None:
        try:
            while not self._stopping.wait(POLL_SECONDS):
                if self._manager.started.is_set():
                    self._look(time.monotonic())
                else:
                    self._gives_up_early()
        except Exception:
            if not self._stopping.is_set():
                logger.exception("The watch over the workers has failed")
                self._give_up("nobody would replace a worker that ends")
        finally:
            self._reload.close()

    def _gives_up_early(self) -> bool:
        """End a server whose first workers do not all come up: Sanic waits 30 s for dead ones."""
        for place in self._workers.places():
            worker = place._current_process
            if worker.exitcode is not None and not self._watchdog.has_started(worker.pid):
                logger.error("Giving up: %s while it started", _how_it_died(worker))
                self._manager.terminate_early()
                return True
        return False

    def _look(self, now: float) -> None:
        try:
            for place in self._workers.places():
                if place.name != self._reload.starting:
                    self._look_at(place, now)
            while not self._manager.not_made.empty():
                name, error = self._manager.not_made.get()
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
        living = {worker.pid for worker in self._workers.living()}
        for _ in self._replaced - living:
            self.ends["replaced"] += 1
        self._replaced = {*replaced}
        self._manager.told &= living
        steps = self._handover.look(
            replaced,
            now,
            may_leave=not self._reload.keeps_everybody and self._workers.all_up(),
            at_once={
                pid
                for pid, worker in replaced.items()
                if pid in self._manager.told or worker.name not in places
            },
        )
        for pid, number in steps:
            worker = replaced[pid]
            if number is signal.SIGKILL:
                self._kill_late(worker)
                continue
            if number is signal.SIGTERM:
                logger.info("Worker %s (PID %d) is no longer needed, and stops", worker.name, pid)
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
    code = worker.exitcode
    killer = next((f" ({one.name})" for one in signal.Signals if code == -one), "")
    return f"worker {worker.name} (PID {worker.pid}) died with exit code {code}{killer}"
