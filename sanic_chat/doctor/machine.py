"""Checks of this machine: what the kernel and the settings allow a server here.

    Machine (settings, workers) ─→ AT_START (cheap) ─→ warnings when a server starts
                                └→ CHECKS (all of them)

May live here: limits of processes, the kernel, cores, the event loop. Must not use the network.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ..config.readers import NotAllowed, switch
from ..config.settings import Config
from ..process.descriptors import USUAL_CLIENTS, needed_limit, raise_limit
from .findings import Check, Finding, Status, Unanswerable, judge

SOMAXCONN = Path("/proc/sys/net/core/somaxconn")
CGROUPS = Path("/sys/fs/cgroup")

LAG_LIMIT_MS = 50
LAG_TIMERS = 40
LAG_TIMER_SECONDS = 0.005


class Machine(NamedTuple):
    """A machine that servers run on, or are to run on."""

    config: Config
    workers: int | None = None
    """The workers here; None if nobody knows."""
    pids: Sequence[int] = ()
    """The workers' process IDs, as far as they are known."""


class Settings(NamedTuple):
    """The environment, as it was read."""

    error: str
    """The reason why no server starts with it; empty if one does."""
    doubts: Sequence[str]


def settings(found: Settings) -> Finding:
    """Whether a server would start, and whether a name in the environment is misspelt."""
    limit = "settings that a server starts with, and no name that is none"
    if found.error:
        return Finding(Status.FAILURE, found.error, limit, "sanic-chat config")
    told = "; ".join(found.doubts)
    return judge(not told, told or "in order", limit, "sanic-chat config")


def descriptors(machine: Machine) -> Finding:
    """The open files that a worker may have, beside what its clients need."""
    limits = [limit for pid in machine.pids if (limit := limit_of_process(pid)) is not None]
    limit = min(limits) if limits else raise_limit()  # as a server does when it starts
    clients = machine.config.max_connections
    needed = needed_limit(clients or USUAL_CLIENTS)
    return judge(
        limit >= needed,
        f"a worker may open {limit} files (`ulimit -n`), which is enough for about "
        f"{max(0, limit - needed_limit(0))} clients",
        f"{needed}, for "
        + (f"CHAT_MAX_CONNECTIONS={clients}" if clients else f"{USUAL_CLIENTS} clients"),
        f"LimitNOFILE={needed} in systemd, --ulimit nofile={needed} in Docker",
    )


def limit_of_process(pid: int) -> int | None:
    """The open files that a process may have; None if it cannot be read."""
    try:
        text = Path(f"/proc/{pid}/limits").read_text()
    except OSError:
        return None
    found = re.search(r"^Max open files\s+(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else None


def running(pids: Sequence[int]) -> Sequence[int]:
    """Those of these processes that run; all if none is seen, as in another PID namespace."""
    found = []
    for pid in pids:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue
        except OSError:  # another user's
            pass
        found.append(pid)
    return found or pids


def backlog(machine: Machine) -> Finding:
    """The kernel's bound of the queue in front of accept(), beside CHAT_BACKLOG."""
    try:
        bound = int(SOMAXCONN.read_text())
    except (OSError, ValueError):
        raise Unanswerable(f"{SOMAXCONN} cannot be read") from None
    wanted = machine.config.backlog
    return judge(
        bound >= wanted,
        f"net.core.somaxconn is {bound}",
        f"{wanted}, as CHAT_BACKLOG says",
        f"sysctl -w net.core.somaxconn={wanted}",
    )


def cores(machine: Machine) -> Finding:
    """The workers of this machine, beside the cores that they may use."""
    if machine.workers is None:
        raise Unanswerable("no server on this machine reports")
    usable = usable_cores()
    return judge(
        machine.workers <= max(1, usable),
        f"{_many(machine.workers, 'worker')} on {_many(usable, 'core')}",
        "a core for each worker",
        f"sanic-chat serve --workers {max(1, usable)}",
    )


def usable_cores() -> int:
    """The cores that this process may use: those it is bound to, and as many as its cgroups pay."""
    if hasattr(os, "sched_getaffinity"):
        bound = len(os.sched_getaffinity(0))
    else:  # macOS
        bound = os.cpu_count() or 1
    return min([bound, *(math.ceil(quota) for quota in _quotas())])


def _quotas() -> Iterator[float]:
    """The CPUs' time that each cgroup around this process gets a second (cgroup v2)."""
    try:
        own = Path("/proc/self/cgroup").read_text()
        found = re.search(r"^0::(/.*)$", own, re.MULTILINE)
        place = CGROUPS / found[1].strip("/") if found else CGROUPS
        for folder in (place, *place.parents):
            if not folder.is_relative_to(CGROUPS):
                break
            file = folder / "cpu.max"
            if file.exists():
                quota, period = file.read_text().split()
                if quota != "max":
                    yield int(quota) / int(period)
    except (OSError, ValueError):
        return


def event_loop(_: Machine) -> Finding:
    """Whether a server that starts in this environment uses uvloop."""
    text = os.environ.get("SANIC_USE_UVLOOP", "true")
    try:
        is_wanted = switch(text)
    except NotAllowed:
        is_wanted = True
    if not is_wanted:
        return Finding(
            Status.WARNING,
            f"asyncio's own event loop, as SANIC_USE_UVLOOP={text} says",
            "uvloop",
            "unset SANIC_USE_UVLOOP",
        )
    is_there = find_spec("uvloop") is not None
    return judge(
        is_there,
        "uvloop" if is_there else "asyncio's own event loop: uvloop is not installed",
        "uvloop",
        "pip install uvloop",
    )


async def loop_lag(_: Machine) -> Finding:
    """The lateness of timers on this machine, now: nine of ten are earlier."""
    late: list[float] = []
    for _number in range(LAG_TIMERS):
        due = time.monotonic() + LAG_TIMER_SECONDS
        await asyncio.sleep(LAG_TIMER_SECONDS)
        late.append(time.monotonic() - due)
    lag_ms = sorted(late)[LAG_TIMERS * 9 // 10] * 1000
    return judge(
        lag_ms <= LAG_LIMIT_MS,
        f"a timer comes {lag_ms:.1f} ms late",
        f"{LAG_LIMIT_MS} ms",
        "top -o %CPU",
    )


def _many(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' if number != 1 else ''}"


DESCRIPTORS = Check(
    "descriptors",
    "who comes when none are left gets 503",
    descriptors,
)
BACKLOG = Check(
    "backlog",
    "connections beyond it are dropped when many come at once, and tried again by their clients "
    "after a second or more",
    backlog,
)
CORES = Check(
    "cores",
    "workers take turns on a core, and everybody waits for them",
    cores,
)
AT_START = (DESCRIPTORS, BACKLOG, CORES)
"""Those that cost nothing: their warnings are logged when a server starts."""

CHECKS = (
    *AT_START,
    Check("event_loop", "each message costs more CPU time", event_loop),
    Check(
        "loop_lag",
        "everything that a worker does is as late: messages, pings, proofs",
        loop_lag,
    ),
)
SETTINGS = Check(
    "settings",
    "a server does not start, or runs otherwise than it was meant to",
    settings,
)


def warnings_at_start(config: Config, workers: int) -> list[str]:
    """Return a sentence for each of the cheap checks that is not well."""
    machine = Machine(config, workers)
    return [text for check in AT_START if (text := check.sentence(machine)) is not None]
