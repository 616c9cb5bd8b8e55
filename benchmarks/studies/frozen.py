"""What do clients that stop reading cost the others, and the worker's memory?

    python -m benchmarks.studies.frozen --frozen 1,100 --rate 5e6

One worker, and a room in which one of a few members says so many bytes a second. The latency of
these is measured without and with frozen clients in the room: their process is stopped, so that the
kernel takes what it has place for, which is measured by itself, and the rest is the server's.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing.synchronize import Event

from ..load.check import Faults, check_member
from ..load.client import Client
from ..load.crowd import OPEN_SECONDS, CannotMeasure, open_room
from ..load.loop import Loop
from ..measure.processes import allow_descriptors, cpu_seconds, resident_bytes
from ..measure.rounds import SPARE_DESCRIPTORS, bench
from ..measure.servers import Server
from ..results.result import Latency
from ..systems import SYSTEMS
from .apart import apart

ROOM = 0
PAYLOAD_BYTES = 16_000
WARM_UP_SECONDS = 1.0
FILL_SECONDS = 2.5
"""In which the kernel's buffers for the frozen clients become full, at the default rate."""

LOOK_SECONDS = 0.02


class Talk:
    """One member talks at a fixed rate, and all are listened to."""

    def __init__(self, loop: Loop, server: Server, *, members: int, rate: float) -> None:
        self.most_memory = 0
        self._loop = loop
        self._server = server
        self._members = open_room(loop, server.ports[0], room=ROOM, count=members)
        self._interval = PAYLOAD_BYTES / rate
        sender = self._members[0]
        sender.prepare_to_send(PAYLOAD_BYTES)
        for member in self._members:
            member.keep()

    def go_on(self, seconds: float) -> None:
        """Talk for so long, and look at the worker's memory meanwhile."""
        sender, loop = self._members[0], self._loop
        due = time.monotonic()
        until, look = due + seconds, due
        while due < until:
            sender.send(int(due * 1e9))
            due += self._interval
            loop.run(due)
            if time.monotonic() > look:
                self.most_memory = max(self.most_memory, resident_bytes(self._server.pids))
                look += LOOK_SECONDS

    def end(self, since: float) -> tuple[Latency | None, Latency | None]:
        """Check that nothing was lost; the latency of what was sent since that `monotonic()`.

        While the kernel's buffers fill, and afterwards.
        """
        self._loop.run(time.monotonic() + 2.0)
        faults = Faults()
        filling: list[int] = []
        full: list[int] = []

        def take(_: Client, sent: int, came: int) -> None:
            if sent >= since * 1e9:
                into = full if sent >= (since + FILL_SECONDS) * 1e9 else filling
                into.append(came - sent)

        for member in self._members:
            check_member(member, {0: self._members[0]}, faults, take)
            member.close()
        if faults.total:
            raise CannotMeasure(str(faults))
        return Latency.of(filling), Latency.of(full)


@contextmanager
def frozen_clients(port: int, count: int) -> Iterator[None]:
    """A stopped process with so many clients of the room. Raises CannotMeasure."""
    with apart(_connect_and_wait, port, count) as process:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)
        yield


def _connect_and_wait(port: int, count: int, ready: Event) -> None:
    allow_descriptors(count + SPARE_DESCRIPTORS)
    with closing(Loop()) as loop:
        open_room(loop, port, room=ROOM, count=count)
        ready.set()
        time.sleep(OPEN_SECONDS)


def measure(loop: Loop, server: Server, options: argparse.Namespace, frozen: int) -> str:
    """A line of the table. Raises CannotMeasure."""
    talk = Talk(loop, server, members=options.members, rate=options.rate)
    talk.go_on(WARM_UP_SECONDS)
    with frozen_clients(server.ports[0], frozen):
        talk.most_memory = before = resident_bytes(server.pids)
        began, spent = time.monotonic(), cpu_seconds(server.pids)
        talk.go_on(FILL_SECONDS + options.seconds)
        share = (cpu_seconds(server.pids) - spent) / (time.monotonic() - began)
        dropped = server.dropped()
        latencies = talk.end(began)
    columns = [f"{at.p50:.3g} / {at.p99:.3g} / {at.max:.3g}" for at in latencies if at is not None]
    grown = (talk.most_memory - before) / 2**20
    return f"| {' | '.join(columns)} | {grown:.1f} | {dropped} | {share:.0%} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--frozen", default="1,100", help="how many clients are frozen, with commas"
    )
    parser.add_argument("--rate", type=float, default=5e6, help="bytes said a second")
    parser.add_argument("--members", type=int, default=5, help="that read, the sender included")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--policies", default="disconnect,drop_oldest")
    options = parser.parse_args()
    print("| policy | frozen | p50 / p99 / max ms | afterwards | memory + MiB | dropped | CPU |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    with bench() as the_bench:
        for policy in options.policies.split(","):
            for frozen in (0, *map(int, options.frozen.split(","))):
                settings = {"CHAT_SLOW_CONSUMER": policy}
                with the_bench.server(SYSTEMS["sanic_chat"], settings=settings) as server:
                    try:
                        line = measure(the_bench.loop, server, options, frozen)
                    except CannotMeasure as reason:
                        print(f"{policy}, {frozen} frozen: {reason}", file=sys.stderr)
                        continue
                print(f"| {policy} | {frozen} {line}", flush=True)


if __name__ == "__main__":
    main()
