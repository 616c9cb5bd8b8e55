"""kill -9 of one worker, and of all of them: how soon is everything as it was?

    python -m benchmarks.studies.crash --workers 2 --clients 200 --rounds 5

A survivor's clients hear a message 100 times a second; the longest pause that one of them sees
stands beside the same pause before the kill.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass

import httpx
import uvloop
from redis.asyncio import Redis

from tests.support.crowd import Listener, connect, connect_all
from tests.support.harness import RedisProcess, ServerProcess, eventually

ROOM = "crash"
RATE = 100
QUIET_SECONDS = 1.0
CONNECTS = 50


@dataclass
class Recovery:
    """Seconds after the kill, if not said otherwise."""

    ready: float
    """Until new workers were ready in place of those that died."""
    connect: float
    """The longest that one of the clients which connected right after the kill waited for its
    101."""
    stats: float
    """Until the stats knew the new pods and nobody who was gone."""
    lost: int
    """Messages that a survivor's client did not get."""
    pause: float
    """The longest time between two messages for a survivor's client, and before the kill."""
    pause_before: float


async def crash(server: ServerProcess, redis_url: str, *, victims: int, clients: int) -> Recovery:
    """Kill so many workers."""
    living = server.worker_pids[-_workers(server) :]
    before = {pod["pod_id"] for pod in server.stats()["pods"]}
    crowd = await connect_all(server.port, [f"/ws/{ROOM}"] * clients)
    arrivals = _Arrivals(crowd)
    publishing = asyncio.create_task(_publish(redis_url))
    await asyncio.sleep(QUIET_SECONDS)
    pause_before = arrivals.longest_pause(crowd)

    for pid in living[:victims]:
        os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    known = len(server.worker_pids)
    arrivals.begin()

    async def late_one() -> float:
        client = await connect(server.port, "/ws/late")
        client.leave()
        return time.monotonic() - killed

    async def ready() -> float:
        await asyncio.to_thread(server.wait_ready, known + victims)
        return time.monotonic() - killed

    ready_in, *connects = await asyncio.gather(ready(), *(late_one() for _ in range(CONNECTS)))
    survivors = [client for client in crowd if client.is_open]
    pause = arrivals.longest_pause(survivors)

    async def are_right() -> bool:
        async with httpx.AsyncClient() as http:
            stats = (await http.get(f"{server.http}/ws/stats")).json()
        pods = {pod["pod_id"] for pod in stats["pods"]}
        return (
            len(pods) == len(before)
            and len(pods - before) == victims
            and stats["totals"]["connections"] == len(survivors)
        )

    await eventually(are_right, "the stats are right")
    stats_in = time.monotonic() - killed
    publishing.cancel()
    lost = sum(
        numbers[-1] - numbers[0] + 1 - len(numbers)
        for numbers in (client.numbers["n"] for client in survivors)
    )
    for client in survivors:
        client.leave()
    await asyncio.gather(*(client.ended for client in crowd))
    return Recovery(ready_in, max(connects), stats_in, lost, pause, pause_before)


class _Arrivals:
    """The last time each client got something, and its longest pause; looked at every ms."""

    def __init__(self, clients: list[Listener]) -> None:
        self._clients = clients
        self.begin()
        self._task = asyncio.create_task(self._look())

    def begin(self) -> None:
        """Forget the pauses so far."""
        now = time.monotonic()
        self._last = {client: (len(client.numbers["n"]), now) for client in self._clients}
        self._longest = dict.fromkeys(self._clients, 0.0)

    def longest_pause(self, clients: list[Listener]) -> float:
        """Over these clients, in seconds."""
        return max((self._longest[client] for client in clients), default=0.0)

    async def _look(self) -> None:
        while any(client.is_open for client in self._clients):
            await asyncio.sleep(0.001)
            now = time.monotonic()
            for client in self._clients:
                count, since = self._last[client]
                if len(client.numbers["n"]) > count:
                    self._last[client] = (len(client.numbers["n"]), now)
                    if count:
                        self._longest[client] = max(self._longest[client], now - since)


async def _publish(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        number = 0
        while True:
            await redis.publish(f"realtime:room:{ROOM}", json.dumps({"data": f"n{number}"}))
            number += 1
            await asyncio.sleep(1 / RATE)


def _workers(server: ServerProcess) -> int:
    return len(server.stats()["pods"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(
        "| killed | new pod ready | last of 50 connects served | stats right "
        "| lost by other clients | longest pause for them; before |"
    )
    print("|---|--:|--:|--:|--:|--:|")
    for name, victims in (("one worker", 1), ("all workers", options.workers)):
        rounds = [_round(options.workers, victims, options.clients) for _ in range(options.rounds)]

        def median(field: str, rounds: list[Recovery] = rounds) -> float:
            return statistics.median(getattr(each, field) for each in rounds)

        pauses = f"{median('pause') * 1000:.0f} ms; {median('pause_before') * 1000:.0f} ms"
        others = f"{sum(each.lost for each in rounds)} | {pauses}"
        print(
            f"| {name} | {median('ready'):.2f} s | {median('connect'):.2f} s "
            f"| {median('stats'):.1f} s | {others if victims < options.workers else '| '} |",
            flush=True,
        )


def _round(workers: int, victims: int, clients: int) -> Recovery:
    with ExitStack() as stack:
        redis = stack.enter_context(closing(RedisProcess()))
        redis.start()
        server = stack.enter_context(
            closing(ServerProcess("--workers", str(workers), environment={"REDIS_URL": redis.url}))
        )
        server.wait_ready(workers)
        return uvloop.run(crash(server, redis.url, victims=victims, clients=clients))


if __name__ == "__main__":
    main()
