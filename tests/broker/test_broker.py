"""A broker on its own: what it tells its pod, and what it says of itself."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sanic_chat.broker.broker import Broker
from sanic_chat.broker.endpoint import Endpoint
from sanic_chat.broker.publisher import Drop

from ..support.harness import RedisProcess, eventually, free_port

GLOBAL, ROOM = b"realtime:global", b"realtime:room:broker"
CONTROL = b"realtime:control"


class RecordingPod:
    """The handler of a broker, which notes what it is told, in its order."""

    def __init__(self) -> None:
        self.broker: Broker
        self.received: list[tuple[bytes, bytes]] = []
        self.told: list[Any] = []
        self.round_trips: list[float] = []
        self.canary_prefix = b"canary of %d " % id(self)

    def envelope_received(self, name: bytes, payload: bytes) -> None:
        self.received.append((name, payload))
        # Another pod's canaries come on the same channel.
        if self.broker.is_canary(payload):
            assert payload.startswith(self.canary_prefix)

    def channel_refused(self, channel: bytes, error: str) -> None:
        self.told.append(("refused", channel))

    def envelope_dropped(self, why: Drop, *receipt: Any) -> None:
        self.told.append((why, *receipt))

    def canary_returned(self, seconds: float) -> None:
        self.round_trips.append(seconds)

    def canary(self, number: int) -> bytes:
        return b"%b%d" % (self.canary_prefix, number)

    def link_lost(self) -> None:
        self.told.append("link lost")

    def outage_began(self) -> None:
        self.told.append("outage")

    def outage_ended(self, seconds: float, lossy: bool) -> None:
        self.told.append("outage over")

    def of_room(self) -> list[bytes]:
        return [payload for name, payload in self.received if name == ROOM]


@asynccontextmanager
async def running(port: int, **options: Any) -> AsyncIterator[tuple[Broker, RecordingPod]]:
    """A broker of a pod that needs one room, with its links under way."""
    pod = RecordingPod()
    broker = pod.broker = Broker(
        Endpoint(f"redis://127.0.0.1:{port}"),
        **{
            "pod_id": "one",
            "control_channel": CONTROL,
            "echo_prefix": b'{"pod_id":"one",',
            "is_needed": {ROOM}.__contains__,
            "timeout": 2,
            "unsubscribe_delay": 60,
            "queue_messages": 2,
            "queue_bytes": 2**20,
            "queue_seconds": 60,
            "proof_interval": 0.5,
            **options,
        },
    )
    broker.start(pod, required=(GLOBAL,))
    try:
        yield broker, pod
    finally:
        await broker.close(1)


async def test_from_start_to_close(redis: RedisProcess) -> None:
    """It connects, proves that it does, delivers what others publish, and counts its own echoes."""
    async with (
        running(redis.port) as (broker, pod),
        running(redis.port, pod_id="two") as (other, _),
    ):
        assert await broker.is_proven_within(30)
        assert await other.is_proven_within(30)
        assert broker.trouble() is None
        confirmed = broker.subscribe(ROOM)
        assert confirmed is not None
        await confirmed
        assert broker.are_subscribed([GLOBAL, CONTROL, ROOM])
        other.publish(ROOM, b"theirs", ())
        await eventually(lambda: pod.of_room() == [b"theirs"], "it hears the other")
        broker.publish(ROOM, b'{"pod_id":"one","data":1}', ())
        await eventually(lambda: broker.stats().echoes == 1, "its echo is counted")
        await broker.flush(30)
        assert pod.of_room() == [b"theirs"]
        stats = broker.stats()
        assert (stats.subscriber, stats.publisher, stats.subscribed) == ("up", "up", True)
        assert (stats.channels, stats.dropped) == (3, {})
        assert stats.published == 1, "canaries are not counted"
        assert stats.round_trip is not None
        assert pod.told == ["outage over"]


async def test_without_redis() -> None:
    """Nothing raises. What is published waits, within its bounds, and is told of when dropped."""
    async with running(free_port()) as (broker, pod):
        assert not broker.is_connected
        assert broker.subscribe(ROOM) is not None
        for number in range(3):
            broker.publish(ROOM, b"%d" % number, ("receipt", number))
        assert broker.stats().waiting_to_publish == 2
        assert pod.told == [(Drop.FULL, "receipt", 2)]
        assert not await broker.is_proven_within(0.01)
        trouble = broker.trouble()
        assert trouble is not None
        assert trouble.code == "no_redis"
    assert pod.told[1:] == [(Drop.EXPIRED, "receipt", 0), (Drop.EXPIRED, "receipt", 1)]


async def test_a_redis_that_goes_away(redis: RedisProcess) -> None:
    """The outage begins with the lost links, and is over with the next proof."""
    async with running(redis.port) as (broker, pod):
        assert await broker.is_proven_within(30)
        redis.kill()
        await eventually(lambda: pod.told.count("link lost") == 2, "both links are lost")
        assert pod.told.count("outage") == 1
        trouble = broker.trouble()
        assert trouble is not None
        assert trouble.code == "no_redis"
        redis.start()
        await eventually(lambda: pod.told[-1] == "outage over", "it is over")
        assert broker.trouble() is None
        assert broker.stats().reconnects == 2


async def test_a_redis_that_hangs(redis: RedisProcess) -> None:
    """No link is lost yet when the proof is overdue, and that is said."""
    async with running(redis.port, timeout=60, proof_interval=0.1) as (broker, pod):
        assert await broker.is_proven_within(30)
        redis.signal(signal.SIGSTOP)
        try:
            await eventually(lambda: pod.told[-1] == "outage", "the outage is noticed")
            trouble = broker.trouble()
            assert trouble is not None
            assert trouble.code == "proof_overdue"
        finally:
            redis.signal(signal.SIGCONT)
        await eventually(lambda: pod.told[-1] == "outage over", "it is over")
        assert "link lost" not in pod.told


async def test_a_close_is_no_outage(redis: RedisProcess) -> None:
    """Of links that are closed on purpose nobody is told, neither then nor later."""
    async with running(redis.port) as (broker, pod):
        assert await broker.is_proven_within(30)
    assert pod.told == ["outage over"]
    async with running(redis.port) as (broker, pod):
        pass
    broker.outage.proven()  # by a canary that was under way
    assert pod.told == []
