"""Mutated and random bytes: on upgraded sockets, and on the links to Redis.

What is sent follows from a seed, which a failing test prints. By default it is always the same;
with FUZZ_SECONDS it is a new one each time, or FUZZ_SEED:

    FUZZ_SECONDS=600 python -m pytest tests/test_fuzz.py
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from random import Random
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection

from .clients import RawClient, RedisProxy, running_server
from .frames import client_frame, take_server_frame
from .harness import DEADLINE, RedisProcess, ServerProcess, eventually, memory, receive

SECONDS = float(os.environ.get("FUZZ_SECONDS", "4"))
SEED = int(
    os.environ.get("FUZZ_SEED", Random().getrandbits(32) if "FUZZ_SECONDS" in os.environ else 1)
)
CLIENTS = 4
KEYS = ["id", "type", "room", "from", "data", "timestamp"]
MEMORY_BYTES = 32 * 2**20
"""What a worker may have grown by when all is over: the allocator keeps what it once had."""

pytestmark = pytest.mark.timeout(SECONDS + 60)


@pytest.fixture(autouse=True)
def tell_the_seed() -> None:
    print(f"FUZZ_SEED={SEED} FUZZ_SECONDS={SECONDS:g}")


# -- bytes -----------------------------------------------------------------------------------


def mutate(random: Random, data: bytes) -> bytes:
    """The same with some of its bytes changed, left out, doubled, inserted or moved."""
    stream = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 5))):
        start = random.randrange(len(stream) + 1)
        piece = stream[start : start + random.choice((1, 1, 2, 4, 16, 200))]
        what = random.randrange(6)
        if what == 0 and piece:
            stream[start] ^= 1 << random.randrange(8)
        elif what == 1:
            stream[start : start + len(piece)] = random.randbytes(len(piece))
        elif what == 2:
            del stream[start : start + len(piece)]
        elif what == 3:
            stream[start:start] = piece
        elif what == 4:
            stream[start:start] = random.choice(INSERTS)
        else:
            del stream[start : start + len(piece)]
            elsewhere = random.randrange(len(stream) + 1)
            stream[elsewhere:elsewhere] = piece
    return bytes(stream)


INSERTS = (
    b"\x00", b"\xff" * 8, b"\x7f" + b"\xff" * 8, b"\r\n", b"\r\n\r\n", b"[" * 1000, b"\xed\xa0\x80",
    b"9" * 20, b"-", b"*", b"$", b":1\r\n", b"*-1\r\n", b"$-1\r\n", b"*0\r\n", b"*1000000000\r\n",
    b"$100000\r\n", b"%1\r\n*0\r\n:1\r\n", b"-ERR no\r\n", b"*3\r\n$7\r\nmessage\r\n:1\r\n:2\r\n",
)  # fmt: skip

ROOMS = ("lobby", "kitchen", "*", "[a-z]", "..", "a\r\nb", "\0", "\u202e", "e\u0301", "x" * 200)
FIRST_BYTES = (0x81, 0x81, 0x81, 0x01, 0x80, 0x00, 0x82, 0x88, 0x89, 0x8A, 0xC1, 0x83)
ENDS = (b"", b"\x03", b"\x03\xe8", b"\x03\xe8bye", b"\xff\xff")


def message(random: Random) -> bytes:
    """A message as a client may send it: a chat message, a command, or neither."""
    values = (1, None, "text", {"text": "x" * random.randrange(2000)}, [[[]]], 1e300, 10**400)
    commands = [
        {"action": action, "room": random.choice(ROOMS)}
        for action in ("join", "leave", "ping", "dance")
    ]
    return json.dumps(
        random.choice(
            (
                {"data": random.choice(values)},
                {"data": random.choice(values), "room": random.choice((None, *ROOMS))},
                {"data": random.choice(values), "id": str(uuid4()), "type": "presence"},
                {"data": random.choice(commands), "type": "system"},
                random.choice(values),
            )
        )
    ).encode()


def frames(random: Random) -> bytes:
    """Some frames, most of them good ones."""
    stream = b""
    for _ in range(random.randrange(1, 8)):
        kind = random.randrange(8)
        if kind < 4:
            stream += client_frame(0x81, message(random))
        elif kind < 6:
            text = message(random)
            cut = random.randrange(len(text) + 1)
            stream += client_frame(0x01, text[:cut]) + client_frame(0x89, b"?")
            stream += client_frame(0x80, text[cut:])
        else:
            payload = random.choice((random.choice(ENDS), random.randbytes(random.randrange(200))))
            stream += client_frame(random.choice(FIRST_BYTES), payload)
    return stream


def upgrade_request(random: Random) -> bytes:
    """A good handshake, into some room or none."""
    path = random.choice(("", "/lobby", "/kitchen", "?room=lobby", "?events=system,presence"))
    return RawClient.handshake(f"/ws{path}")


# -- who is disturbed, and who must not be -----------------------------------------------------


def assert_is_message(payload: bytes | str) -> None:
    """Whatever the others do, what a client is sent is a message."""
    assert list(json.loads(payload)) == KEYS, payload


async def talk(
    sender: ClientConnection, listener: ClientConnection, until: Callable[[], bool]
) -> int:
    """Send numbers one by one and receive each of them; returns how many that were."""
    marker = str(uuid4())
    for number in count():
        if until():
            return number
        await sender.send(json.dumps({"data": [marker, number]}))
        async with asyncio.timeout(DEADLINE):
            while True:
                text = await listener.recv()
                assert_is_message(text)
                if json.loads(text)["data"] == [marker, number]:
                    break
        await asyncio.sleep(0.001)
    raise AssertionError("not reached")


@contextmanager
def unharmed(server: ServerProcess) -> Iterator[None]:
    """Meanwhile no worker ends, grows much, or says much."""
    before = {pid: memory(pid) for pid in server.worker_pids}
    lines, started = server.log.count("\n"), time.monotonic()
    yield
    assert server.worker_pids == list(before)
    for pid in before:
        assert memory(pid) - before[pid] < MEMORY_BYTES
    assert "Traceback" not in server.log, server.log[server.log.index("Traceback") - 500 :][:5000]
    assert server.log.count("\n") - lines < 20 + 6 * (time.monotonic() - started)


# -- sockets -----------------------------------------------------------------------------------


@pytest.fixture
def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(REDIS_URL=shared_redis.url, CHAT_UNSUBSCRIBE_DELAY="0.1") as server:
        yield server


async def disturb(server: ServerProcess, random: Random, until: Callable[[], bool]) -> int:
    """One connection after the other with a stream that is more or less wrong."""
    for number in count():
        if until():
            return number
        request, stream = upgrade_request(random), frames(random)
        if random.random() < 0.8:
            stream = mutate(random, stream)
        if random.random() < 0.1:
            stream += random.randbytes(random.randrange(5000))
        if random.random() < 0.2:
            request = mutate(random, request)
        await disturb_once(server, random, request, stream)
    raise AssertionError("not reached")


async def disturb_once(
    server: ServerProcess, random: Random, request: bytes, stream: bytes
) -> None:
    """Send a stream cut anywhere, and look at what comes back until the connection ends."""
    rest = request + stream
    received = b""
    with suppress(OSError):  # the server may have had enough
        async with RawClient(server) as client:
            while rest:
                size = random.choice((1, 7, 100, len(request), len(rest)))
                client.send(rest[:size])
                rest = rest[size:]
                await client.writer.drain()
                if random.random() < 0.5:
                    await asyncio.sleep(0)
            if random.random() < 0.2:
                return  # a reset, wherever the server is in all that
            client.writer.write_eof()
            async with asyncio.timeout(DEADLINE):
                while data := await client.reader.read(65536):
                    received += data
    head, _, body = received.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 101"):
        answer = bytearray(body)
        while (frame := take_server_frame(answer)) is not None:
            if frame[0] == 1:
                assert_is_message(frame[1])


async def test_sockets(server):
    """Whatever is sent, the server goes on, others are served, and what is sent back is right."""
    ends = time.monotonic() + SECONDS

    def over() -> bool:
        return time.monotonic() > ends

    room = f"room-{uuid4()}"
    with unharmed(server):
        async with server.connect(room, echo="0") as sender, server.connect(room) as listener:
            done = await asyncio.gather(
                talk(sender, listener, over),
                *(disturb(server, Random(f"{SEED}-{index}"), over) for index in range(CLIENTS)),
            )
            print("messages of the undisturbed, connections of each that disturbs:", done)
            assert min(done) > SECONDS

            def alone() -> bool:
                totals = server.stats()["pods"]
                [pod] = [pod for pod in totals if pod["pid"] in server.worker_pids]
                return (pod["connections"], pod["rooms"]) == (2, 1)

            await eventually(alone, "nothing is left of the others")


# -- Redis -------------------------------------------------------------------------------------


async def publish_and_listen(
    outside: Redis, client: ClientConnection, room: str, until: Callable[[], bool]
) -> int:
    """Publish to a room from outside again and again; how many of them arrived."""
    arrived = 0
    for number in count():
        if until():
            return arrived
        await outside.publish(f"realtime:room:{room}", json.dumps({"data": [number, "x" * 200]}))
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                while True:
                    text = await client.recv()
                    assert_is_message(text)
                    arrived += json.loads(text)["type"] == "notification"
    raise AssertionError("not reached")


async def test_redis(own_redis: RedisProcess):
    """Whatever Redis seems to answer, own clients are served, and the links recover from it."""
    random = Random(SEED)
    garbled = 0

    def garble(data: bytes) -> bytes:
        nonlocal garbled
        if random.random() < 0.95:
            return data
        garbled += 1
        return mutate(random, data)

    room = f"room-{uuid4()}"
    with (
        RedisProxy(own_redis.port) as proxy,
        running_server(
            REDIS_URL=f"redis://127.0.0.1:{proxy.port}",
            CHAT_REDIS_TIMEOUT="0.5",
            CHAT_SUBSCRIBE_TIMEOUT="0.1",
            CHAT_STATS_INTERVAL="0.1",
        ) as server,
        unharmed(server),
    ):
        async with (
            Redis(port=own_redis.port) as outside,
            server.connect(f"{room}-own", echo="0") as sender,
            server.connect(f"{room}-own") as listener,
            server.connect(room) as client,
        ):
            ends = time.monotonic() + SECONDS

            def over() -> bool:
                return time.monotonic() > ends

            proxy.garble = garble
            done = await asyncio.gather(
                talk(sender, listener, over), publish_and_listen(outside, client, room, over)
            )
            proxy.garble = None
            print(f"own messages, messages from outside: {done}; {garbled=}")
            assert min(*done, garbled) > SECONDS
            proxy.cut()  # what is garbled into something that is awaited ends here at last

            async def crosses() -> bool:
                await outside.publish(f"realtime:room:{room}", '{"data": "end"}')
                with suppress(TimeoutError):
                    while (await receive(client, 0.2))["data"] != "end":
                        pass
                    return True
                return False

            await eventually(crosses, "messages from outside arrive again")
            await eventually(lambda: server.stats()["complete"], "the stats are complete")
