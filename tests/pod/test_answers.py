"""Answers come in the order of the commands, however long Redis takes, and few of them wait."""

from __future__ import annotations

import asyncio
import json
import signal
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from sanic_chat.pod.answers import MAX_WAITING, MAX_WAITING_ROOMS, Answers
from sanic_chat.session.inbound import Hold

from ..support.clients import receive_until
from ..support.harness import RedisProcess, ServerProcess, StartServer, memory, receive


def command(action: str, room: str | None = None) -> str:
    data = {"action": action} if room is None else {"action": action, "room": room}
    return json.dumps({"type": "system", "id": str(uuid4()), "data": data})


async def answers(client, count: int) -> list[dict]:
    return [(await receive(client))["data"] for _ in range(count)]


@pytest.fixture
def server(redis: RedisProcess, start_server: StartServer) -> ServerProcess:
    return start_server("--single-process", REDIS_URL=redis.url, CHAT_REDIS_TIMEOUT="30")


def ids(commands: list[str]) -> list[str]:
    return [json.loads(text)["id"] for text in commands]


async def test_in_the_order_of_the_commands(server: ServerProcess, redis: RedisProcess):
    """While Redis stands still answers wait, and then come in order, errors among them."""
    async with server.connect() as client:
        sent = [
            command("join", "a"),
            command("leave", "a"),
            command("ping"),
            command("leave", "never joined"),
            command("leave", "never-joined"),
            command("join", "b"),
        ]
        redis.signal(signal.SIGSTOP)
        for text in sent:
            await client.send(text)
        await client.send('{"data": "it is served meanwhile"}')
        assert (await receive(client))["data"] == "it is served meanwhile"
        redis.signal(signal.SIGCONT)
        given = await answers(client, len(sent))
        assert [answer["event"] for answer in given] == [
            "joined", "left", "pong", "error", "error", "joined",
        ]  # fmt: skip
        assert [answer["id"] for answer in given] == ids(sent)


async def test_one_join_again_and_again(server: ServerProcess, redis: RedisProcess):
    """A client that repeats one join while Redis stands still is not listened to; none is lost."""
    async with server.connect("one") as client, server.connect("two") as other:
        redis.signal(signal.SIGSTOP)
        sent = [command("join", "a") for _ in range(20_000)]
        before = memory(server.worker_pids[0])

        async def send() -> None:
            for text in sent:
                await client.send(text)

        sending = asyncio.create_task(send())
        for number in range(50):
            await other.send(json.dumps({"data": number}))
            assert await receive_until(other, number) == []
            await asyncio.sleep(0.02)
        assert memory(server.worker_pids[0]) - before < 16 * 1024 * 1024
        redis.signal(signal.SIGCONT)
        given = await answers(client, len(sent))
        await sending
        assert [answer["id"] for answer in given] == ids(sent)
        assert {answer["event"] for answer in given} == {"joined"}


async def test_many_rooms_at_once(server: ServerProcess, redis: RedisProcess):
    """More commands than may wait are answered all the same, in order."""
    async with server.connect() as client:
        redis.signal(signal.SIGSTOP)
        sent = [command("join", "a")]
        sent += [command("ping") for _ in range(MAX_WAITING * 2)]
        for text in sent:
            await client.send(text)
        redis.signal(signal.SIGCONT)
        assert [answer["id"] for answer in await answers(client, len(sent))] == ids(sent)


async def test_redis_goes_away(start_server: StartServer, redis: RedisProcess):
    """Who waits for a Redis that is lost is answered then: it is in the room on its own pod."""
    server = start_server("--single-process", REDIS_URL=redis.url, CHAT_REDIS_TIMEOUT="1")
    async with server.connect() as client:
        redis.signal(signal.SIGSTOP)
        await client.send(command("join", "a"))
        assert (await receive(client))["data"]["event"] == "joined"
        redis.signal(signal.SIGCONT)


async def test_who_goes_does_not_wait(server: ServerProcess, redis: RedisProcess):
    """A client that closes while its answer waits is gone, and nothing is kept of it."""
    async with server.connect() as client:
        redis.signal(signal.SIGSTOP)
        await client.send(command("join", "a"))
        await client.close()
        assert client.close_code == 1000
        redis.signal(signal.SIGCONT)
    async with server.connect() as client:
        await client.send(command("join", "a"))
        assert (await receive(client))["data"]["event"] == "joined"
    assert "Traceback" not in server.log


# -- on its own --------------------------------------------------------------------------------


class Asker:
    """A session, as far as answers go: what holds it, and what it was sent."""

    def __init__(self) -> None:
        self.holds: set[Hold] = set()
        self.hold, self.release = self.holds.add, self.holds.discard
        self.sent: list[Any] = []


@pytest.fixture
def alone() -> Any:
    """Answers of a pod without Redis."""
    hub = SimpleNamespace(catch_up=lambda session: None)
    notifier = SimpleNamespace(send=lambda session, event: session.sent.append(event))
    return Answers(hub, notifier)  # type: ignore[arg-type]


def ask(answers: Any, session: Asker, event: str, room: str) -> asyncio.Future[None]:
    """Answer when the subscription is confirmed, which the result stands for."""
    confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    answers.send_when(session, {room: confirmed}, lambda refused: "refused" if refused else event)
    return confirmed


async def test_two_that_wait_for_one_room_hold_their_session(alone: Any):
    """Nothing more is read from it until the first of them is sent, with what came behind it."""
    session = Asker()
    confirmed = ask(alone, session, "first", "a")
    other = ask(alone, session, "other", "b")
    assert not session.holds
    again = ask(alone, session, "again", "a")
    assert session.holds == {Hold.ANSWER}
    for future in (confirmed, other, again):
        future.set_result(None)
        await asyncio.sleep(0)
    assert session.sent == ["first", "other", "again"]
    assert not session.holds


async def test_few_may_wait(alone: Any):
    """A session is held once so many answers wait behind one that Redis has to confirm."""
    session = Asker()
    confirmed = ask(alone, session, "joined", "a")
    for number in range(MAX_WAITING - 2):
        alone.send(session, number)
    assert not session.holds
    alone.send(session, "last")
    assert session.holds == {Hold.ANSWER}
    assert session.sent == []
    confirmed.set_result(None)
    await asyncio.sleep(0)
    assert session.sent == ["joined", *range(MAX_WAITING - 2), "last"]
    assert not session.holds


async def test_few_rooms_may_be_waited_for(alone: Any):
    """However few answers wait for them: what is left again meanwhile counts as well."""
    session = Asker()
    loop = asyncio.get_running_loop()
    rooms = {f"room-{number}": loop.create_future() for number in range(MAX_WAITING_ROOMS)}
    names = list(rooms)
    for some in (names[:-1], names[-1:]):
        assert not session.holds
        alone.send_when(session, {name: rooms[name] for name in some}, lambda refused: "joined")
    assert session.holds == {Hold.ANSWER}
    for confirmed in rooms.values():
        confirmed.set_result(None)
    await asyncio.sleep(0)
    assert session.sent == ["joined", "joined"]
    assert not session.holds


async def test_who_is_closed_waits_for_nothing(alone: Any):
    """Its answers are dropped, it is held for them no longer, and Redis may confirm what it did."""
    session = Asker()
    confirmed = [ask(alone, session, "joined", "a") for _ in range(2)]
    alone.discard(session)
    assert not session.holds
    assert not alone.is_waiting(session, "a")
    for future in confirmed:
        future.set_result(None)
    await asyncio.sleep(0)
    assert session.sent == []
