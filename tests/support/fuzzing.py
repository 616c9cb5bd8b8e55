"""What the fuzzing stands on: bytes that are more or less wrong, and who must not be disturbed.

What is sent follows from a seed, which a failing test prints. By default it is always the same;
with FUZZ_SECONDS it is a new one each time, or FUZZ_SEED.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from random import Random
from urllib.parse import quote
from uuid import uuid4

from websockets.asyncio.client import ClientConnection

from .backend import SECRET
from .clients import RawClient
from .frames import client_frame
from .harness import DEADLINE, ServerProcess, memory
from .messages import KEYS

SECONDS = float(os.environ.get("FUZZ_SECONDS", "4"))
SEED = int(
    os.environ.get("FUZZ_SEED", Random().getrandbits(32) if "FUZZ_SECONDS" in os.environ else 1)
)
PATIENCE_SECONDS = 0.1
"""The most that a standstill of this process, however long, counts as waiting."""
MEMORY_BYTES = 32 * 2**20
"""What a worker may have grown by when all is over: the allocator keeps what it once had."""

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

ROOMS = (
    "lobby",
    "kitchen",
    "a/b c",
    "@me",
    "@anna",
    "@%zz",
    "*",
    "[a-z]",
    "..",
    "a\r\nb",
    "\0",
    "\u202e",
    "e\u0301",
    "x" * 200,
)
FIRST_BYTES = (0x81, 0x81, 0x81, 0x01, 0x80, 0x00, 0x82, 0x88, 0x89, 0x8A, 0xC1, 0x83)
ENDS = (b"", b"\x03", b"\x03\xe8", b"\x03\xe8bye", b"\xff\xff")


def message(random: Random) -> bytes:
    """A message as a client may send it: a chat message, a command, or neither.

    It may ask for a receipt, and may name so many rooms as a client may be in, or one more.
    """
    values = (1, None, "text", {"text": "x" * random.randrange(2000)}, [[[]]], 1e300, 10**400)
    commands = [
        {"action": action, "room": random.choice(ROOMS)}
        for action in ("join", "leave", "ping", "rooms", "dance")
    ]
    several = random.choices(ROOMS, k=random.choice((0, 1, 5)))
    several += [f"room-{number}" for number in range(random.choice((0, 3, 128, 129)))]
    commands += [{"action": action, "rooms": several} for action in ("join", "leave")]
    commands.append({"action": "auth", "token": random.choice(("", "a.b.c", "x" * 2000))})
    return json.dumps(
        random.choice(
            (
                {"data": random.choice(values)},
                {"data": random.choice(values), "room": random.choice((None, *ROOMS))},
                {"data": random.choice(values), "id": str(uuid4()), "type": "presence"},
                {
                    "data": random.choice(values),
                    "id": random.choice((str(uuid4()), None)),
                    "room": random.choice((None, *ROOMS)),
                    "ack": random.choice((True, True, "yes")),
                },
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


def api_requests(random: Random) -> bytes:
    """Some requests of a backend on one connection, with its key: good ones, and such as are not.

    They disconnect nobody that there is, and drain no pod.
    """
    requests = b""
    for _ in range(random.randrange(1, 5)):
        target = random.choice(("room", "user", "rooms", "id"))
        room = random.choice(ROOMS)
        posts = [
            {"data": json.loads(message(random)), target: [room] if target == "rooms" else room}
            for _ in range(random.choice((1, 2, 100, 101)))
        ]
        path, body = random.choice(
            (
                ("publish", posts),
                ("publish", {"data": 1, "room": "lobby", "id": str(uuid4())}),
                ("disconnect", {target: room, "code": random.choice((4000, 10**30, None))}),
                ("drain", {"pod_id": room}),
                (f"rooms?prefix={quote(room)}&limit={random.choice(('1', '1e9', ''))}", None),
                (f"{random.choice(('room?name', 'user?id'))}={quote(room)}", None),
            )
        )
        content = b"" if body is None else json.dumps(body).encode()
        method = "GET" if body is None else "POST"
        requests += (
            f"{method} /api/chat-api/{path} HTTP/1.1\r\nHost: here\r\n"
            f"Authorization: Bearer {SECRET}\r\nContent-Length: {len(content)}\r\n\r\n"
        ).encode() + content
    return requests


# -- who is disturbed, and who must not be -----------------------------------------------------


def assert_is_message(payload: bytes | str) -> None:
    """Whatever the others do, what a client is sent is a message."""
    assert list(json.loads(payload)) == KEYS, payload


async def talk(
    sender: ClientConnection,
    listener: ClientConnection,
    until: Callable[[], bool],
    *,
    within: float = DEADLINE,
) -> int:
    """Send numbers one by one and receive each in time; returns how many that were.

    Time in which this process does something else, or nothing, does not count.
    """
    marker = str(uuid4())

    async def hear(number: int) -> None:
        while True:
            text = await listener.recv()
            assert_is_message(text)
            if json.loads(text)["data"] == [marker, number]:
                return

    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(_read_all(sender))
        for number in count():
            if until():
                reading.cancel()
                return number
            await sender.send(json.dumps({"data": [marker, number]}))
            hearing = asyncio.create_task(hear(number))
            for _ in range(round(within / PATIENCE_SECONDS)):
                if (await asyncio.wait({hearing}, timeout=PATIENCE_SECONDS))[0]:
                    break
            else:
                hearing.cancel()
                raise TimeoutError(f"number {number} did not arrive")
            hearing.result()
            await asyncio.sleep(0.001)
    raise AssertionError("not reached")


async def _read_all(client: ClientConnection) -> None:
    """Take what a client gets that others send to everybody, or it would be a slow consumer."""
    async for text in client:
        assert_is_message(text)


@contextmanager
def unharmed(server: ServerProcess, *, memory_bytes: int = MEMORY_BYTES) -> Iterator[None]:
    """Meanwhile no worker ends, grows much, or says much."""
    before = {pid: memory(pid) for pid in server.worker_pids}
    lines, started = server.log.count("\n"), time.monotonic()
    yield
    assert server.worker_pids == list(before)
    for pid in before:
        assert memory(pid) - before[pid] < memory_bytes
    assert "Traceback" not in server.log, server.log[server.log.index("Traceback") - 500 :][:5000]
    assert server.log.count("\n") - lines < 20 + 6 * (time.monotonic() - started)
