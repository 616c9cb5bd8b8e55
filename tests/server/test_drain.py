"""A drain under load: who is told what, when each client is closed, and that nothing is lost.

DRAIN_CLIENTS=5000 runs it with so many clients; needs `ulimit -n` of a bit more than that.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import uvloop
from redis.asyncio import Redis

from sanic_chat import Config, create_app
from sanic_chat.pod import drain
from sanic_chat.pod.notifier import Notifier
from sanic_chat.protocol import events
from sanic_chat.session.session import Session

from ..support.crowd import Listener, Refused, connect, connect_all
from ..support.harness import (
    DEADLINE,
    SLOW,
    RedisProcess,
    ServerProcess,
    StartServer,
    eventually,
    wait_until,
)
from ..support.serving import client_of, serving

GOING_AWAY = 1001
CLIENTS = int(os.environ.get("DRAIN_CLIENTS", "1000"))
WINDOW = 3.0
PACE = 0.1
"""Seconds between two messages of a series: 20 000 deliveries a second with a thousand clients."""


@dataclass
class Load:
    """Numbered messages to a room until `stop`: from outside, over Redis, and from a client."""

    redis_url: str
    room: str
    talker: Listener
    acknowledged: list[float] = field(default_factory=list)
    """When Redis had taken the message of that number from outside (`time.time()`)."""
    spoken: int = 0

    async def run(self) -> None:
        async with Redis.from_url(self.redis_url) as redis:
            while True:
                number = len(self.acknowledged)
                await redis.publish(
                    f"realtime:room:{self.room}", json.dumps({"data": f"outside{number}"})
                )
                self.acknowledged.append(time.time())
                self.talker.send_text(json.dumps({"data": f"inside{self.spoken}"}))
                self.spoken += 1
                await asyncio.sleep(PACE)


@dataclass
class Probes:
    """What new requests are answered, one after the other: when each began, and its status."""

    server: ServerProcess
    ready: list[tuple[float, int]] = field(default_factory=list)
    upgrades: list[tuple[float, int, dict[str, str]]] = field(default_factory=list)

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=DEADLINE) as client:
            while True:
                began = time.time()
                try:
                    answer = await client.get(f"{self.server.http}/ready")
                    self.ready.append((began, answer.status_code))
                    began = time.time()
                    (await connect(self.server.port, "/ws")).leave()
                    self.upgrades.append((began, 101, {}))
                except Refused as refusal:
                    self.upgrades.append((began, refusal.status, refusal.headers))
                except (OSError, httpx.TransportError):
                    return  # the server is gone
                await asyncio.sleep(PACE)


ENDS_ALL = "thread"
"""The method of a timeout that ends the whole process: uvloop's close does not hear a signal."""


def on_uvloop(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run what a thousand clients take part in on a fast event loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test())


@pytest.mark.timeout(120, method=ENDS_ALL)
def test_a_drain_under_load(start_server: StartServer, shared_redis: RedisProcess) -> None:
    """Readiness and upgrades say 503; clients leave evenly, each at its moment, losing nothing."""
    room = "drain-load"
    path = f"/api/chat-api/ws/{room}"
    server = start_server(REDIS_URL=shared_redis.url, CHAT_DRAIN_WINDOW=f"{WINDOW:g}")

    async def scenario() -> None:
        talker, *others = await connect_all(
            server.port,
            [path, *(path if index % 2 else f"{path}?events=system" for index in range(CLIENTS))],
        )
        load = Load(shared_redis.url, room, talker)
        probes = Probes(server)
        working = asyncio.create_task(load.run())
        probing = asyncio.create_task(probes.run())
        await eventually(lambda: all(len(c.numbers) == 2 for c in others), "all hear both series")
        await eventually(lambda: probes.upgrades, "a new client was let in")

        server.signal(signal.SIGTERM)
        signalled = time.monotonic()
        async with asyncio.timeout(2 * DEADLINE):
            await asyncio.gather(*(client.ended for client in (talker, *others)))
            await probing
        working.cancel()
        await asyncio.wait([working])  # uvloop's close waits for ever for what is half closed
        assert await asyncio.to_thread(server.wait) == 0
        assert time.monotonic() - signalled < SLOW * 5
        assert "Killed" not in server.log

        assert {(c.close_code, c.failure) for c in (talker, *others)} == {(GOING_AWAY, None)}
        assert_nothing_is_lost(others, load)
        assert_everybody_has_a_moment(others)
        assert_new_ones_are_refused(probes, first_close=min(c.closed_at for c in others))

    on_uvloop(scenario)


