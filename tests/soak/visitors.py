"""Clients that come and go: good ones, slow ones, rude ones, and such as are no clients at all.

Each stays for a moment, and insists on what a client of its kind is promised, whatever happens to
Redis meanwhile.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any
from uuid import uuid4

import httpx

from ..support.backend import backend
from ..support.clients import RawClient
from ..support.frames import client_frame
from ..support.harness import DEADLINE, SLOW, ServerProcess

TEXT, CLOSE = 1, 8
SHARED_ROOMS = 20
PAUSE_SECONDS = 0.1
"""How long it may be until the next one comes, when one has left."""
SLOW_ONE_ASKS = 250
"""Of 30 KB each: more than the kernel and a send queue of 256 KiB take for a client."""


class UpgradeRequest:
    """A raw client that has been let in, and speaks JSON."""

    def __init__(self, client: RawClient) -> None:
        self.client = client

    def say(self, **message: Any) -> None:
        """Send a message."""
        self.client.send(client_frame(0x81, json.dumps(message).encode()))

    def command(self, action: str, room: str) -> None:
        """Send a command."""
        self.say(type="system", data={"action": action, "room": room})

    async def command_many(self, action: str, event: str, rooms: list[str]) -> None:
        """Send a command for many rooms, and have its answer."""
        self.say(type="system", data={"action": action, "rooms": rooms})
        answer = await self.hear_event(event)
        assert answer["rooms"] == [{"room": room} for room in rooms]

    def ask(self, **message: Any) -> str:
        """Say something, and ask for a receipt; returns its ID."""
        id = str(uuid4())
        self.say(**message, id=id, ack=True)
        return id

    async def hear_receipts(self, ids: list[str]) -> None:
        """Skip messages until all these have their receipt; one that comes twice is an error."""
        waiting = set(ids)
        while waiting:
            message = await self.hear(lambda message: message["type"] == "system")
            if message["data"]["event"] in ("ack", "nack"):
                waiting.remove(message["data"]["id"])

    async def hear(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Skip messages until one that is wanted."""
        while True:
            opcode, payload = await self.client.frame()
            assert opcode == TEXT, f"opcode {opcode}: {payload!r}"
            message: dict[str, Any] = json.loads(payload)
            if wanted(message):
                return message

    async def hear_data(self, data: Any) -> None:
        """Skip messages until one with that `data`."""
        await self.hear(lambda message: message["data"] == data)

    async def hear_event(self, event: str) -> dict[str, Any]:
        """Skip messages until a system message of that event; returns its data."""
        message = await self.hear(
            lambda message: message["type"] == "system" and message["data"]["event"] == event
        )
        return dict(message["data"])

    async def leave(self, code: int = 1000) -> None:
        """Close as one should."""
        self.client.send(client_frame(0x88, code.to_bytes(2)))
        assert await self.client.close_code() == code


@asynccontextmanager
async def accept(
    server: ServerProcess, path: str = "", **settings: Any
) -> AsyncIterator[UpgradeRequest]:
    async with RawClient(server, **settings) as client:
        status, _, body = await client.request("/api/chat-api/ws" + path)
        assert status == 101, body
        yield UpgradeRequest(client)


# -- who comes ---------------------------------------------------------------------------------


async def room_founder(server: ServerProcess, random: Random) -> None:
    """Has a room of its own, and leaves it behind."""
    async with accept(server, f"/{uuid4()}") as visitor:
        for number in range(random.randrange(1, 5)):
            visitor.say(data=number)
            await visitor.hear_data(number)
        await visitor.leave()


