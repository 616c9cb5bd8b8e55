"""The subscriber on its own: Redis knows what is wanted, and not much more."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio

from sanic_chat.broker import subscriber as module
from sanic_chat.broker.endpoint import Endpoint
from sanic_chat.broker.subscriber import BATCH, MAX_LINGERING, Subscriber

from ..support.clients import RawClient, RedisProxy
from ..support.frames import client_frame
from ..support.harness import DEADLINE, RedisProcess, eventually

REQUIRED = b"realtime:global"


class Listening:
    """A subscriber, and what Redis knows of it."""

    def __init__(self, port: int, admin: redis.asyncio.Redis, *, unsubscribe_delay: float) -> None:
        self.needed: set[bytes] = set()
        self.messages: list[bytes] = []
        self.subscriber = Subscriber(
            Endpoint(f"redis://127.0.0.1:{port}"),
            name="subscriber",
            timeout=30,
            unsubscribe_delay=unsubscribe_delay,
            is_needed=self.needed.__contains__,
            echo_prefix=b"own",
            on_refused=lambda channel, error: None,
            on_down=lambda good_until: None,
        )
        self._admin = admin

    async def on_redis(self) -> set[bytes]:
        """The channels that Redis has subscriptions to."""
        return set(await self._admin.pubsub_channels("*"))

    async def joined(self, *channels: bytes) -> None:
        """Want some channels, and wait until Redis has confirmed them."""
        waiters = [self.subscriber.subscribe(channel) for channel in channels]
        await asyncio.wait_for(asyncio.gather(*(w for w in waiters if w is not None)), DEADLINE)

    async def settled(self, wanted: set[bytes]) -> None:
        """Wait until Redis, the subscriber and whoever asks agree."""

        async def agree() -> bool:
            return await self.on_redis() == wanted == self.subscriber.wanted

        await eventually(agree, "Redis knows what is wanted")
        assert self.subscriber.confirmed == wanted


@asynccontextmanager
async def listening(
    process: RedisProcess, *, port: int | None = None, unsubscribe_delay: float = 3600
) -> AsyncIterator[Listening]:
    async with redis.asyncio.Redis(port=process.port) as admin:
        listening = Listening(port or process.port, admin, unsubscribe_delay=unsubscribe_delay)
        listening.subscriber.require(REQUIRED)
        listening.subscriber.start(lambda channel, payload: listening.messages.append(payload))
        try:
            await eventually(lambda: listening.subscriber.is_up, "it is up")
            yield listening
        finally:
            await listening.subscriber.close()


def rooms(*numbers: int) -> list[bytes]:
    return [b"realtime:room:%d" % number for number in numbers]


async def test_lingering_is_bounded(own_redis, monkeypatch):
    """Of channels that nobody needs, the newest linger, and the oldest go at once."""
    monkeypatch.setattr(module, "MAX_LINGERING", 100)
    async with listening(own_redis) as it:
        for start in range(0, 1000, 50):
            some = rooms(*range(start, start + 50))
            await it.joined(*some)
            for channel in some:
                it.subscriber.unsubscribe_later(channel)
        await it.settled({REQUIRED, *rooms(*range(900, 1000))})
        # Whoever comes back has lingered longest again only once he leaves again.
        await it.joined(*rooms(900))
        await it.joined(*rooms(1000))
        for channel in rooms(900, 1000):
            it.subscriber.unsubscribe_later(channel)
        await it.settled({REQUIRED, *rooms(900, *range(902, 1001))})


async def test_what_is_needed_stays(own_redis, monkeypatch):
    """The second look comes before an UNSUBSCRIBE at once too."""
    monkeypatch.setattr(module, "MAX_LINGERING", 1)
    async with listening(own_redis) as it:
        await it.joined(*rooms(1, 2, 3))
        it.needed.update(rooms(1))
        for channel in rooms(1, 2, 3):
            it.subscriber.unsubscribe_later(channel)
        await it.settled({REQUIRED, *rooms(1, 3)})


async def test_gone_and_back_in_one_turn(own_redis, monkeypatch):
    """A channel that is given up at once and wanted again in that turn is heard all the time."""
    monkeypatch.setattr(module, "MAX_LINGERING", 0)
    async with (
        listening(own_redis) as it,
        redis.asyncio.Redis(port=own_redis.port) as outside,
    ):
        [room] = rooms(1)
        for turn in range(5):
            await it.joined(room)
            it.subscriber.unsubscribe_later(room)
            if turn % 2:
                await asyncio.sleep(0)  # UNSUBSCRIBE is on its way
            await it.joined(room)
            assert room in it.subscriber.confirmed
            assert await outside.publish(room.decode(), b"%d" % turn) == 1
            await eventually(
                lambda t=turn: it.messages == [b"%d" % n for n in range(t + 1)], "heard"
            )
        it.subscriber.unsubscribe_later(room)
        await it.settled({REQUIRED})
        assert it.subscriber.link.reconnects == 0


async def test_never_sent(own_redis, monkeypatch):
    """Who joins and leaves in one turn, or while Redis is away, leaves nothing behind."""
    monkeypatch.setattr(module, "MAX_LINGERING", 0)
    async with listening(own_redis) as it:
        for channel in rooms(1, 2, 3):
            waiter = it.subscriber.subscribe(channel)
            it.subscriber.unsubscribe_later(channel)
            assert waiter is not None
            assert waiter.cancelled()
        await it.settled({REQUIRED})
        it.subscriber.link.rebuild("a test")
        await eventually(lambda: not it.subscriber.link.is_up, "it is away")
        for channel in rooms(4, 5):
            it.subscriber.subscribe(channel)
        it.subscriber.unsubscribe_later(rooms(4)[0])
        await eventually(lambda: it.subscriber.is_up, "it is up again")
        await it.settled({REQUIRED, *rooms(5)})
        assert not it.subscriber._waiters


async def test_a_late_unsubscription(own_redis):
    """A channel lingers for its delay, and not much more than twice that."""
    async with listening(own_redis, unsubscribe_delay=0.3) as it:
        await it.joined(*rooms(1, 2))
        it.subscriber.unsubscribe_later(rooms(1)[0])
        await asyncio.sleep(0.2)
        assert set(rooms(1, 2)) <= await it.on_redis()
        await it.settled({REQUIRED, *rooms(2)})


async def test_the_last_one_to_be_confirmed_is_given_up(own_redis, monkeypatch):
    """A subscriber is up once nobody waits for more, also if that is since it was given up."""
    monkeypatch.setattr(module, "MAX_LINGERING", 0)
    with RedisProxy(own_redis.port) as proxy:
        async with listening(own_redis, port=proxy.port) as it:
            await it.joined(*rooms(1))
            own_redis.signal(signal.SIGSTOP)
            try:
                it.subscriber.link.rebuild("a test")
                await eventually(lambda: not it.subscriber.is_up, "it is away")
                it.subscriber.unsubscribe_later(rooms(1)[0])
            finally:
                own_redis.signal(signal.SIGCONT)
            await eventually(lambda: it.subscriber.is_up, "it is up")
            await it.settled({REQUIRED})


async def test_commands_are_cut(own_redis):
    """However many channels are wanted at once, a command has at most BATCH of them."""
    sizes: list[int] = []
    with RedisProxy(own_redis.port) as proxy:
        async with listening(own_redis, port=proxy.port) as it:
            send = it.subscriber.link.send
            it.subscriber.link.send = (
                lambda commands: (  # type: ignore[method-assign]
                    sizes.extend(
                        int(part.split(b"\r\n")[0]) - 1 for part in commands.split(b"*")[1:]
                    ),
                    send(commands),
                )[1]
            )
            await it.joined(*rooms(*range(3 * BATCH + 1)))
            assert sizes == [BATCH, BATCH, BATCH, 1]
            assert it.subscriber.link.reconnects == 0


async def test_a_client_that_joins_everywhere(start_server, own_redis):
    """One that joins and leaves 12 000 rooms keeps at most 10 000 channels subscribed, in all."""
    server = start_server(
        "--single-process",
        REDIS_URL=own_redis.url,
        CHAT_UNSUBSCRIBE_DELAY="3600",
        CHAT_SEND_QUEUE_MESSAGES="100000",
    )

    def command(action: str, room: str) -> bytes:
        data = {"action": action, "room": room}
        return client_frame(0x81, json.dumps({"type": "system", "data": data}).encode())

    async with RawClient(server) as client, redis.asyncio.Redis(port=own_redis.port) as admin:
        assert (await client.request())[0] == 101
        many = MAX_LINGERING + 2000
        for start in range(0, many, 50):
            for number in range(start, start + 50):
                client.send(command("join", f"room-{number}") + command("leave", f"room-{number}"))
            for _ in range(100):
                _, payload = await client.frame()
                assert b'"joined"' in payload or b'"left"' in payload

        async def bounded() -> bool:
            return len(await admin.pubsub_channels("realtime:room:*")) <= MAX_LINGERING

        await eventually(bounded, "most are subscribed to no more")
        assert len(await admin.pubsub_channels("realtime:room:*")) >= MAX_LINGERING - 1
        assert server.pod()["redis"]["reconnects"] == 0
