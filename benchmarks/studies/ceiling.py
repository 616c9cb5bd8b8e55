"""The load's own ceiling: what it can receive from a program that does nothing but write.

    python -m benchmarks.studies.ceiling

The writer (`peers/send_price.py --firehose N`) has the server's core for itself, and writes N
messages at a time to each of 100 members, as fast as their sockets take them.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

from ..load.crowd import open_rooms
from ..measure.meter import meter_deliveries
from ..measure.rounds import bench
from ..systems import SEND_PRICE

MEMBERS = 100
MESSAGES_PER_WRITE = (1, 10, 100)


@dataclass
class Ceiling:
    """The rate at which was received, and its price."""

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
        with the_bench.server(SEND_PRICE, options=("--firehose", str(per_write))) as server:
            clients = open_rooms(loop, server, rooms=1, members=MEMBERS)
            starter = clients[0]
            starter.prepare_to_send(64)
            starter.probe()
            loop.run(time.monotonic() + 10, done=lambda: bool(starter.frame_bytes))
            for client in clients:
                client.keep() if keeps else client.count()
            loop.run(time.monotonic() + 0.3)
            _, figures = meter_deliveries(
                loop, server, the_bench.redis, clients, starter.frame_bytes, seconds
            )
            for client in clients:
                client.close()
            return Ceiling(
                per_write,
                keeps,
                figures["events"] / figures["seconds"],
                figures["load_cpu"] * figures["seconds"] / figures["events"] * 1e6,
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
