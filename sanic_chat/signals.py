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
from multiprocessing import resource_tracker

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def hold_stop_signals() -> None:
    """Let SIGINT and SIGTERM wait, in this thread and in all processes it makes from now on."""
    if threading.current_thread() is threading.main_thread():
        # It unblocks both signals when it starts its process, so that has to come first.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def stop_once_on_signal(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    """Call `stop` on the first SIGINT or SIGTERM, and ignore all later ones.

    A signal that waited because of `hold_stop_signals` counts. Takes the place of Sanic's own
    handlers, which end the loop in the middle of a drain when a second signal comes.
    """
    if threading.current_thread() is not threading.main_thread():
        return

    def stop_once() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        stop()

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop_once)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
