"""What does a message cost that comes by `POST /publish`, beside 20 000 deliveries/s?

    python -m benchmarks.studies.api --connections 1,4,16

One worker. A backend in a process of its own publishes single messages, each when the one before
is answered, over so many connections that it keeps; nobody is in their room, so that they cost
what the way in costs. The cost of one is what the server takes more with them than without.
"""

from __future__ import annotations

import argparse
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from select import EPOLLIN
from typing import NamedTuple
from uuid import uuid4

from ..load.crowd import CannotMeasure
from ..load.loop import Loop
from ..measure.fanout import FanoutRound
from ..measure.processes import cpu_seconds, settle_on_load_core
from ..measure.rounds import Bench, bench
from ..measure.servers import Server
from ..results.result import Latency, Result
from ..scenarios import Fanout
from ..systems import SYSTEMS
from .apart import SPAWN, apart

DELIVERIES = Fanout(
    "api", "400 messages/s to 20 rooms of 50", rooms=20, members=50, senders=1, checked=20, rate=400
)
SECRET = "a-key-of-the-benchmark-0123456789"
SETTINGS = {"CHAT_API_KEYS": f"backend:publish:{SECRET}", "CHAT_OPEN": "stats"}
HEAD = (
    f"POST /api/chat-api/publish HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {SECRET}\r\n"
)
ANSWER_SECONDS = 5.0
LOOK_SECONDS = 0.1


class Poster:
    """A connection over which one message after the other is published."""

    def __init__(self, loop: Loop, port: int, make_body: Callable[[], str]) -> None:
        self.nanoseconds: list[int] = []
        """The time that each took to be answered."""
        self._make_body = make_body
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop.watch(self._socket.fileno(), EPOLLIN, self._answered)

    def send(self) -> None:
        """Publish a message."""
        body = self._make_body()
        self._sent_ns = time.monotonic_ns()
        self._socket.sendall(f"{HEAD}Content-Length: {len(body)}\r\n\r\n{body}".encode())

    def _answered(self) -> None:
        answer = self._socket.recv(65536)
        if not answer.startswith(b"HTTP/1.1 200") or not answer.endswith(b"}"):
            raise CannotMeasure(f"a message was answered with {answer!r:.300}")
        self.nanoseconds.append(time.monotonic_ns() - self._sent_ns)
        self.send()


def _publish(port: int, connections: int, has_id: bool, asked: Connection, ready: Event) -> None:
    """Publish until the process is killed; tell what was published since it was asked before."""
    settle_on_load_core()

    def body() -> str:
        id = f',"id":"{uuid4()}"' if has_id else ""
        return f'{{"room":"api","data":{{"text":"{"x" * 64}"}}{id}}}'

    with closing(Loop()) as loop:
        posters = [Poster(loop, port, body) for _ in range(connections)]
        for poster in posters:
            poster.send()
        ready.set()
        while True:
            while not loop.run(time.monotonic() + LOOK_SECONDS, done=asked.poll):
                pass
            asked.recv()
            asked.send([one for poster in posters for one in poster.nanoseconds])
            for poster in posters:
                poster.nanoseconds.clear()


class Backend:
    """The process that publishes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def published(self) -> list[int]:
        """The nanoseconds that each message took since the last call. Raises CannotMeasure."""
        self._connection.send(None)
        if not self._connection.poll(ANSWER_SECONDS):
            raise CannotMeasure("the backend does not answer")
        found: list[int] = self._connection.recv()
        return found


@contextmanager
def publishing(port: int, connections: int, *, has_id: bool) -> Iterator[Backend]:
    """A backend that publishes over so many connections until the block ends."""
    ours, theirs = SPAWN.Pipe()
    with apart(_publish, port, connections, has_id, theirs):
        yield Backend(ours)


class Measured(NamedTuple):
    """A round of deliveries, and of messages meanwhile."""

    deliveries: Result
    nanoseconds: list[int]
    """The time that each message took to be answered."""
    seconds: float
    """The whole round, in which clients connect and leave, too."""
    cpu: float
    """The seconds of CPU that the server took in it."""


def measure(
    the_bench: Bench, server: Server, *, seconds: float, backend: Backend | None = None
) -> Measured:
    """Measure deliveries, and the messages of a backend beside them. Raises CannotMeasure."""
    if backend is not None:
        backend.published()
    began, cpu = time.monotonic(), cpu_seconds(server.pids)
    deliveries = FanoutRound(DELIVERIES, server, the_bench.loop).measure(the_bench.redis, seconds)
    nanoseconds = [] if backend is None else backend.published()
    if deliveries.faults.total:
        raise CannotMeasure(str(deliveries.faults))
    return Measured(
        deliveries, nanoseconds, time.monotonic() - began, cpu_seconds(server.pids) - cpu
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--connections", default="1,4,16", help="of the backend")
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    print(
        "| connections | id | messages/s | p50 / p99 ms | CPU a message µs | server CPU "
        "| deliveries/s | p50 / p99 ms |\n|--:|---|--:|--:|--:|--:|--:|--:|"
    )
    with bench() as the_bench, the_bench.server(SYSTEMS["sanic_chat"], settings=SETTINGS) as server:
        alone = measure(the_bench, server, seconds=options.seconds)
        print(_row("0", "", alone, alone))
        for connections in map(int, options.connections.split(",")):
            for has_id in (False, True):
                with publishing(server.ports[0], connections, has_id=has_id) as backend:
                    try:
                        found = measure(the_bench, server, seconds=options.seconds, backend=backend)
                    except CannotMeasure as reason:
                        print(f"{connections} connections: {reason}", file=sys.stderr)
                        continue
                print(_row(str(connections), "own" if has_id else "", found, alone), flush=True)


def _row(connections: str, id: str, found: Measured, alone: Measured) -> str:
    """A row of the table."""
    rate = len(found.nanoseconds) / found.seconds
    way, cost = "", ""
    if (latency := Latency.of(found.nanoseconds)) is not None:
        way = f"{latency.p50:.3g} / {latency.p99:.3g}"
        # The CPU of as long a round without them.
        extra = found.cpu - alone.cpu * found.seconds / alone.seconds
        cost = f"{extra / len(found.nanoseconds) * 1e6:.0f}"
    at, beside = found.deliveries, found.deliveries.latency
    figures = "" if beside is None else f"{beside.p50:.3g} / {beside.p99:.3g}"
    return (
        f"| {connections} | {id} | {rate:.0f} | {way} | {cost} | {at.server_cpu:.0%} "
        f"| {at.rate:.0f} | {figures} |"
    )


if __name__ == "__main__":
    main()
