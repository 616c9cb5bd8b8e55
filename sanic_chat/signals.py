"""SIGINT and SIGTERM, so that each process of the server stops once and nothing is lost.

Both signals are blocked from before the first child process is made until a worker can act on
them: children inherit the mask, so a signal that comes while a worker is starting waits for it
instead of being lost or ending it with a traceback (sanic#2997, #2986). The main process never
handles them in a signal handler, where Sanic would re-enter its multiprocessing proxies; a
thread takes them instead (see `supervisor`).

What it touches of Sanic's inside: `sanic.server.runners._setup_system_signals`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import resource_tracker
from typing import Any

from sanic.server import runners

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
POLL_SECONDS = 0.02


def hold_stop_signals() -> None:
    """Let SIGINT and SIGTERM wait, in this thread and in all processes it makes from now on."""
    if threading.current_thread() is not threading.main_thread():
        return
    arrived: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: arrived.append(number))
        for number in STOP_SIGNALS
    }
    # It unblocks both signals when it starts its process, so that has to come first.
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    for stop_signal, handler in before.items():
        signal.signal(stop_signal, handler)
    for number in arrived:
        os.kill(os.getpid(), number)  # now it waits, for whichever thread takes it


class StopSignals:
    """In a worker: calls `stop` on the loop for the first SIGINT or SIGTERM, and only for that.

    A thread takes the signals, which stay blocked for the worker's life. Sanic's own set-up is
    put out of action: it ignores both for a moment, which throws away one that waits, and its
    handlers end the loop in the middle of a drain when a second one comes. `stop` is called when
    `is_running` says that the server runs, since Sanic cannot be stopped earlier.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        stop: Callable[[], None],
        is_running: Callable[[], bool],
    ) -> None:
        self._loop = loop
        self._stop = stop
        self._is_running = is_running
        runners._setup_system_signals = _mark_worker_process  # type: ignore[assignment]
        hold_stop_signals()
        threading.Thread(target=self._wait, name="stop-signals", daemon=True).start()

    def _wait(self) -> None:
        signal.sigwait(STOP_SIGNALS)
        with suppress(RuntimeError):  # the loop is closed: it stops anyway
            self._loop.call_soon_threadsafe(self._stop_when_running)
        while True:
            signal.sigwait(STOP_SIGNALS)

    def _stop_when_running(self) -> None:
        if self._is_running():
            self._stop()
        else:
            self._loop.call_later(POLL_SECONDS, self._stop_when_running)


def _mark_worker_process(*arguments: Any) -> None:
    """In place of `runners._setup_system_signals`: what else that does."""
    os.environ["SANIC_WORKER_PROCESS"] = "true"
