"""What only many frames, or many clients, can do, in any mixture: the shapes of past failures.

Bursts behind the handshake, commands between messages, mass resets, and crowds that watch each
other come and go. Each shape has the sizes, rooms and order that the seed says; see fuzzing.py.

    FUZZ_SECONDS=600 python -m pytest tests/hostile/test_fuzz_shapes.py
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from random import Random
from uuid import uuid4

import pytest
from websockets.exceptions import ConnectionClosed

from ..support.clients import RawClient, running_server
from ..support.crowd import connect_all
from ..support.frames import client_frame, take_server_frame
from ..support.fuzzing import SECONDS, SEED, assert_is_message, frames, message, talk, unharmed
from ..support.harness import DEADLINE, SLOW, RedisProcess, ServerProcess, eventually

CLIENTS = 3
"""Shapes that go on at the same time."""

REPLY_SECONDS = 3 * SLOW
"""Within these the undisturbed get each of their messages."""

MEMORY_BYTES = 96 * 2**20
"""Besides: 64 MiB may wait in all send queues together."""

pytestmark = pytest.mark.timeout(SECONDS + 110)

TEXT, PING = 0x81, 0x89
ROOMS = ("lobby", "kitchen", "hall")
"""Rooms in which clients of different shapes meet."""

EVENTS = ("", "?events=presence", "?events=system,presence", "?echo=0&events=presence")


@pytest.fixture(autouse=True)
def tell_the_seed() -> None:
    print(f"FUZZ_SEED={SEED} FUZZ_SECONDS={SECONDS:g}")


@pytest.fixture
def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    """Queues and bounds are small, so that a crowd of a test reaches them.

    A client may stand still for longer than one usually has for its handshake.
    """
    with running_server(
        REDIS_URL=shared_redis.url,
        CHAT_HANDSHAKE_TIMEOUT="60",
        CHAT_UNSUBSCRIBE_DELAY="0.1",
        CHAT_SEND_QUEUE_BYTES="131072",
        CHAT_BACKPRESSURE_BYTES=str(2**20),
    ) as server:
        yield server


# -- parts -----------------------------------------------------------------------------------


def text(value: object) -> bytes:
    """A frame with a message."""
    return client_frame(TEXT, json.dumps(value).encode())


def command(action: str, room: str | None = None, id: str | None = None) -> bytes:
    """A frame with a command."""
    given = {"type": "system", "data": {"action": action, "room": room}}
    return text({**given, "id": id} if id else given)


def several(action: str, rooms: list[str], id: str | None = None) -> bytes:
    """A frame with a command for several rooms."""
    given = {"type": "system", "data": {"action": action, "rooms": rooms}}
    return text({**given, "id": id} if id else given)


def asking(room: str | None, id: str | None = None) -> bytes:
    """A frame with a message that asks for a receipt."""
    return text({"data": "?", "room": room, "id": id or str(uuid4()), "ack": True})


def burst(random: Random) -> bytes:
    """Up to some thousand frames: small ones of one kind, or of all kinds in turn."""
    kinds = (
        lambda: text({"data": "x" * random.randrange(200)}),
        lambda: client_frame(PING, b"?" * random.choice((0, 125))),
        lambda: command(random.choice(("join", "leave", "ping")), random.choice(ROOMS)),
        lambda: text({"data": 1, "room": random.choice((None, *ROOMS))}),
        lambda: asking(random.choice((None, *ROOMS))),
        lambda: several(random.choice(("join", "leave")), [*ROOMS, "@me", "a b", "*"]),
        lambda: client_frame(TEXT, message(random)),
        lambda: frames(random),
    )
    chosen = random.sample(kinds, random.randrange(1, len(kinds)))
    number = random.choice((1, 64, 65, 128, 1000, 3000))
    return b"".join(chosen[index % len(chosen)]() for index in range(number))


@asynccontextmanager
async def deaf_client(server: ServerProcess, path: str) -> AsyncIterator[None]:
    """A client that has got its 101, or no answer in time, and reads no further."""
    async with RawClient(server, receive_buffer=4096) as client:
        client.writer.transport.pause_reading()
        client.send(RawClient.handshake(path))
        yield


# -- shapes ----------------------------------------------------------------------------------


async def burst_behind_a_handshake(server: ServerProcess, random: Random) -> None:
    """All in one packet; then the client reads to the end, or reads nothing, or is reset."""
    path = random.choice((f"/ws/{random.choice(ROOMS)}", "/ws")) + random.choice(EVENTS)
    how = random.choice(("reads", "reads", "is deaf", "is reset"))
    async with RawClient(server, receive_buffer=4096 if how == "is deaf" else None) as client:
        client.send(RawClient.handshake(path) + burst(random))
        if how != "reads":
            await asyncio.sleep(0.2 * random.random() if how == "is deaf" else 0)
            return
        received = b""
        with suppress(OSError):  # the server may have had enough
            client.writer.write_eof()
            async with asyncio.timeout(DEADLINE):
                while data := await client.reader.read(2**16):
                    received += data
    head, _, body = received.partition(b"\r\n\r\n")
    assert not head or head.startswith(b"HTTP/1.1 101"), head
    answer = bytearray(body)
    while (frame := take_server_frame(answer)) is not None:
        if frame[0] == 1:
            assert_is_message(frame[1])


async def commands_between_messages(server: ServerProcess, random: Random) -> None:
    """Who reads gets its messages in order, its answers in the order of the commands, and one
    receipt for each message that asked."""
    own = f"room-{uuid4()}"
    rooms = [own, f"{own}-other", random.choice(ROOMS)]
    said: list[str] = []
    asked: list[str] = []
    receipts: Counter[str] = Counter()
    stream = command("join", rooms[1])
    for number in range(random.choice((10, 200, 600))):
        id = str(uuid4())
        if random.random() < 0.5:
            said.append(id)
            room = rooms[number % 2] if random.random() < 0.9 else rooms[2]
            if random.random() < 0.3:
                receipts[id] = 1
                stream += asking(room, id)
            else:
                stream += text({"data": number, "id": id, "room": room})
        elif random.random() < 0.2:
            asked.append(id)
            many = [f"{own}-{index}" for index in range(random.choice((1, 5, 100)))]
            stream += several(random.choice(("join", "leave")), [*many, rooms[2]], id)
        else:
            asked.append(id)
            stream += command(random.choice(("ping", "ping", "join", "leave")), rooms[2], id)
    last = str(uuid4())
    stream += command("ping", id=last)
    heard: list[str] = []
    answered: list[str] = []
    refused: set[str] = set()
    told: Counter[str] = Counter()
    async with server.connect(own) as client:
        client.transport.write(stream)
        async with asyncio.timeout(DEADLINE):
            while not answered or answered[-1] != last or told.total() < receipts.total():
                received = json.loads(await client.recv())
                if received["from"] != "server":
                    heard.append(received["id"])
                elif received["data"]["event"] in ("ack", "nack"):
                    told[received["data"]["id"]] += 1
                elif received["data"].get("code") == "not_in_room":
                    told[received["data"]["id"]] += received["data"]["id"] in receipts
                    refused.add(received["data"]["id"])
                elif received["data"].get("id") or received["data"]["event"] == "error":
                    answered.append(received["data"]["id"])
        client.transport.abort()  # what others said in the meantime would keep it from closing
    own_messages = [id for id in heard if id in set(said)]
    assert own_messages == [id for id in said if id not in refused]
    assert answered == [id for id in asked if id not in refused] + [last]
    assert told == receipts


async def crowd_in_many_rooms(server: ServerProcess, random: Random) -> None:
    """Each joins most of 128 rooms, twice, asks for receipts in them, leaves them, and is reset
    somewhere in all that, or reads to the end."""
    prefix = random.choice(("crowd", str(uuid4())))
    rooms = [f"{prefix}/{number}" for number in range(120)] + ["@me", *ROOMS]
    for _ in range(random.choice((1, 5, 20))):
        some = random.sample(rooms, random.choice((2, len(rooms))))
        last = str(uuid4())
        stream = several("join", some) * 2
        stream += b"".join(asking(room) for room in random.choices(some, k=random.choice((1, 100))))
        stream += several("leave", some[1:]) + several("join", some) * random.randrange(2)
        stream += command("ping", id=last)
        events = random.choice(EVENTS)
        async with RawClient(server) as client:
            client.send(RawClient.handshake(f"/ws{events}") + stream)
            if random.random() < 0.5:
                await asyncio.sleep(0.1 * random.random())
                continue
            await client.reader.readuntil(b"\r\n\r\n")
            async with asyncio.timeout(DEADLINE):
                while last.encode() not in (await client.frame())[1]:
                    pass


async def mass_reset(server: ServerProcess, random: Random) -> None:
    """A crowd says more than a turn handles, and most of it is reset in the middle of that."""
    path = f"/ws/{random.choice((*ROOMS, str(uuid4())))}{random.choice(EVENTS)}"
    clients, messages = random.choice(((5, 200), (50, 1), (50, 70), (150, 1), (150, 5)))
    crowd = await connect_all(server.port, [path] * clients)
    texts = [json.dumps({"data": "x" * random.randrange(100)})] * messages
    for client in crowd:
        if random.random() < 0.7:
            client.send_texts(texts)
    if random.random() < 0.5:
        await asyncio.sleep(0.05 * random.random())
    share = random.random()
    for client in crowd:
        if random.random() < share:
            client.abort()
    for client in crowd:
        client.leave()
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*(client.ended for client in crowd))


async def crowd_that_watches_itself(server: ServerProcess, random: Random) -> None:
    """Some do not read, somebody fills their queues, and others come and go meanwhile."""
    room = random.choice((*ROOMS, str(uuid4())))
    async with AsyncExitStack() as stack:
        for _ in range(random.choice((1, 10, 60, 300))):
            events = random.choice(EVENTS[1:])
            await stack.enter_async_context(deaf_client(server, f"/ws/{room}{events}"))
        with suppress(ConnectionClosed):  # the speaker gets it all back, and may be too slow for it
            async with server.connect(room, echo="0") as speaker, server.connect() as other:
                large = json.dumps({"data": "x" * random.choice((100, 16_000, 60_000))})
                for _ in range(random.choice((1, 20, 60))):
                    await speaker.send(large)
                for number in range(random.choice((0, 300))):
                    await speaker.send(json.dumps({"data": number}))
                toggles = (command("join", room) + command("leave", room)) * random.choice((1, 300))
                other.transport.write(toggles)
                await asyncio.sleep(0.3 * random.random())
                speaker.transport.abort()
                other.transport.abort()


SHAPES: tuple[Callable[[ServerProcess, Random], Awaitable[None]], ...] = (
    burst_behind_a_handshake,
    commands_between_messages,
    mass_reset,
    crowd_that_watches_itself,
    crowd_in_many_rooms,
)


async def disturb(server: ServerProcess, random: Random, until: Callable[[], bool]) -> int:
    """One shape after the other; returns how many that were."""
    for number in count():
        if until():
            return number
        shape = random.choice(SHAPES)
        try:
            await shape(server, random)
        except Exception as error:
            error.add_note(f"in the {number}th shape, {shape.__name__}")
            raise
    raise AssertionError("not reached")


async def test_shapes(server: ServerProcess) -> None:
    """Whatever crowds do, others are served in time, and nothing is left of it."""
    ends = time.monotonic() + SECONDS

    def over() -> bool:
        return time.monotonic() > ends

    room = f"room-{uuid4()}"
    with unharmed(server, memory_bytes=MEMORY_BYTES):
        async with server.connect(room, echo="0") as sender, server.connect(room) as listener:
            done = await asyncio.gather(
                talk(sender, listener, over, within=REPLY_SECONDS),
                *(disturb(server, Random(f"{SEED}-{index}"), over) for index in range(CLIENTS)),
            )
            print("messages of the undisturbed, shapes of each that disturbs:", done)
            assert min(done) > 0

            def alone() -> bool:
                pod = server.pod()
                left = (pod["connections"], pod["rooms"], pod["backlog"]["bytes"])
                return left == (2, 1, 0) and pod["send_queues"]["bytes"] == 0

            await eventually(alone, "nothing is left of the others")
            assert server.pod()["sessions_failed"] == 0
