"""Does one huge room starve the rest? A pair talks, beside a room that gets a message at times.

    python -m benchmarks.studies.fairness --members 5000 --interval 0.05

One worker. Of the pair, each answers what the other says, one message in flight; the latency of
these is measured with the huge room silent, and busy. The crowd is a process of its own, so that
the pair is not read late because thousands of others are; it shares the load's core, though.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing.synchronize import Event

from ..load.crowd import OPEN_SECONDS, CannotMeasure, open_room
from ..load.loop import Loop
from ..measure.fanout import FanoutRound
from ..measure.processes import allow_descriptors
from ..measure.rounds import SPARE_DESCRIPTORS, Bench, bench
from ..measure.servers import Server
from ..results.result import Result
from ..scenarios import Fanout
from ..systems import SYSTEMS
from .apart import SPAWN, apart

PAIR = Fanout("fairness", "a pair that talks", rooms=1, members=2, senders=2, checked=2)
HUGE_ROOM = 1
"""The pair's is 0."""

STOP_LOOK_SECONDS = 0.1


def measure(the_bench: Bench, server: Server, *, seconds: float) -> Result:
    """Measure the pair. Raises CannotMeasure, also if it lost a message."""
    result = FanoutRound(PAIR, server, the_bench.loop).measure(the_bench.redis, seconds)
    if result.faults.total:
        raise CannotMeasure(str(result.faults))
    return result


@contextmanager
def huge_room(port: int, *, members: int, interval: float) -> Iterator[None]:
    """A process with all members of the huge room; one of them sends every `interval` seconds.

    0: none does. Raises CannotMeasure if it does not come up, or has lost somebody in the end.
    """
    stop = SPAWN.Event()
    with apart(_be_the_crowd, port, members, interval, stop) as process:
        yield
        stop.set()
        process.join(OPEN_SECONDS)
        if process.exitcode != 0:
            raise CannotMeasure("the huge room has lost members")


def _be_the_crowd(port: int, members: int, interval: float, stop: Event, ready: Event) -> None:
    allow_descriptors(members + SPARE_DESCRIPTORS)
    with closing(Loop()) as loop:
        crowd = open_room(loop, port, room=HUGE_ROOM, count=members)
        for client in crowd:
            client.count()
        crowd[0].prepare_to_send(64)
        ready.set()
        due = time.monotonic()
        while not stop.is_set():
            if interval:
                crowd[0].send(int(due * 1e9))
            due += interval or STOP_LOOK_SECONDS
            loop.run(due)
        lost = sum(bool(client.failure) for client in crowd)
    sys.exit(1 if lost else 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--members", type=int, default=5000, help="of the huge room")
    parser.add_argument("--interval", type=float, default=0.05, help="seconds between its messages")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--systems", default="sanic_chat,stock_sanic")
    options = parser.parse_args()
    print("| | huge room | p50 / p99 / p99.9 / max ms | messages of the pair | server CPU |")
    print("|---|---|--:|--:|--:|")
    with bench() as the_bench:
        for name in options.systems.split(","):
            for interval in (0.0, options.interval):
                with the_bench.server(SYSTEMS[name]) as server:
                    crowd = huge_room(server.ports[0], members=options.members, interval=interval)
                    try:
                        with crowd:
                            result = measure(the_bench, server, seconds=options.seconds)
                    except CannotMeasure as reason:
                        print(f"{name}: {reason}", file=sys.stderr)
                        continue
                at = result.latency
                huge = f"{1 / interval:g} messages/s" if interval else "silent"
                figures = "none in time"
                if at is not None:
                    figures = f"{at.p50:.3g} / {at.p99:.3g} / {at.p999:.3g} / {at.max:.3g}"
                print(
                    f"| {SYSTEMS[name].title} | {huge} | {figures} | {at.count if at else 0} "
                    f"| {result.server_cpu:.0%} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
