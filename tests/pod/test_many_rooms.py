"""Many rooms on one socket, and many sockets with many rooms: what it takes in memory and steps.

The pod, its Redis and its sockets are real; clients' commands are given to the sessions as bytes.
"""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

import pytest
import redis.asyncio

from sanic_chat.broker.publisher import _head
from sanic_chat.config.settings import Config
from sanic_chat.pod.rooms import Wanted
from sanic_chat.presence import presence
from sanic_chat.protocol.personal_room import resolve
from sanic_chat.session.inbound import State
from sanic_chat.session.session import Session
from sanic_chat.worker import Worker

from ..support.frames import client_frame
from ..support.harness import SLOW, RedisProcess, eventually
from ..support.steps import steps, uncounted

ROOMS = 128
SESSIONS = 20
"""A twentieth of the 391 that would be in 50 000 rooms."""

BATCH = 512
"""The most channels in one SUBSCRIBE."""
ROOM_BYTES = 1024
MEMBERSHIP_BYTES = 100
RESUBSCRIBE_SECONDS = 2 * SLOW


class Clients:
    """Sessions of one pod, each with the client's end of its socket."""

    def __init__(self, worker: Worker) -> None:
        self.pod = worker.pod
        self.sockets: list[socket.socket] = []

    async def open(self, *rooms: str, presence: bool = False) -> Session:
        """A session that connects into some rooms."""
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        self.sockets.append(theirs)
        id = self.pod.new_client_id()
        session = Session(self.pod, client_id=id, presence=presence)
        wanted = [Wanted(resolve(room, id), presence) for room in rooms]
        await self.pod.rooms.subscribe(wanted)
        await asyncio.get_running_loop().create_connection(lambda: session, sock=ours)
        self.pod.open(session, wanted, default=None, confirmed=True)
        return session

    def say(self, session: Session, **message: Any) -> None:
        """A client says something, and the pod has handled it."""
        session.data_received(client_frame(0x81, json.dumps({"data": "x", **message}).encode()))

    def ask(self, session: Session, action: str, rooms: list[str]) -> None:
        """Give a command for several rooms."""
        self.say(session, type="system", data={"action": action, "rooms": rooms})

    async def join(self, session: Session, rooms: list[str]) -> None:
        """Join rooms; returns when it is answered."""
        self.ask(session, "join", rooms)
        while self.pod.answers.waiting:
            await asyncio.sleep(0)
        assert set(rooms) <= set(self.pod.rooms.of(session))

    async def rest(self) -> None:
        """End a window; return once no answer and no message is under way; take what came."""
        pod, subscriber = self.pod, self.pod.broker.subscriber
        if pod.presence._window is not None:
            pod.presence._flush()

        def rests() -> bool:
            with uncounted():
                return (
                    not (pod.answers.waiting or pod.hub.held_bytes)
                    and pod.broker.publisher._is_idle
                    and subscriber.confirmed == subscriber.wanted
                )

        while not rests():
            await asyncio.sleep(0.001)
        for client in self.sockets:
            with suppress(BlockingIOError):
                while client.recv(2**20):
                    pass


@asynccontextmanager
async def a_pod(redis: RedisProcess) -> AsyncIterator[Clients]:
    """A pod in which no timer does anything of its own while a test looks."""
    config = Config.from_environment(
        {
            "CHAT_PROOF_INTERVAL": "30",
            "CHAT_HEARTBEAT_TIMEOUT": "3600",
            "CHAT_REDIS_TIMEOUT": "60",
            "CHAT_UNSUBSCRIBE_DELAY": "3600",
            "CHAT_ROOMS_PER_SESSION": "1000",
        }
    )
    worker = Worker(config, redis_url=redis.url, name="test")
    clients = Clients(worker)
    await worker.pod.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presence, "WINDOW_SECONDS", 3600.0)
        worker.pod.presence._complete_from = 0.0  # nobody waits for other pods
        try:
            yield clients
        finally:
            for session in worker.pod.heartbeat.sessions():
                session.abort()
            await worker.pod.closed_sessions.wait()
            await worker.pod.close(1.0)
        for client in clients.sockets:
            client.close()


def names(count: int) -> list[str]:
    """Rooms in which nobody is."""
    prefix = uuid4().hex[:8]
    return [f"{prefix}/{number}" for number in range(count)]


# -- steps -------------------------------------------------------------------------------------


async def joined(clients: Clients, count: int, **options: Any) -> tuple[Session, list[str]]:
    session, rooms = await clients.open(**options), names(count)
    await clients.join(session, rooms)
    await clients.rest()
    return session, rooms


