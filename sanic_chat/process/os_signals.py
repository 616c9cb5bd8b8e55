"""Signals of the operating system: each process acts on them once, and none ends it by accident.

    main process: hold_signals ─→ SignalWaiter, in a thread ─→ supervisor
    worker:       (inherited)  ─→ WorkerSignals, in a thread ─→ actions, on the loop

SIGINT and SIGTERM stop. SIGHUP reloads, and SIGUSR1 and SIGUSR2 set the level of the log, in the
main process, which passes them on. `LEAVE` tells a worker that it has been replaced.

SIGHUP has an older meaning: the terminal is gone. If the server was started in a terminal, which is
gone now, and the kernel or the shell there sends SIGHUP, it stops; under `nohup` it goes on.

All of them are blocked from before the first child process is made until a process can act on
them: children inherit the mask, so a signal that comes while a worker is starting waits for it
instead of being lost or ending it with a traceback (sanic#2997, #2986). The main process never
handles them in a signal handler, where Sanic would re-enter its multiprocessing proxies; a
thread takes them instead (see `supervisor`).

What it touches of Sanic's inside: `sanic.server.runners._setup_system_signals`; and of Python's:
`multiprocessing.resource_tracker._HAVE_SIGMASK`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing import resource_tracker
from typing import Any, NamedTuple

from sanic.server import runners

from ..logs.logger import RateLimitedWarning, logger

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

RELOAD = signal.SIGHUP

LEVEL_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)
"""Debug from now on, and no longer."""

LEAVE = signal.SIGURG
"""From the main process to a worker that has been replaced: it accepts no more connections, and
waits for its SIGTERM. Nobody sends it by accident, neither terminals nor service managers, and who
does not know it ignores it."""

HELD_SIGNALS = (*STOP_SIGNALS, RELOAD, *LEVEL_SIGNALS, LEAVE)
POLL_SECONDS = 0.02


def hold_signals() -> None:
    """Block `HELD_SIGNALS`, in this thread and in all processes that it makes from now on."""
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        # Inherited from who started the server: nobody could be told that a worker has ended.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # It unblocks SIGINT and SIGTERM here whenever it starts its process: now, or after that died.
    resource_tracker._HAVE_SIGMASK = False  # type: ignore[attr-defined]
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD_SIGNALS)


class Received(NamedTuple):
    """A signal that has come."""

    signal: signal.Signals
    stops: bool
    """Whether it means to stop."""


class SignalWaiter:
    """Takes the signals of `HELD_SIGNALS`. Made before the thread that calls `wait` starts."""

    def __init__(self) -> None:
        self._goes_on = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # as `nohup` has it
        self._had_terminal = _has_terminal()
        self._shells = {os.getppid(), os.getsid(0)}
        self._ignored = RateLimitedWarning()

    def wait(self) -> Received:
        """Block until a signal comes, and return it."""
        while True:
            number, sender = _take()
            if number is not signal.SIGHUP or not self._is_hangup(sender):
                return Received(number, number in STOP_SIGNALS)
            self._had_terminal = False  # the next one is not about it
            if not self._goes_on:
                return Received(number, True)
            logger.info("The terminal is gone; the server goes on, as nohup says")

    def ignore(self, number: signal.Signals, why: str) -> None:
        """Log that a signal does nothing."""
        self._ignored.log("Received %s, and ignored it: %s", number.name, why)

    def _is_hangup(self, sender: int | None) -> bool:
        """Whether SIGHUP of that process, 0 for the kernel, says that the terminal is gone.

        One that was left without a terminal, by `disown` for example, may be told to reload later.
        """
        is_told = sender is None or sender == 0 or sender in self._shells
        return self._had_terminal and is_told and not _has_terminal()


def _take() -> tuple[signal.Signals, int | None]:
    """Take the next signal, and the PID of its sender; None if the system does not tell."""
    if not hasattr(signal, "sigwaitinfo"):  # macOS
        return signal.Signals(signal.sigwait(HELD_SIGNALS)), None
    info = signal.sigwaitinfo(HELD_SIGNALS)
    return signal.Signals(info.si_signo), info.si_pid


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


class WorkerSignals:
    """Acts on signals in a worker, on its loop.

    `stop` is called once, for the first signal that means to stop, and not before `is_running()` is
    true, since Sanic cannot be stopped earlier. `others` are called for each of theirs. What is in
    neither is logged.

    A thread takes the signals, which stay blocked for the worker's life. Sanic's own set-up is
    replaced: it ignores both stop signals for a moment, which throws away one that waits, and its
    handlers end the loop in the middle of a drain when a second one comes.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        stop: Callable[[], None],
        is_running: Callable[[], bool],
        others: Mapping[signal.Signals, Callable[[], None]],
    ) -> None:
        self._loop = loop
        self._stop = stop
        self._is_running = is_running
        self._others = others
        runners._setup_system_signals = _mark_worker_process  # type: ignore[assignment]
        hold_signals()
        self._signals = SignalWaiter()
        threading.Thread(target=self._wait, name="signals", daemon=True).start()

    def _wait(self) -> None:
        is_stopping = False
        while True:
            received = self._signals.wait()
            if not received.stops:
                self._act(received.signal)
            elif not is_stopping:
                is_stopping = True
                self._call(self._stop_when_running)

    def _act(self, number: signal.Signals) -> None:
        action = self._others.get(number)
        if action is not None:
            self._call(action)
        else:
            self._signals.ignore(number, "it is for a main process with workers")

    def _call(self, action: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: it stops anyway
            self._loop.call_soon_threadsafe(action)

    def _stop_when_running(self) -> None:
        if self._is_running():
            self._stop()
        else:
            self._loop.call_later(POLL_SECONDS, self._stop_when_running)


def _mark_worker_process(*arguments: Any) -> None:
    """Do what `runners._setup_system_signals`, which this replaces, does besides."""
    os.environ["SANIC_WORKER_PROCESS"] = "true"