def assert_nothing_is_lost(clients: list[Listener], load: Load) -> None:
    """Both series are without gap; what Redis had before a client's moment, the client has."""
    for client in clients:
        for numbers in client.numbers.values():
            assert numbers == list(range(numbers[0], numbers[-1] + 1))
        if client.drain is not None:
            reconnect_at = client.drain.reconnect_at
            published = sum(when < reconnect_at for when in load.acknowledged)
            assert client.numbers["outside"][-1] >= published - 1


def assert_everybody_has_a_moment(clients: list[Listener]) -> None:
    """The moments are spread evenly over the window, and each client is closed at its own."""
    told = [client for client in clients if client.drain is not None]
    assert len(told) == len(clients) / 2
    moments = sorted(client.drain.reconnect_in_ms for client in told if client.drain)
    step = WINDOW * 1000 / len(told)
    assert moments == pytest.approx([(i + 0.5) * step for i in range(len(told))], abs=1)
    if step >= 1:
        assert len(set(moments)) == len(moments)

    late = [c.closed_at - c.drain.reconnect_at for c in told if c.drain]
    assert min(late) > 0, "closed before the moment it was told"
    assert statistics.median(late) < 1

    began = min(client.closed_at for client in clients)
    buckets = Counter(int((client.closed_at - began) * 10) for client in clients)
    assert max(buckets.values()) < len(clients) / 2, buckets  # all of them, if it were a burst
    assert max(buckets) >= WINDOW * 10 * 0.8


def assert_new_ones_are_refused(probes: Probes, first_close: float) -> None:
    """From before the first close on: 503, and for upgrades with Retry-After."""
    assert probes.ready[0][1] == 200
    assert probes.upgrades[0][1] == 101
    ready = [status for began, status in probes.ready if began > first_close]
    assert set(ready) == {503}
    upgrades = [probe for probe in probes.upgrades if probe[0] > first_close]
    assert {status for _, status, _ in upgrades} == {503}
    assert all(int(headers["retry-after"]) == 2 for _, _, headers in upgrades)


async def test_what_redis_had_before_the_close_arrives(
    start_server: StartServer, shared_redis: RedisProcess
) -> None:
    """Messages that a pod has not read from Redis yet, when a session is due, still come first."""
    room = "drain-unread"
    server = start_server("--single-process", REDIS_URL=shared_redis.url, CHAT_DRAIN_GRACE="2")
    (worker,) = server.worker_pids
    clients = await connect_all(server.port, [f"/ws/{room}"] * 20)
    messages = range(500)  # more than one read takes
    server.signal(signal.SIGTERM)
    wait_until(lambda: "draining 20 sessions" in server.log, "the grace begins")
    began = time.monotonic()
    os.kill(worker, signal.SIGSTOP)
    try:
        async with Redis.from_url(shared_redis.url) as redis:
            for number in messages:
                text = json.dumps({"data": f"late{number}", "more": "x" * 1000})
                assert await redis.publish(f"realtime:room:{room}", text) == 1
        await asyncio.sleep(began + 2.5 - time.monotonic())  # until all are overdue
        assert not any(client.close_code for client in clients)
    finally:
        os.kill(worker, signal.SIGCONT)
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*(client.ended for client in clients))
    for client in clients:
        assert client.numbers["late"] == list(messages)
        assert client.close_code == GOING_AWAY
    assert await asyncio.to_thread(server.wait) == 0


