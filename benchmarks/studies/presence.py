"""What does a crowd cost that joins one room and watches it, and who else notices?

    python -m benchmarks.studies.presence --clients 500,1000,2000

Two pods, and half as many users as clients. All join within two seconds, then leave within two: a
third closes, a third is reset, and of the rest the pod is killed. A pair talks in another room of
the pod that stays, from a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from multiprocessing.synchronize import Event
from typing import Any

import uvloop
from websockets.sync.client import connect

from tests.support.harness import RedisProcess, eventually
from tests.support.onlookers import Onlooker, onlookers, running_pods, spread
from tests.support.users import bearer

from ..measure.processes import allow_descriptors, cpu_seconds, resident_bytes
from ..results.result import Latency
from .apart import SPAWN, apart

ROOM, PAIR_ROOM = "crowd", "pair"
SECONDS = 2.0
"""In which all of a crowd do something."""
PAUSE_SECONDS = 0.002
"""Of the pair, between two messages."""
TOLD_SECONDS = 60.0


@dataclass
class Step:
    """One thing that a crowd did, and what it took until all who stayed were told."""

    what: str
    clients: int
    told_after: float
    """Seconds after the last one did it."""
    cpu: float
    """Of the pods that live, in seconds."""
    messages: int
    """Of one client, at most; `bytes` likewise."""
    bytes: int
    span_ns: tuple[int, int]
    """From its begin until all were told."""
    pair: Latency | None = None


def _talk(port: int, stop: Event, results: Any, ready: Event) -> None:
    """Be the pair: one says something, the other hears it. Hand on the times by `results`."""
    url = f"ws://127.0.0.1:{port}/api/chat-api/ws/{PAIR_ROOM}"
    with (
        connect(url, additional_headers=bearer("one")) as one,
        connect(url, additional_headers=bearer("two")) as two,
    ):
        times = []
        ready.set()
        while not stop.is_set():
            began = time.monotonic_ns()
            one.send('{"type": "chat", "data": "x"}')
            while json.loads(two.recv(timeout=TOLD_SECONDS))["type"] != "chat":
                pass
            times.append((began, time.monotonic_ns() - began))
            time.sleep(PAUSE_SECONDS)
        results.send(times)


async def _crowd(redis: RedisProcess, count: int) -> list[Step]:
    users = [(f"user-{n // 2:05}", (n + n // 2) % 2) for n in range(count)]
    with running_pods(redis, 2, CHAT_MAX_CONNECTIONS=str(count + 100)) as pods:
        ports = [pod.port for pod in pods]
        stop = SPAWN.Event()
        reading, writing = SPAWN.Pipe(duplex=False)
        with apart(partial(_talk, ports[0]), stop, writing):
            async with onlookers(ports, users) as clients:
                steps = await _steps(clients, pods)
            stop.set()
            assert await asyncio.to_thread(reading.poll, TOLD_SECONDS)
            times: list[tuple[int, int]] = reading.recv()
    for step in steps:
        begin, end = step.span_ns
        step.pair = Latency.of([taken for at, taken in times if begin <= at <= end])
    return steps


async def _steps(clients: list[Onlooker], pods: list[Any]) -> list[Step]:
    steps: list[Step] = []

    async def step(
        what: str, acts: list[Callable[[], None]], staying: list[Onlooker], living: list[Any]
    ) -> None:
        for client in clients:
            client.messages = client.bytes = 0
        cpu = cpu_seconds([pod.pid for pod in living])
        began = time.monotonic_ns()
        await spread(acts, SECONDS)
        done = time.monotonic()
        sessions = len(staying)
        rosters = [client.rosters[ROOM] for client in staying]
        await eventually(
            lambda: all(each.sessions == sessions for each in rosters), what, timeout=TOLD_SECONDS
        )
        steps.append(
            Step(
                what,
                len(clients),
                time.monotonic() - done,
                cpu_seconds([pod.pid for pod in living]) - cpu,
                max(client.messages for client in staying),
                max(client.bytes for client in staying),
                (began, time.monotonic_ns()),
            )
        )

    await asyncio.sleep(SECONDS)
    before = cpu_seconds([pod.pid for pod in pods])
    await asyncio.sleep(SECONDS)
    alone = cpu_seconds([pod.pid for pod in pods]) - before
    print(f"    the pair alone: {alone:.2f} s in {SECONDS} s")
    memory = resident_bytes([pod.pid for pod in pods])
    await step("join", [partial(each.join, [ROOM]) for each in clients], clients, pods)
    grown = resident_bytes([pod.pid for pod in pods]) - memory
    print(f"    {grown / len(clients):.0f} bytes of RSS a client that joins and watches")
    closing_, resetting, staying = clients[0::3], clients[1::3], clients[2::3]
    await step("close", [each.listener.leave for each in closing_], [*resetting, *staying], pods)
    await step("reset", [each.listener.abort for each in resetting], staying, pods)
    left = [each for each in staying if each.pod == 0]
    await step(
        "the other pod is killed", [partial(os.kill, pods[1].pid, signal.SIGKILL)], left, pods[:1]
    )
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clients", default="500,1000,2000")
    options = parser.parse_args()
    counts = [int(count) for count in options.clients.split(",")]
    allow_descriptors(2 * max(counts) + 100)
    print("| clients | do | all are told after, s | CPU s | messages | bytes | pair p50 / p99 ms |")
    print("|--:|---|--:|--:|--:|--:|--:|")
    for count in counts:
        with closing(RedisProcess()) as redis:
            redis.start()
            for step in uvloop.run(_crowd(redis, count)):
                print(_row(step), flush=True)


def _row(step: Step) -> str:
    pair = "" if step.pair is None else f"{step.pair.p50:.2f} / {step.pair.p99:.2f}"
    return (
        f"| {step.clients} | {step.what} | {step.told_after:.1f} | {step.cpu:.2f} "
        f"| {step.messages} | {step.bytes} | {pair} |"
    )


if __name__ == "__main__":
    main()