async def room_changer(server: ServerProcess, random: Random) -> None:
    """Joins rooms by command, speaks in each, and leaves some of them again."""
    async with accept(server, random.choice(("", "?events=presence", "?echo=1"))) as visitor:
        rooms = [str(uuid4()) for _ in range(random.randrange(1, 6))]
        for room in [*rooms, "lounge"]:
            visitor.command("join", room)
            assert (await visitor.hear_event("joined"))["room"] == room
        for room in rooms:
            visitor.say(data=room, room=room)
            await visitor.hear_data(room)
        for room in random.sample(rooms, len(rooms) // 2):
            visitor.command("leave", room)
            assert (await visitor.hear_event("left"))["room"] == room
        if random.random() < 0.5:
            await visitor.leave()


async def room_collector(server: ServerProcess, random: Random) -> None:
    """Is in very many rooms at once, and leaves many of them at once."""
    async with accept(server, random.choice(("/lounge", "?events=presence"))) as visitor:
        rooms = [f"many/{random.randrange(SHARED_ROOMS)}", *(str(uuid4()) for _ in range(99))]
        await visitor.command_many("join", "joined", rooms)
        for room in (rooms[0], rooms[-1]):
            marker = str(uuid4())
            visitor.say(data=marker, room=room)
            await visitor.hear_data(marker)
        await visitor.command_many("leave", "left", random.sample(rooms, 60))
        if random.random() < 0.5:
            await visitor.leave()


async def doubter(server: ServerProcess, random: Random) -> None:
    """Wants a receipt for whatever it says, and gets one for each; or is gone before that."""
    async with accept(server, "/lounge?echo=0") as visitor:
        ids = [visitor.ask(data=number) for number in range(random.randrange(1, 50))]
        if random.random() < 0.8:
            await visitor.hear_receipts(ids)
            await visitor.leave()


async def onlooker(server: ServerProcess, random: Random) -> None:
    """Watches who is in a room, asks for it, and goes in some way."""
    room = f"watched/{random.randrange(SHARED_ROOMS)}"
    async with accept(server, "?events=system,presence") as visitor:
        user = (await visitor.hear_event("welcome"))["user"]
        visitor.say(type="system", data={"action": "join", "room": room, "presence": True})
        for action in ("who", None):
            roster = await visitor.hear(
                lambda message: (
                    message["type"] == "presence" and message["data"]["event"] == "roster"
                )
            )
            assert user in [member["user"] for member in roster["data"]["members"]]
            if action is not None:
                visitor.command(action, room)
        if random.random() < 0.5:
            visitor.command("leave", room)
            await visitor.hear_event("left")
        if random.random() < 0.7:
            await visitor.leave(random.choice((1000, 1001)))


async def listener(server: ServerProcess, random: Random) -> None:
    """Wants to be told everything."""
    async with accept(server, "/lounge?events=system,presence") as visitor:
        await visitor.hear_event("welcome")
        marker = str(uuid4())
        visitor.say(data=marker)
        await visitor.hear_data(marker)
        await visitor.leave()


async def rude_one(server: ServerProcess, random: Random) -> None:
    """Is gone in the middle of a frame, without a word."""
    async with accept(server, random.choice(("", "/lounge", f"/{uuid4()}"))) as visitor:
        frame = client_frame(0x81, json.dumps({"data": "x" * 3000}).encode())
        visitor.client.send(frame * random.randrange(3) + frame[: random.randrange(len(frame))])
        await visitor.client.writer.drain()


async def impatient_one(server: ServerProcess, random: Random) -> None:
    """Is gone before it has been let in."""
    async with RawClient(server) as client:
        request = client.handshake(f"/ws/{uuid4()}")
        client.send(request[: random.randrange(2 * len(request))])
        await client.writer.drain()
        await asyncio.sleep(random.choice((0, 0, 0.001, 0.01)))


BAD_HANDSHAKES: tuple[tuple[str, dict[str, str | None], int], ...] = (
    ("/ws/lounge", {"Sec_WebSocket_Version": "8"}, 426),
    ("/ws/lounge", {"Upgrade": None}, 426),
    ("/ws/lounge", {"Sec_WebSocket_Key": "short"}, 400),
    ("/ws/%20", {}, 400),
    ("/ws/one?room=two", {}, 400),
    ("/ws?events=everything", {}, 400),
    ("/ws", {"Origin": "https://elsewhere.example"}, 403),
)


async def bad_handshaker(server: ServerProcess, random: Random) -> None:
    """Is not let in."""
    path, changes, expected = random.choice(BAD_HANDSHAKES)
    async with RawClient(server) as client:
        status, _, body = await client.request(path, **changes)
        assert status == expected, body
    async with RawClient(server) as client:
        client.send(random.choice((b"\x16\x03\x01\x02\x00", b"hello\r\n\r\n", b"GET / HTTP/9\r\n")))
        await client.writer.drain()


async def babbler(server: ServerProcess, random: Random) -> None:
    """Sends what is no message, is told so, and then breaks the protocol."""
    async with accept(server, "/lounge") as visitor:
        for text, code in (
            ("{", "bad_json"),
            ("[]", "bad_message"),
            ('{"data": 1, "room": "a  b"}', "bad_room"),
            (f'{{"data": 1, "room": "{uuid4()}"}}', "not_in_room"),
            ('{"type": "system", "data": {"action": "dance"}}', "unknown_action"),
        ):
            visitor.client.send(client_frame(0x81, text.encode()))
            told = await visitor.hear_event("error")
            assert told["code"] == code, told
        frame, close_code = random.choice(
            (
                (client_frame(0x82, b"\0"), 1003),
                (client_frame(0x81, b"\xff"), 1007),
                (client_frame(0x81, b"{}", masked=False), 1002),
                (client_frame(0x81, b"x" * 66_000), 1009),
            )
        )
        visitor.client.send(frame)
        assert await visitor.client.close_code() == close_code


async def slow_one(server: ServerProcess, random: Random) -> None:
    """Reads too late, and is closed with 1013; when too late even for that, it tries again."""
    while (code := await ask_too_much(server)) is None:
        pass
    assert code == 1013


async def ask_too_much(server: ServerProcess) -> int | None:
    """Have much sent, and join rooms meanwhile, before reading; returns the close code, if any."""
    async with accept(server, f"/{uuid4()}?events=system", receive_buffer=4096) as visitor:
        with suppress(
            ConnectionError
        ):  # the heartbeat waits no longer for an answering close frame
            for _ in range(SLOW_ONE_ASKS):
                visitor.ask(data="x" * 30_000)
                visitor.command("join", str(uuid4()))
                await visitor.client.writer.drain()
        return await visitor.client.close_code()


async def silent_one(server: ServerProcess, random: Random) -> None:
    """Says half of what it wants, and waits until it is thrown out."""
    async with RawClient(server) as client:
        client.send(random.choice((b"", b"GET /ws/lounge HTTP/1.1\r\nHost: here\r\n")))
        with suppress(ConnectionError):
            await client.reader.read()


async def dead_one(server: ServerProcess, random: Random) -> None:
    """Has been let in, and gives no sign of life any more."""
    async with accept(server, f"/{uuid4()}") as visitor:
        assert await visitor.client.close_code() is None


async def web_visitor(server: ServerProcess, random: Random) -> None:
    """Wants web pages, on one connection, and leaves it open as long as it is there."""
    async with RawClient(server) as client:
        for _ in range(random.randrange(1, 4)):
            path = random.choice(("/", "/health", "/ready", "/ws/stats", "/nothing"))
            status, _, _ = await client.request(path, Upgrade=None, Connection="keep-alive")
            assert status in {"/nothing": (404,), "/ready": (200, 503)}.get(path, (200,))


async def backend_program(server: ServerProcess, random: Random) -> None:
    """Speaks to a client, asks where it is, may send it away; is told if that can't be now.

    What was published arrives, or the client hears of a gap; what is complete has the client in it.
    """
    room, id = str(uuid4()), str(uuid4())
    async with (
        accept(server, f"/{room}?events=system") as visitor,
        backend(server.http) as program,
    ):
        welcome = await visitor.hear_event("welcome")
        user, client_id = welcome["user"], welcome["client_id"]
        tries = [_told(await program.publish(id, rooms=[room, "lounge"], id=id)) for _ in range(2)]
        if any(tries):
            await visitor.hear(lambda message: message["data"] == id or _is_gap(message))
        page = _told(await program.get("/rooms", prefix=room))
        assert not page.get("complete") or page["rooms"] == [{"name": room, "sessions": 1}]
        page = _told(await program.get("/room", name=room))
        assert not page.get("complete") or page["members"] == [{"user": user, "sessions": 1}]
        page = _told(await program.get("/user", id=user))
        if page.get("complete"):
            [session] = page["sessions"]
            assert (session["client_id"], session["rooms"]) == (client_id, [room])
        if random.random() < 0.5:
            await visitor.leave()
            return
        whom = random.choice(({"client_id": client_id}, {"user": user}))
        answer = _told(await program.post("/disconnect", {**whom, "code": 4001}))
        if answer.get("disconnected"):
            assert await visitor.client.close_code() == 4001
        else:
            assert not answer.get("complete")


def _told(answer: httpx.Response) -> dict[str, Any]:
    """What a backend is told; of what can't be now that it is not complete, and nothing else."""
    if answer.status_code == 503:
        assert answer.headers["retry-after"].isdigit()
        return {}
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def _is_gap(message: dict[str, Any]) -> bool:
    return message["type"] == "system" and message["data"]["event"] == "gap"


Kind = Callable[[ServerProcess, Random], Awaitable[None]]

BRIEF: tuple[Kind, ...] = (
    room_founder, room_changer, room_collector, doubter, onlooker, listener, rude_one,
    impatient_one, bad_handshaker, babbler, web_visitor, backend_program,
)  # fmt: skip
BRIEF_AT_A_TIME = 4
KINDS = (*BRIEF, slow_one, silent_one, dead_one)


async def come_and_go(
    server: ServerProcess, random: Random, until: Callable[[], bool]
) -> Counter[str]:
    """Visits of every kind, several at a time, until it is over; how many there were, by kind."""
    visits: Counter[str] = Counter()

    async def visit(kind: Kind) -> None:
        try:
            async with asyncio.timeout(SLOW * DEADLINE):
                await kind(server, random)
        except BaseException as error:
            error.add_note(f"the visitor was a {kind.__name__}")
            raise
        visits[kind.__name__] += 1

    async def one_after_the_other(*kinds: Kind) -> None:
        while not until():
            await visit(random.choice(kinds))
            await asyncio.sleep(random.uniform(0, PAUSE_SECONDS))

    async with asyncio.TaskGroup() as group:
        group.create_task(visit(dead_one))
        group.create_task(one_after_the_other(slow_one))
        group.create_task(one_after_the_other(silent_one))
        for _ in range(BRIEF_AT_A_TIME):
            group.create_task(one_after_the_other(*BRIEF))
    return visits
