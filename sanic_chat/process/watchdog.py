"""The watchdog: it finds workers whose event loops stand still.

    worker: WatchdogPulse ─→ its PID, ten times a timeout ─→ pipe ─→ main process: Watchdog.look

A worker that hangs, because its event loop is blocked or its process was stopped, keeps its clients
and takes new ones, and answers none of them.

May live here: signs of life, and how long one may be missing. Must not know what becomes of a
silent worker: that is the supervisor's.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Collection
from contextlib import suppress
from multiprocessing.connection import Connection

LOOKS = 10
"""The looks within the timeout. A hang is found after 10/10 to 12/10 of it, never before."""

START_SECONDS = 30.0
"""The time that a worker has until its first sign of life, as Sanic gives the first workers."""

_PID_BYTES = 4
_READ_BYTES = 64 * 1024


class WatchdogPulse:
    """Writes a worker's PID into the pipe ten times in `timeout` seconds; 0: only once."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, pipe: Connection, *, timeout: float
    ) -> None:
        self._loop = loop
        self._pipe = pipe
        self._interval = timeout / LOOKS
        self._sign = os.getpid().to_bytes(_PID_BYTES, "big")

    def start(self) -> None:
        """Begin. It goes on for as long as the loop turns."""
        self._beat()

    def _beat(self) -> None:
        if self._interval:
            self._loop.call_later(self._interval, self._beat)
        with suppress(OSError):  # full: the main process stands still; broken: it is gone
            os.write(self._pipe.fileno(), self._sign)


class Watchdog:
    """Finds, in the main process, the workers that are silent for `timeout` seconds; 0: none.

    Looks are counted and no clock is read. So time in which this process stood still too, with the
    machine or with its group, does not count against the workers.
    """

    def __init__(self, *, timeout: float) -> None:
        self._reader, self.pipe = multiprocessing.Pipe(duplex=False)
        # For `WatchdogPulse`, in the workers: they share its flags.
        for end in (self._reader, self.pipe):
            os.set_blocking(end.fileno(), False)
        self.timeout = timeout
        self.interval = timeout / LOOKS or START_SECONDS
        """The seconds between two calls of `look`."""
        self._start_looks = max(LOOKS, round(START_SECONDS / self.interval))
        self._missed: dict[int, int] = {}
        self._heard: set[int] = set()
        self._started: set[int] = set()
        self._remembered: set[int] = set()

    def has_started(self, pid: int) -> bool:
        """Whether a worker has ever been ready. It may have ended since the last `look` but one."""
        self._hear()
        return pid in self._started

    def look(self, living: Collection[int]) -> list[int]:
        """Return the PIDs, of those of the `living` workers, that have been silent for too long.

        A worker without a first sign of life is starting, and has 30 s for that. A PID that was
        returned counts as new.
        """
        self._hear()
        heard, self._heard = self._heard, set()
        # Who ends just before this look is asked about after it.
        self._started &= self._remembered | (now := set(living)) | heard
        self._remembered = now
        if not self.timeout:
            return []
        self._missed = {pid: 0 if pid in heard else self._missed.get(pid, 0) + 1 for pid in living}
        silent = [pid for pid, missed in self._missed.items() if missed > self._allowed(pid)]
        for pid in silent:
            self._missed[pid] = 0
        return silent

    def _allowed(self, pid: int) -> int:
        return LOOKS if pid in self._started else self._start_looks

    def _hear(self) -> None:
        """Read the pipe, and note the signs of life."""
        signs = b""
        with suppress(BlockingIOError):
            while part := os.read(self._reader.fileno(), _READ_BYTES):
                signs += part
        pids = {
            int.from_bytes(signs[start : start + _PID_BYTES], "big")
            for start in range(0, len(signs), _PID_BYTES)
        }
        self._heard |= pids
        self._started |= pids
