"""Two servers behind a balancer are restarted one after the other: who notices?

    python -m benchmarks.studies.rolling_restart --picture results/rolling_restart.svg

All clients hear one room, to which numbered messages are published through Redis. They ask for
events and connect anew as told, at `reconnect_in_ms`; the server closes the old connection.
With `--without-events` they learn from the close frame alone, and come back within two seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import time
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from redis.asyncio import Redis

from tests.support.crowd import Listener, Refused, connect
from tests.support.harness import RedisProcess, ServerProcess, eventually, free_port

from ..measure.processes import allow_descriptors
from .balancer import Balancer

ROOM = "rolling-restart"
BUCKET_SECONDS = 0.1
MAX_PAUSE_SECONDS = 2.0
SETTLE_SECONDS = 1.0
DESCRIPTORS_PER_CLIENT = 3
"""Of one process: the balancer has two for each connection, and some clients have two of these."""


@dataclass
class Restart:
    """One server's restart, and what the clients saw of it."""

    began: float
    """The time of the signal (`time.time()`)."""
    clients: int
    """The number that the server had."""
    stopped_in: float = 0.0
    ready_in: float = 0.0
    """Seconds until it had ended, and until the new one was sent clients."""
    reconnects: list[float] = field(default_factory=list)
    """The times at which clients connected anew, in seconds after the signal."""
    refused: int = 0
    """Attempts that failed."""

    def histogram(self) -> list[int]:
        """Reconnects in each tenth of a second, from the first that has any to the last."""
        buckets = Counter(int(at / BUCKET_SECONDS) for at in self.reconnects)
        return [buckets[index] for index in range(min(buckets), max(buckets) + 1)]


@dataclass
class Outcome:
    """The outcome of a run."""

    restarts: list[Restart]
    published: int
    lost: int
    """Messages that a client did not get, summed over the clients."""
    lost_while_connected: int
    """The part of these of clients that were never without a connection: 0, or it is our fault."""
    twice: int
    """Messages that a client got over both its connections."""
    away: float
    """The longest time for which a client had no connection, in seconds."""


class Client:
    """A client that stays: it reconnects whenever it is told to, or loses its connection."""

    def __init__(self, port: int, path: str, crowd: Crowd) -> None:
        self._port = port
        self._path = path
        self._crowd = crowd
        self._current: Listener | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections: list[Listener] = []
        self.away = 0.0
        self._away_since = 0.0

    async def connect(self) -> None:
        """Connect, and again until it has worked. The server closes the connection before."""
        pause = 0.25
        while True:
            try:
                listener = await connect(self._port, self._path)
                break
            except (Refused, OSError) as error:
                self._crowd.refused()
                if isinstance(error, Refused) and "retry-after" in error.headers:
                    pause = max(pause, float(error.headers["retry-after"]))
            await asyncio.sleep(pause * random.uniform(1, 1.5))
            pause = min(2 * pause, MAX_PAUSE_SECONDS)
        self._current = listener
        self.connections.append(listener)
        listener.on_drain = self._told
        listener.on_end = self._ended
        if self._away_since:
            self.away = max(self.away, time.monotonic() - self._away_since)
            self._away_since = 0.0

    def _told(self, listener: Listener) -> None:
        assert listener.drain is not None
        self._reconnect_in(listener.drain.reconnect_in_ms / 1000)

    def _ended(self, listener: Listener) -> None:
        if listener is not self._current:
            return
        self._away_since = time.monotonic()
        if listener.drain is None:
            self._reconnect_in(random.uniform(0, MAX_PAUSE_SECONDS))

    def _reconnect_in(self, seconds: float) -> None:
        async def reconnect() -> None:
            await asyncio.sleep(seconds)
            self._crowd.reconnects()
            await self.connect()

        task = asyncio.create_task(reconnect())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def numbers(self) -> Counter[int]:
        """The number of times it got each message, over all its connections."""
        return Counter(n for each in self.connections for n in each.numbers["n"])

    def close(self) -> None:
        """Drop its connection."""
        for task in self._tasks:
            task.cancel()
        for each in self.connections:
            each.on_end = None
            each.abort()


class Crowd:
    """All clients, and what they do during a restart."""

    def __init__(self, port: int, count: int, *, events: bool) -> None:
        path = f"/api/chat-api/ws/{ROOM}" + ("?events=system" if events else "")
        self.clients = [Client(port, path, self) for _ in range(count)]
        self.restart: Restart | None = None

    def reconnects(self) -> None:
        """A client begins to reconnect."""
        if self.restart is not None:
            self.restart.reconnects.append(time.time() - self.restart.began)

    def refused(self) -> None:
        """An attempt to connect has failed."""
        if self.restart is not None:
            self.restart.refused += 1


class Publisher:
    """Publishes numbered messages to the room, through Redis."""

    def __init__(self, redis_url: str, *, rate: float) -> None:
        self.published = 0
        self._url = redis_url
        self._rate = rate
        self._stopping = False

    async def run(self) -> None:
        async with Redis.from_url(self._url) as redis:
            while not self._stopping:
                message = json.dumps({"data": f"n{self.published}"})
                await redis.publish(f"realtime:room:{ROOM}", message)
                self.published += 1
                await asyncio.sleep(1 / self._rate)

    def stop(self) -> None:
        """Publish no more."""
        self._stopping = True