async def join(clients: Clients, count: int, **options: Any) -> int:
    session, rooms = await clients.open(**options), names(count)
    with steps() as taken:
        await clients.join(session, rooms)
        await clients.rest()
    return taken.count


async def leave(clients: Clients, count: int, **options: Any) -> int:
    session, rooms = await joined(clients, count, **options)
    with steps() as taken:
        clients.ask(session, "leave", rooms)
        await clients.rest()
    assert clients.pod.rooms.of(session) == []
    return taken.count


async def leave_while_all_have_something_pending(clients: Clients, count: int) -> int:
    """What was said before is written first, once and not for each room again."""
    session, rooms = await joined(clients, count)
    with steps() as taken:
        for room in rooms:
            clients.say(session, room=room)
        clients.ask(session, "leave", rooms)
        await clients.rest()
    return taken.count


async def close(clients: Clients, count: int) -> int:
    session, _ = await joined(clients, count)
    with steps() as taken:
        session.abort()
        while session.state is not State.CLOSED:
            await asyncio.sleep(0)
        await clients.rest()
    return taken.count


async def close_while_many_linger(clients: Clients, count: int) -> int:
    """More rooms than may stay subscribed to without a member: the oldest are given up."""
    lingering = clients.pod.broker.subscriber._lingering
    for number in range(10_000 - len(lingering)):
        lingering[b"old %d" % number] = False
    return await close(clients, count)


async def lose_the_right_to_all(clients: Clients, count: int) -> int:
    """A new token that allows none of them."""
    session, _ = await joined(clients, count)
    renewal = clients.pod.commands._renewal
    with pytest.MonkeyPatch.context() as patch, steps() as taken:
        patch.setattr(renewal._rooms, "may", lambda *which: False)
        renewal._judge_rooms(session)
        await clients.rest()
    assert clients.pod.rooms.of(session) == []
    return taken.count


async def watch(clients: Clients, count: int) -> int:
    return await join(clients, count, presence=True)


async def watch_no_more(clients: Clients, count: int) -> int:
    return await leave(clients, count, presence=True)


@pytest.mark.parametrize(
    "action",
    [
        join, leave, leave_while_all_have_something_pending, close, close_while_many_linger,
        lose_the_right_to_all, watch, watch_no_more,
    ],
    ids=lambda action: action.__name__,
)  # fmt: skip
async def test_steps_in_proportion(
    shared_redis: RedisProcess, action: Callable[[Clients, int], Any]
) -> None:
    """However many rooms a client is in, one more takes what each of them took."""
    async with a_pod(shared_redis) as clients:
        await action(clients, 8)  # what is made once is there now
        few, some, many = [await action(clients, count) for count in (8, 68, 128)]
    one_more, one_more_of_many = (some - few) / 60, (many - some) / 60
    print(f"{one_more:.0f} steps for each of few rooms, {one_more_of_many:.0f} for each of many")
    # To put what waits in n rooms in order takes n log n, and each watched one has a roster.
    assert one_more_of_many < one_more * (1.25 if action in (watch, watch_no_more) else 1.1)


async def test_the_last_of_many_rooms(shared_redis: RedisProcess) -> None:
    """A message to it takes the steps that one to the first does."""
    async with a_pod(shared_redis) as clients:
        session, rooms = await joined(clients, ROOMS)
        subscriber = clients.pod.broker.subscriber
        taken: dict[str, set[int]] = {rooms[0]: set(), rooms[-1]: set()}
        for attempt in range(100):  # what a busy machine delays may take a few more
            for room, counts in taken.items():
                echoes = subscriber.echoes
                with steps() as counted:
                    clients.say(session, room=room)
                    await clients.rest()
                    while subscriber.echoes == echoes:  # its steps would count for the next one
                        await asyncio.sleep(0.001)
                counts.add(counted.count)
            first, last = map(min, taken.values())
            if attempt > 5 and first == last:
                break
        print(f"{first} steps for a message to the first room, {last} for one to the last")
        assert last == first


# -- memory ------------------------------------------------------------------------------------


@asynccontextmanager
async def traced() -> AsyncIterator[Callable[[], int]]:
    """Yields what tells the bytes that were allocated meanwhile, and are held."""

    def held() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before

    gc.collect()
    tracemalloc.start(1)
    before = tracemalloc.get_traced_memory()[0]
    try:
        yield held
    finally:
        tracemalloc.stop()


