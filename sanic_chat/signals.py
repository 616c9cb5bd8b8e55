"""SIGINT and SIGTERM, so that each process of the server stops once and nothing is lost.

Both signals are blocked from before the first child process is made until a worker can act on
them: children inherit the mask, so a signal that comes while a worker is starting waits for it
instead of being lost or ending it with a traceback (sanic#2997, #2986). The main process never
handles them in a signal handler, where Sanic would re-enter its multiprocessing proxies; a
thread takes them instead (see `supervisor`).
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import resource_tracker

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
POLL_SECONDS = 0.02


def hold_stop_signals() -> None:
    """Let SIGINT and SIGTERM wait, in this thread and in all processes it makes from now on."""
    if threading.current_thread() is threading.main_thread():
        # It unblocks both signals when it starts its process, so that has to come first.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


class StopSignals:
    """In a worker: calls `stop` on the loop for the first SIGINT or SIGTERM, and only for that.

    A thread takes the signals, from as early on as a listener can start it: Sanic ignores both for
    a moment while it starts, which throws away one that waits, and its own handlers end the loop
    in the middle of a drain when a second one comes. They stay blocked for the worker's life.
    `stop` is called when `is_running` says that the server runs, since Sanic cannot be stopped
    earlier.
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