class Pair:
    """Two servers on one Redis, behind a balancer."""

    def __init__(self, redis_url: str, *, check: float, **settings: str) -> None:
        self._environment = {"REDIS_URL": redis_url, **settings}
        self._ports = [free_port(), free_port()]
        self._servers: list[ServerProcess] = []
        self.balancer = Balancer(self._ports, check_seconds=check)

    def __enter__(self) -> Pair:
        self._servers = [self._start(port) for port in self._ports]
        self.balancer.start()
        for server in self._servers:
            server.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.balancer.close()
        for server in self._servers:
            server.close()

    async def serves(self) -> None:
        """Wait until the balancer sends clients to both."""
        await eventually(lambda: self.balancer.ready_ports() == set(self._ports), "both are ready")

    async def restart(self, index: int, crowd: Crowd) -> Restart:
        """Stop one well and start it again; returns when it is sent clients."""
        server = self._servers[index]
        restart = crowd.restart = Restart(time.time(), server.pod()["connections"])
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        code = await asyncio.to_thread(server.wait)
        restart.stopped_in = time.monotonic() - began
        if code:
            raise RuntimeError(f"exit code {code}:\n{server.log}")
        server.close()
        self._servers[index] = self._start(self._ports[index])
        await self.serves()
        restart.ready_in = time.monotonic() - began
        return restart

    def _start(self, port: int) -> ServerProcess:
        return ServerProcess("--workers", "1", environment=self._environment, port=port)


async def roll(pair: Pair, redis_url: str, *, clients: int, rate: float, events: bool) -> Outcome:
    """Restart both servers under `clients` clients and `rate` messages a second."""
    await pair.serves()
    crowd = Crowd(pair.balancer.port, clients, events=events)
    publisher = Publisher(redis_url, rate=rate)
    try:
        for start in range(0, clients, 100):
            await asyncio.gather(*(c.connect() for c in crowd.clients[start : start + 100]))
        publishing = asyncio.create_task(publisher.run())
        await eventually(lambda: all(c.numbers() for c in crowd.clients), "all hear the room")
        restarts = []
        for index in (0, 1):
            restarts.append(await pair.restart(index, crowd))
            await asyncio.sleep(MAX_PAUSE_SECONDS + SETTLE_SECONDS)
        publisher.stop()
        await publishing
        await asyncio.sleep(SETTLE_SECONDS)
        return _outcome(crowd, restarts, publisher.published)
    finally:
        for client in crowd.clients:
            client.close()


def _outcome(crowd: Crowd, restarts: list[Restart], published: int) -> Outcome:
    lost = lost_while_connected = twice = 0
    for client in crowd.clients:
        numbers = client.numbers()
        missing = published - min(numbers) - len(numbers)
        lost += missing
        lost_while_connected += 0 if client.away else missing
        twice += sum(count - 1 for count in numbers.values())
    away = max(client.away for client in crowd.clients)
    return Outcome(restarts, published, lost, lost_while_connected, twice, away)


def run(*, clients: int, rate: float, events: bool, check: float, **settings: float) -> Outcome:
    """One whole run, with servers and a Redis of its own; `settings` are those of the drain."""
    allow_descriptors(DESCRIPTORS_PER_CLIENT * clients + 500)
    with ExitStack() as stack:
        redis = stack.enter_context(closing(RedisProcess()))
        redis.start()
        environment = {f"CHAT_DRAIN_{name.upper()}": f"{v:g}" for name, v in settings.items()}
        pair = stack.enter_context(Pair(redis.url, check=check, **environment))
        return uvloop.run(roll(pair, redis.url, clients=clients, rate=rate, events=events))


def table(outcome: Outcome) -> str:
    """The figures, as Markdown."""
    lines = [
        "| server | clients | reconnects per 100 ms: mean, max, max/mean | refused | stopped in "
        "| new one in use after |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, restart in zip(("first", "second"), outcome.restarts, strict=True):
        buckets = restart.histogram()
        mean = sum(buckets) / len(buckets)
        lines.append(
            f"| {name} | {restart.clients:,} "
            f"| {mean:.1f}, {max(buckets)}, {max(buckets) / mean:.2f} | {restart.refused} "
            f"| {restart.stopped_in:.2f} s | {restart.ready_in:.2f} s |"
        )
    return "\n".join(lines) + (
        f"\n\nOf {outcome.published} messages to every client {outcome.lost} were lost, and "
        f"{outcome.twice} came twice; no client was without a connection for more than "
        f"{outcome.away * 1000:.0f} ms."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=5.0, help="messages a second")
    parser.add_argument("--window", type=float, default=3.0, help="CHAT_DRAIN_WINDOW")
    parser.add_argument("--grace", type=float, default=0.5, help="CHAT_DRAIN_GRACE")
    parser.add_argument("--timeout", type=float, default=5.0, help="CHAT_DRAIN_TIMEOUT")
    parser.add_argument("--check", type=float, default=0.2, help="seconds between the checks")
    parser.add_argument("--without-events", action="store_true")
    parser.add_argument("--picture", type=Path, help="PNG or SVG")
    options = parser.parse_args()
    outcome = run(
        clients=options.clients,
        rate=options.rate,
        events=not options.without_events,
        check=options.check,
        window=options.window,
        grace=options.grace,
        timeout=options.timeout,
    )
    print(table(outcome))
    if options.picture is not None:
        from ..results.picture import draw_histograms

        draw_histograms(
            {
                f"{name} server, {restart.clients:,} clients": restart.reconnects
                for name, restart in zip(("first", "second"), outcome.restarts, strict=True)
            },
            options.picture,
            bucket=BUCKET_SECONDS,
            x="seconds after the signal",
            y="reconnects per 100 ms",
        )
    sys.exit(1 if outcome.lost and not options.without_events else 0)


if __name__ == "__main__":
    main()