async def test_who_is_told_late_has_as_long_as_others(
    in_process: None, shared_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a client's moment, counted from when it was told, to its close frame: 1 s of 10."""
    moments: dict[Session, float] = {}
    late: list[float] = []
    send, close = Notifier.send, Session.close
    loop = asyncio.get_running_loop()

    def send_slowly(notifier: Notifier, session: Session, *told: events.Event) -> None:
        for event in told:
            if isinstance(event, events.Drain):
                time.sleep(0.03)
                moments[session] = loop.time() + event.reconnect_in_ms / 1000
        send(notifier, session, *told)

    def note(session: Session, code: int, reason: str) -> None:
        late.append(loop.time() - moments[session])
        close(session, code, reason)

    monkeypatch.setattr(Notifier, "send", send_slowly)
    monkeypatch.setattr(Session, "close", note)
    app = create_app(config=Config(redis_url=shared_redis.url, drain_timeout=10))
    async with AsyncExitStack() as stack:
        async with serving(app):
            clients = [await stack.enter_async_context(client_of(app)) for _ in range(5)]
            for client in clients:
                assert (await client.request("/ws/drain-late?events=system"))[0] == 101
        assert [await client.close_code() for client in clients] == [GOING_AWAY] * 5
    assert min(late) > 0.999  # milliseconds are told


async def test_during_the_grace_clients_are_served(
    start_server: StartServer, shared_redis: RedisProcess
) -> None:
    """/ready is 503 for CHAT_DRAIN_GRACE, and a bit of overlap, before the first close frame."""
    room = "drain-grace"
    server = start_server("--single-process", REDIS_URL=shared_redis.url, CHAT_DRAIN_GRACE="3")
    told, talker = await connect_all(server.port, [f"/ws/{room}?events=system", f"/ws/{room}"])
    server.signal(signal.SIGTERM)
    await eventually(lambda: told.drain is not None, "the drain is announced")
    assert server.get("/ready").json()["code"] == "draining"
    with pytest.raises(Refused):
        await connect(server.port, f"/ws/{room}")
    talker.send_text('{"data": "hello1"}')
    await eventually(lambda: told.numbers["hello"] == [1], "the message is delivered")
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(told.ended, talker.ended)
    assert told.drain is not None
    assert 3000 <= told.drain.reconnect_in_ms < 3020
    assert told.closed_at - told.drain.reconnect_at > 0.2
    assert talker.closed_at - told.drain.sent_at > 2.7
    assert (told.close_code, talker.close_code) == (GOING_AWAY, GOING_AWAY)
    assert await asyncio.to_thread(server.wait) == 0


async def test_who_leaves_as_told_is_not_waited_for(
    start_server: StartServer, shared_redis: RedisProcess
) -> None:
    """Few clients do not take the whole window, and no client at all takes no grace either."""
    server = start_server(
        "--single-process",
        REDIS_URL=shared_redis.url,
        CHAT_DRAIN_TIMEOUT="5",
        CHAT_DRAIN_WINDOW="3",
        CHAT_DRAIN_GRACE="3",
    )
    clients = await connect_all(server.port, ["/ws/drain-few?events=system"] * 3)
    for client in clients:
        client.on_drain = Listener.leave
    server.signal(signal.SIGTERM)
    signalled = time.monotonic()
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*(client.ended for client in clients))
    assert await asyncio.to_thread(server.wait) == 0
    assert time.monotonic() - signalled < 5  # with grace and window it would be 6
    moments = sorted(client.drain.reconnect_in_ms for client in clients if client.drain)
    assert len(set(moments)) == 3
    assert max(moments) < 3100


LONG_WINDOW = 15.0


@pytest.mark.timeout(240, method=ENDS_ALL)
def test_a_long_drain(start_server: StartServer, shared_redis: RedisProcess) -> None:
    """A window of more than the ten seconds that Sanic waits for a worker is used to its end."""
    server = start_server(
        REDIS_URL=shared_redis.url,
        CHAT_DRAIN_TIMEOUT=f"{LONG_WINDOW / 0.6:g}",
        CHAT_DRAIN_WINDOW=f"{LONG_WINDOW:g}",
    )

    async def scenario() -> None:
        clients = await connect_all(server.port, ["/ws/drain-long"] * int(LONG_WINDOW * 201))
        server.signal(signal.SIGTERM)
        async with asyncio.timeout(SLOW * LONG_WINDOW):
            await asyncio.gather(*(client.ended for client in clients))
        assert await asyncio.to_thread(server.wait) == 0
        assert {client.close_code for client in clients} == {GOING_AWAY}
        began = min(client.closed_at for client in clients)
        thirds = Counter(int(3 * (c.closed_at - began) / LONG_WINDOW) for c in clients)
        assert min(thirds[0], thirds[1], thirds[2]) > len(clients) / 5, thirds

    on_uvloop(scenario)
    assert "Killed" not in server.log
    assert "timed out" not in server.log


async def test_a_drain_leaves_turns_to_others(
    in_process: None, shared_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many sessions are due at once, few are closed before everything else gets a turn."""
    monkeypatch.setattr(drain, "PER_TURN", 8)
    turn = 0
    closed_in: list[int] = []
    close = Session.close

    def count(session: Session, code: int, reason: str) -> None:
        closed_in.append(turn)
        close(session, code, reason)

    def tick() -> None:
        nonlocal turn
        turn += 1
        loop.call_soon(tick)

    monkeypatch.setattr(Session, "close", count)
    loop = asyncio.get_running_loop()
    app = create_app(config=Config(redis_url=shared_redis.url, drain_window=0))
    async with AsyncExitStack() as stack:
        async with serving(app):
            clients = [await stack.enter_async_context(client_of(app)) for _ in range(60)]
            for client in clients:
                assert (await client.request("/ws/drain-turns"))[0] == 101
            loop.call_soon(tick)
        assert [await client.close_code() for client in clients] == [GOING_AWAY] * 60
    assert len(closed_in) == 60
    assert max(Counter(closed_in).values()) <= 8
