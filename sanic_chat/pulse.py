"""Signs of life of the workers' event loops, and the notice of one that stands still.

A worker that dies is noticed by its end. One that hangs, because something blocks its event loop or
the process was stopped, keeps its clients and takes new ones, and answers none of them. So each
worker writes its PID into a pipe ten times per timeout, and the main process looks as often.

Must not know what becomes of a worker that is silent: that is the supervisor's business.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Collection
from contextlib import suppress
from multiprocessing.connection import Connection

LOOKS = 10
"""Looks within the timeout: a hang is noticed between 10/10 and 12/10 of it, never before."""

START_SECONDS = 30.0
"""How long a worker may take to its first sign of life: what Sanic gives to the first ones."""

_PID_BYTES = 4
_READ_BYTES = 64 * 1024


class Pulse:
    """In a worker: says ten times per `timeout` seconds that its event loop turns."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, pipe: Connection, *, timeout: float
    ) -> None:
        self._loop = loop
        self._pipe = pipe
        self._interval = timeout / LOOKS
        self._sign = os.getpid().to_bytes(_PID_BYTES, "big")

    def start(self) -> None:
        """Begin; it goes on for as long as the loop turns."""
        self._beat()

    def _beat(self) -> None:
        self._loop.call_later(self._interval, self._beat)
        with suppress(OSError):  # full: the main process stands still; broken: it is gone
            os.write(self._pipe.fileno(), self._sign)


class PulseWatch:
    """In the main process: which workers have been silent for `timeout` seconds.

    Looks are counted and no clock is read, so time in which this process stood still as well, with
    the machine or with its group, does not count against the workers.
    """

    def __init__(self, *, timeout: float) -> None:
        self._reader, self.pipe = multiprocessing.Pipe(duplex=False)
        # For `Pulse`, in the workers: they share its flags.
        for end in (self._reader, self.pipe):
            os.set_blocking(end.fileno(), False)
        self.timeout = timeout
        self.interval = timeout / LOOKS
        """Seconds between two calls of `look`."""
        self._start_looks = max(LOOKS, round(START_SECONDS / self.interval))
        self._missed: dict[int, int] = {}
        self._started: set[int] = set()

    def look(self, living: Collection[int]) -> list[int]:
        """The PIDs, among those of the `living` workers, that have been silent for too long.

        Who has not shown a sign of life yet is starting, and has 30 s for that. A PID that was
        returned is as good as new.
        """
        heard = self._hear()
        self._started = (self._started | heard).intersection(living)
        self._missed = {pid: 0 if pid in heard else self._missed.get(pid, 0) + 1 for pid in living}
        silent = [pid for pid, missed in self._missed.items() if missed > self._allowed(pid)]
        for pid in silent:
            self._missed[pid] = 0
        return silent

    def _allowed(self, pid: int) -> int:
        return LOOKS if pid in self._started else self._start_looks

    def _hear(self) -> set[int]:
        """Who has shown a sign of life since the last call."""
        signs = b""
        with suppress(BlockingIOError):
            while part := os.read(self._reader.fileno(), _READ_BYTES):
                signs += part
        return {
            int.from_bytes(signs[start : start + _PID_BYTES], "big")
            for start in range(0, len(signs), _PID_BYTES)
        }
