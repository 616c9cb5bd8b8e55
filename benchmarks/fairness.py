"""Does one huge room starve the rest? A pair talks, beside a room that gets a message at times.

    python -m benchmarks.fairness --members 5000 --interval 0.05

One worker. Of the pair, each answers what the other says, one message in flight; the latency of
these is measured with the huge room silent, and busy. The crowd is a process of its own, so that
the pair is not read late because thousands of others are; it shares the load's core, though.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing.synchronize import Event

from .check import check_member
from .client import Client
from .crowd import OPEN_SECONDS, CannotMeasure, open_room
from .loop import Loop
from .measure import SPARE_DESCRIPTORS, bench
from .processes import allow_descriptors, cpu_seconds
from .results import Faults, Latency
from .systems import SYSTEMS, Server

HUGE, PAIR = 0, 1
WARM_UP_SECONDS = 1.0
STOP_LOOK_SECONDS = 0.1


def measure(loop: Loop, server: Server, *, seconds: float) -> tuple[Latency | None, float]:
    """The pair's latency, and the worker's share of its core. Raises CannotMeasure."""
    pair = open_room(loop, server.ports[0], room=PAIR, count=2)
    for client in pair:
        client.prepare_to_send(64)
        client.sent = 1  # as if there had been a probe
        client.start_closed_loop(1, keep=True)
    loop.run(time.monotonic() + WARM_UP_SECONDS)
    began, spent = time.monotonic(), cpu_seconds(server.pids)
    loop.run(began + seconds)
    ended, spent = time.monotonic(), cpu_seconds(server.pids) - spent
    for client in pair:
        client.stop_sending()
    loop.run(time.monotonic() + 1.0)
    latencies: list[int] = []
    faults = Faults()

    def take(_: Client, sent: int, came: int) -> None:
        if began * 1e9 <= came < ended * 1e9:
            latencies.append(came - sent)

    for client in pair:
        check_member(client, {each.number: each for each in pair}, faults, take)
        client.close()
    if faults.total:
        raise CannotMeasure(str(faults))
    return Latency.of(latencies), spent / (ended - began)


@contextmanager
def huge_room(port: int, *, members: int, interval: float) -> Iterator[None]:
    """A process with all members of the huge room; one of them sends every `interval` seconds.

    0: none does. Raises CannotMeasure if it does not come up, or has lost somebody in the end.
    """
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Event(), context.Event()
    process = context.Process(target=_be_the_crowd, args=(port, members, interval, ready, stop))
    process.start()
    try:
        if not ready.wait(OPEN_SECONDS):
            raise CannotMeasure("the huge room is not full in time")
        yield
        stop.set()
        process.join(OPEN_SECONDS)
        if process.exitcode != 0:
            raise CannotMeasure("the huge room has lost members")
    finally:
        process.kill()
        process.join()


def _be_the_crowd(port: int, members: int, interval: float, ready: Event, stop: Event) -> None:
    allow_descriptors(members + SPARE_DESCRIPTORS)
    with closing(Loop()) as loop:
        crowd = open_room(loop, port, room=HUGE, count=members)
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
                server = Server(SYSTEMS[name], redis_url=the_bench.redis.url, workers=1)
                with closing(server):
                    server.wait_ready()
                    crowd = huge_room(server.ports[0], members=options.members, interval=interval)
                    try:
                        with crowd:
                            at, share = measure(the_bench.loop, server, seconds=options.seconds)
                    except CannotMeasure as reason:
                        print(f"{name}: {reason}", file=sys.stderr)
                        continue
                huge = f"{1 / interval:g} messages/s" if interval else "silent"
                figures = "none in time"
                if at is not None:
                    figures = f"{at.p50:.3g} / {at.p99:.3g} / {at.p999:.3g} / {at.max:.3g}"
                print(
                    f"| {SYSTEMS[name].title} | {huge} | {figures} | {at.count if at else 0} "
                    f"| {share:.0%} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
