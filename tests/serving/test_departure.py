"""The departure of a drained worker: what it waits for, and that it goes once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from sanic_chat import Config
from sanic_chat.process.slots import Written
from sanic_chat.serving import departure
from sanic_chat.serving.departure import Departure
from sanic_chat.worker import Worker

from ..support.harness import RedisProcess, eventually


class Server:
    """What a departing worker sees, and what it does, in order."""

    def __init__(self, *, patience: float = 60.0, is_alone: bool = False) -> None:
        self.others_serve = False
        self.has_answered = True
        self.did: list[str] = []
        ask = self.does("ask")
        self.departure = Departure(
            may_leave=lambda: self.others_serve,
            ask_for_successor=None if is_alone else ask,
            leave=self.does("leave"),
            has_answered=lambda: self.has_answered,
            patience=patience,
            end=self.does("end"),
        )

    def does(self, step: str) -> Callable[[], None]:
        return lambda: self.did.append(step)


@pytest.fixture(autouse=True)
def looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks that take no time."""
    monkeypatch.setattr(departure, "LOOK_SECONDS", 0.0)


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_others_take_clients() -> None:
    """It leaves and ends at once, once, however often it is asked."""
    server = Server()
    server.others_serve = True
    server.departure.begin()
    server.departure.begin()
    await turns()
    assert server.did == ["leave", "end"]


async def test_nobody_else_takes_clients() -> None:
    """It asks for a successor, once, and stays until there is one."""
    server = Server()
    server.departure.begin()
    await turns()
    server.departure.begin()
    await turns()
    assert server.did == ["ask"]
    server.others_serve = True
    await eventually(lambda: "end" in server.did, "it ends")
    assert server.did == ["ask", "leave", "end"]


async def test_the_successor_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks again, and stays."""
    monkeypatch.setattr(departure, "ASK_SECONDS", 0.01)
    server = Server()
    server.departure.begin()
    await eventually(lambda: len(server.did) > 2, "it asks again")
    assert {*server.did} == {"ask"}


async def test_what_was_accepted_is_answered_first() -> None:
    """It has left the socket by then."""
    server = Server()
    server.others_serve, server.has_answered = True, False
    server.departure.begin()
    await turns()
    assert server.did == ["leave"]
    server.has_answered = True
    await eventually(lambda: server.did == ["leave", "end"], "it ends")


async def test_what_is_never_answered() -> None:
    """It is not waited for any longer than `patience`."""
    server = Server(patience=0.01)
    server.others_serve, server.has_answered = True, False
    server.departure.begin()
    await eventually(lambda: server.did == ["leave", "end"], "it ends")


async def test_alone() -> None:
    """A process without others ends at once."""
    server = Server(is_alone=True)
    server.departure.begin()
    assert server.did == ["end"]


class Wall:
    """Where several workers of one process show their metrics."""

    def __init__(self) -> None:
        self.contents: dict[int, bytes] = {}

    def slot(self, number: int) -> SlotOfWall:
        return SlotOfWall(self, number)


class SlotOfWall:
    def __init__(self, wall: Wall, number: int) -> None:
        self._wall = wall
        self._number = number

    def write(self, content: bytes) -> None:
        self._wall.contents[self._number] = content

    def read(self) -> list[Written]:
        return [Written(number, 0.0, it) for number, it in self._wall.contents.items()]


async def test_the_newest_worker_stays(
    shared_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever takes clients may leave once a newer one takes them, ready and alive."""
    wall = Wall()
    async with AsyncExitStack() as stack:
        workers = [
            Worker(Config(), redis_url=shared_redis.url, name="test", slots=wall.slot(number))
            for number in range(5)
        ]
        *ready, unready, other_unready = workers
        for worker in ready:
            await worker.start()
            stack.push_async_callback(worker.stop)
        old, new, newest = ready
        for worker in (old, new):
            worker.serve()
        assert [worker.may_leave() for worker in (old, new)] == [True, False]
        newest.serve()
        assert [worker.may_leave() for worker in ready] == [True, True, False]
        for worker in (unready, other_unready):  # as all are without Redis
            worker.serve()
        assert [worker.may_leave() for worker in workers] == [True, True, False, True, False]
        with monkeypatch.context() as patch:
            patch.setattr("sanic_chat.worker.SILENT_SECONDS", 0.0)
            assert not old.may_leave()
        new.leave()
        assert new.may_leave()
        newest.leave()
        assert not old.may_leave()
