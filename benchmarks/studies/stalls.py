"""How often the machine keeps a program that never sleeps from running, and for how long.

    python -m benchmarks.studies.stalls

A hypervisor that serves others, or the kernel itself, does that to every server alike, and what
comes meanwhile waits. While a core stands still for T ms, a server that needs the share u of it
gathers work for another T * u / (1 - u) ms: latencies of that length say nothing about the server.
"""

from __future__ import annotations

import argparse
import gc
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context

from ..measure.processes import LOAD_CORE, SERVER_CORE, started_on

SHORTEST_NS = 200_000
"""An interrupt is no stall."""


def stalls_of(seconds: float) -> list[int]:
    """Nanoseconds of each stall of this process in so many seconds."""
    gc.disable()
    stalls = []
    now = time.monotonic_ns()
    end = now + int(seconds * 1e9)
    while now < end:
        before, now = now, time.monotonic_ns()
        if now - before > SHORTEST_NS:
            stalls.append(now - before)
    return stalls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    print("| core of the | stood still | stalls over 0.2 / 1 / 5 ms a second | longest, ms |")
    print("|---|--:|--:|--:|")
    with ExitStack() as pools:
        running = {}
        for name, core in (("server", SERVER_CORE), ("load", LOAD_CORE)):
            with started_on(core):
                pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
                running[name] = pools.enter_context(pool).submit(stalls_of, options.seconds)
        for name, result in running.items():
            print(_row(name, result.result(), options.seconds), flush=True)


def _row(name: str, stalls: list[int], seconds: float) -> str:
    counts = (
        f"{sum(1 for stall in stalls if stall > limit) / seconds:.1f}"
        for limit in (SHORTEST_NS, 1_000_000, 5_000_000)
    )
    share, longest = sum(stalls) / seconds / 1e9, max(stalls, default=0) / 1e6
    return f"| {name} | {share:.2%} | {' / '.join(counts)} | {longest:.1f} |"


if __name__ == "__main__":
    main()
