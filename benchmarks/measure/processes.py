"""Reads what processes take, and says where they run. Linux only."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_CORES = sorted(os.sched_getaffinity(0))  # before anything is pinned
SERVER_CORE, LOAD_CORE = _CORES[0], _CORES[-1]

_CPU_CLOCK = 2
"""CPUCLOCK_SCHED of the kernel: the run time of a whole process, in nanoseconds."""


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system CPU time of these processes so far, all their threads included."""
    return sum(time.clock_gettime((~pid << 3) | _CPU_CLOCK) for pid in pids)


def resident_bytes(pids: Iterable[int]) -> int:
    """Resident memory of these processes."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE")


def core_seconds() -> float:
    """Time in which the two cores were not idle so far, or were taken by other virtual machines."""
    busy = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name in {f"cpu{SERVER_CORE}", f"cpu{LOAD_CORE}"}:
            user, nice, system, _idle, _waiting, irq, softirq, steal = map(int, ticks[:8])
            busy += user + nice + system + irq + softirq + steal
    return busy / os.sysconf("SC_CLK_TCK")


@contextmanager
def started_on(core: int) -> Iterator[None]:
    """Processes that are started in here run on that core only, with all threads they make."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def settle_on_load_core() -> None:
    """Keep this process on the load's core, with timers as exact as the kernel allows."""
    os.sched_setaffinity(0, {LOAD_CORE})
    with suppress(OSError):  # a container may forbid it
        Path("/proc/self/timerslack_ns").write_text("1")


def allow_descriptors(wanted: int) -> None:
    """Raise the limit of open files, which servers inherit; exits if that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        sys.exit(f"needs {wanted} file descriptors, and only {hard} are allowed: ulimit -n")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
