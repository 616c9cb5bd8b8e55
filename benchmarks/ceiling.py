"""The load's own ceiling: what it can receive from a program that does nothing but write.

    python -m benchmarks.ceiling

The writer (`peers/send_price.py --firehose N`) has the server's core for itself, and writes N
messages at a time to each of 100 members, as fast as their sockets take them.
"""

from __future__ import annotations

import argparse
import time
from contextlib import closing
from dataclasses import dataclass

from .crowd import open_rooms
from .measure import bench
from .meter import Meter
from .systems import SEND_PRICE, Server

MEMBERS = 100
MESSAGES_PER_WRITE = (1, 10, 100)


@dataclass
class Ceiling:
    """What was received, and what that took."""

    per_write: int
    keeps: bool
    rate: float
    load_us: float
    """CPU of the load per delivery."""
    load_cpu: float
    writer_cpu: float


def measure(per_write: int, *, keeps: bool, seconds: float) -> Ceiling:
    """Receive that many messages per write, only counting them or keeping all."""
    with bench() as the_bench:
        loop = the_bench.loop
        server = Server(
            SEND_PRICE,
            redis_url=the_bench.redis.url,
            workers=1,
            options=("--firehose", str(per_write)),
        )
        with closing(server):
            server.wait_ready()
            clients = open_rooms(loop, server, rooms=1, members=MEMBERS)
            starter = clients[0]
            starter.prepare_to_send(64)
            starter.send(time.monotonic_ns())
            loop.run(time.monotonic() + 10, done=lambda: bool(starter.frame_bytes))
            for client in clients:
                client.keep() if keeps else client.count()
            loop.run(time.monotonic() + 0.3)
            meter, before = Meter(server, the_bench.redis), sum(c.received for c in clients)
            loop.run(time.monotonic() + seconds)
            meter.stop()
            received = (sum(c.received for c in clients) - before) // starter.frame_bytes
            figures = meter.figures(received)
            for client in clients:
                client.close()
            return Ceiling(
                per_write,
                keeps,
                received / figures["seconds"],
                figures["load_cpu"] * figures["seconds"] / received * 1e6,
                figures["load_cpu"],
                figures["server_cpu"],
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    print("| messages per write | member | deliveries/s | load µs each | load / writer CPU |")
    print("|--:|---|--:|--:|--:|")
    for keeps in (False, True):
        for per_write in MESSAGES_PER_WRITE:
            at = measure(per_write, keeps=keeps, seconds=options.seconds)
            print(
                f"| {per_write} | {'keeps' if keeps else 'counts'} | {at.rate:,.0f} "
                f"| {at.load_us:.3f} | {at.load_cpu:.0%} / {at.writer_cpu:.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
