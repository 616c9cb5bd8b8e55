"""The use that this process makes of the machine: CPU, memory, file descriptors.

May live here: what the system tells of one process. Must not know who asks, nor what it does.
"""

from __future__ import annotations

import os
import resource
import time
from contextlib import suppress
from typing import NamedTuple

LOOK_SECONDS = 5.0
"""The interval at which open descriptors are counted, where that means to list them."""

_NUMBER = "/proc/self/fd"
_DIRECTORIES = (_NUMBER, "/dev/fd")
_MEMORY = "/proc/self/statm"
_PAGE_BYTES = resource.getpagesize()


class Usage(NamedTuple):
    """The use of one process. None: this system does not tell."""

    pid: int
    started_at: float
    """Seconds since 1970, about."""
    cpu_seconds: float
    """User and system time together."""
    resident_bytes: int | None
    open_descriptors: int | None
    max_descriptors: int | None
    """The soft limit; None if there is none."""


class UsageReader:
    """Reads the use of this process. Made soon after the process began."""

    def __init__(self) -> None:
        self._started_at = time.time()
        self._open: int | None = None
        self._looked_at = float("-inf")

    def read(self) -> Usage:
        """Return the use up to now. The number of open descriptors may be 5 s old."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = resource.getrusage(resource.RUSAGE_SELF)
        return Usage(
            pid=os.getpid(),
            started_at=self._started_at,
            cpu_seconds=used.ru_utime + used.ru_stime,
            resident_bytes=_resident_bytes(),
            open_descriptors=self._open_descriptors(),
            max_descriptors=None if soft == resource.RLIM_INFINITY else soft,
        )

    def _open_descriptors(self) -> int | None:
        with suppress(OSError):  # Linux from 6.2 on has their number at hand
            if number := os.stat(_NUMBER).st_size:
                return number
        now = time.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._open = _count_descriptors()
        return self._open


def _count_descriptors() -> int | None:
    for directory in _DIRECTORIES:
        with suppress(OSError):
            return len(os.listdir(directory)) - 1  # which is itself one of them
    return None


def _resident_bytes() -> int | None:
    try:
        with open(_MEMORY, "rb") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES
    except OSError:
        return None
