"""Server CPU per delivery in one busy room: sanic_chat beside a stock Sanic handler.

    python -m benchmarks.fanout --members 100 --senders 10 --window 1

Both servers run in turn, round by round, on core 0, with every message going through the same
Redis; load and Redis are on core 1. CPU time per delivery stays comparable on a noisy machine,
rates do not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
from contextlib import closing
from dataclasses import asdict, dataclass

import uvloop

from tests.harness import RedisProcess, ServerProcess

from .load import Client, open_clients
from .processes import cpu_seconds, pin

WARM_UP_SECONDS = 1.0
COMMANDS = {
    "sanic_chat": (sys.executable, "-m", "sanic", "server:app"),
    "stock Sanic": (sys.executable, "-m", "sanic", "benchmarks.stock_sanic:app"),
}


@dataclass
class Round:
    """What one round measured."""

    deliveries_per_second: float
    cpu_us_per_delivery: float
    cpu_share: float


async def measure(server: ServerProcess, options: argparse.Namespace) -> Round:
    """One round against a running server."""
    (worker,) = server.worker_pids
    pin(worker, 0)
    clients = await open_clients(
        options.members, path="/api/chat-api/ws/benchmark", port=server.port
    )
    loop = asyncio.get_running_loop()
    for client in clients[: options.senders]:
        client.start_sending(options.window)
    await asyncio.sleep(WARM_UP_SECONDS)
    before, cpu_before, began = _received(clients), cpu_seconds(worker), loop.time()
    await asyncio.sleep(options.seconds)
    deliveries = _received(clients) - before
    cpu, seconds = cpu_seconds(worker) - cpu_before, loop.time() - began
    lost = [client for client in clients if client.closed]
    for client in clients:
        client.stop_sending()
        client.close()
    if lost:
        raise RuntimeError(f"the server closed {len(lost)} clients")
    return Round(deliveries / seconds, cpu / deliveries * 1e6, cpu / seconds)


def _received(clients: list[Client]) -> int:
    return sum(client.received for client in clients)


async def run(options: argparse.Namespace) -> dict[str, list[Round]]:
    """All rounds of all systems, in turn."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    rounds: dict[str, list[Round]] = {name: [] for name in COMMANDS}
    with closing(RedisProcess()) as redis:
        redis.start()
        for number in range(options.rounds):
            for name, command in COMMANDS.items():
                print(f"round {number + 1}/{options.rounds}: {name}", file=sys.stderr)
                server = ServerProcess(
                    "--workers", "1", command=command, environment={"REDIS_URL": redis.url}
                )
                with closing(server):
                    server.wait_ready()
                    rounds[name].append(await measure(server, options))
    return rounds


def main() -> None:
    """Run and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--members", type=int, default=100)
    parser.add_argument("--senders", type=int, default=10)
    parser.add_argument("--window", type=int, default=1, help="messages in flight per sender")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE", help="write every round there too")
    options = parser.parse_args()
    rounds = uvloop.run(run(options))
    print(
        f"room of {options.members}, {options.senders} senders, window {options.window}, "
        f"median of {options.rounds} rounds of {options.seconds:g} s"
    )
    print(f"{'':12} {'deliveries/s':>13} {'CPU µs/delivery':>16} {'CPU share':>10}")
    medians = {}
    for name, measured in rounds.items():
        rate, cost, share = (
            statistics.median(getattr(one, field) for one in measured)
            for field in ("deliveries_per_second", "cpu_us_per_delivery", "cpu_share")
        )
        medians[name] = cost
        print(f"{name:12} {rate:13,.0f} {cost:16.3f} {share:10.0%}")
    print(f"ratio of CPU per delivery: {medians['stock Sanic'] / medians['sanic_chat']:.1f}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump({name: [asdict(one) for one in all_] for name, all_ in rounds.items()}, file)


if __name__ == "__main__":
    main()