async def test_memory(shared_redis: RedisProcess) -> None:
    """Thousands of rooms with one member each, and then as many memberships more."""
    async with a_pod(shared_redis) as clients:
        sessions = [await clients.open() for _ in range(SESSIONS + 1)]
        rooms = [names(ROOMS) for _ in sessions]
        await clients.join(sessions[-1], rooms[-1])
        async with traced() as held:
            for session, some in zip(sessions[:-1], rooms[:-1], strict=True):
                await clients.join(session, some)
            await clients.rest()
            count = SESSIONS * ROOMS
            a_room = held() / count
            print(f"{a_room:.0f} bytes for a room and its member")
            assert a_room < ROOM_BYTES + MEMBERSHIP_BYTES
        async with traced() as held:
            for session in sessions[:-1]:
                await clients.join(session, rooms[-1])
            await clients.rest()
            a_membership = held() / count
            print(f"{a_membership:.0f} bytes for a membership")
            assert a_membership < MEMBERSHIP_BYTES


async def test_ones_own_room(shared_redis: RedisProcess) -> None:
    """To connect with `?room=@me` takes a KiB more than to connect, and one SUBSCRIBE."""
    taken, count = [], 100
    for rooms in ((), ("@me",)):
        async with a_pod(shared_redis) as clients, traced() as held:
            for number in range(1000):  # no more of them are kept, however many come
                _head(b"realtime:presence:@%036d" % number)
            await clients.open(*rooms)
            await clients.rest()
            before = held()
            async with commands_of(shared_redis) as sent:
                for _ in range(count):
                    await clients.open(*rooms)
                await clients.rest()
                names = Counter(name for name, *_ in await sent())
            assert names["SUBSCRIBE"] == count * len(rooms)
            taken.append((held() - before) / count)
    plain, personal = taken
    print(f"{plain:.0f} bytes for a session, {personal - plain:.0f} more for its own room")
    assert personal - plain < 1024


# -- commands to Redis -------------------------------------------------------------------------


@asynccontextmanager
async def commands_of(process: RedisProcess) -> AsyncIterator[Callable[[], Any]]:
    """Yields what tells the commands, as words, that Redis has got of anybody meanwhile."""
    async with (
        redis.asyncio.Redis(port=process.port) as admin,
        redis.asyncio.Redis(port=process.port) as other,
        admin.monitor() as monitor,
    ):

        async def sent() -> list[list[str]]:
            marker = uuid4().hex
            await other.echo(marker)
            commands: list[list[str]] = []
            while not commands or commands[-1][-1] != marker:
                commands.append((await monitor.next_command())["command"].split())
            return commands[:-1]

        yield sent


async def test_a_join_is_one_subscribe(shared_redis: RedisProcess) -> None:
    """However many rooms it names."""
    async with a_pod(shared_redis) as clients, commands_of(shared_redis) as sent:
        _, rooms = await joined(clients, ROOMS)
        subscribes = [command for command in await sent() if command[0] == "SUBSCRIBE"]
        assert [len(command) - 1 for command in subscribes] == [ROOMS]
        other = await clients.open()
        await clients.join(other, rooms)
        assert not [command for command in await sent() if command[0] == "SUBSCRIBE"]


async def test_all_are_subscribed_again(own_redis: RedisProcess) -> None:
    """Soon after a reconnect, in commands that do not hold up Redis for long."""
    async with AsyncExitStack() as stack:
        clients = await stack.enter_async_context(a_pod(own_redis))
        for _ in range(SESSIONS):
            await clients.join(await clients.open(), names(ROOMS))
        await clients.rest()
        subscriber = clients.pod.broker.subscriber
        channels = set(subscriber.wanted)
        sent = await stack.enter_async_context(commands_of(own_redis))
        admin = await stack.enter_async_context(redis.asyncio.Redis(port=own_redis.port))
        assert await admin.client_kill_filter(_type="pubsub") == 1
        await eventually(lambda: not subscriber.is_up, "the connection is lost")
        await eventually(lambda: subscriber.is_up, "it is back", RESUBSCRIBE_SECONDS)
        assert subscriber.confirmed == channels
        assert {name async for name in names_of(admin)} == channels
        subscribes = [command[1:] for command in await sent() if command[0] == "SUBSCRIBE"]
        assert sum(map(len, subscribes)) == len(channels)
        assert max(map(len, subscribes)) <= BATCH


async def names_of(admin: redis.asyncio.Redis) -> AsyncIterator[bytes]:
    for name in await admin.pubsub_channels("*"):
        yield name
