"""Receipts on their own: many at once, and clients that take them slowly, or not at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from sanic_chat.broker.publisher import Asked
from sanic_chat.pod import receipts as module
from sanic_chat.pod.notifier import Notifier
from sanic_chat.pod.receipts import MAX_WAITING, Receipts
from sanic_chat.protocol.stamp import Stamper
from sanic_chat.session.inbound import Hold, State
from sanic_chat.session.session import Session

from ..support.harness import eventually
from ..support.hub import HubHandler, channel_of
from ..support.transports import received, transport_of

QUEUE = 16


class Desk:
    """A room with a session, and the receipts of what it says; Redis is the test."""

    def __init__(self, **limits: Any) -> None:
        self.handler = HubHandler(send_queue_messages=QUEUE, **limits)
        self.room = channel_of("lobby")
        self.receipts = Receipts(
            asyncio.get_running_loop(),
            Notifier(Stamper()),
            is_subscribed=lambda name: True,
            queue_messages=QUEUE,
        )
        self.handler.session_closing = self._closing  # type: ignore[method-assign]
        self.count = 0

    def _closing(self, session: Session) -> None:
        HubHandler.session_closing(self.handler, session)
        self.receipts.discard(session)

    def ask(self, session: Session, count: int = 1) -> list[Asked]:
        """Say so much, and ask for receipts."""
        asked = []
        for _ in range(count):
            asked.append(self.receipts.ask(session, b"%d" % self.count, self.room))
            self.count += 1
        return asked

    def publish(self, asked: list[Asked]) -> None:
        """Redis answers to all of them at once: this pod and one other."""
        for one in asked:
            one.on_published(2)


def told(session: Session) -> list[dict[str, Any]]:
    return [json.loads(text)["data"] for text in received(session)]


def has(session: Session, count: int) -> Callable[[], bool]:
    return lambda: len(received(session)) == count


async def test_many_at_once_are_one_write() -> None:
    """Whatever Redis answers in one turn leaves in few writes, in its order."""
    desk = Desk()
    session = desk.handler.open(desk.room)
    desk.publish(desk.ask(session, 50))
    await eventually(has(session, 50), "all are there")
    assert [one["id"] for one in told(session)] == [str(number) for number in range(50)]
    assert {(one["event"], one["local"], one["subscribers"]) for one in told(session)} == {
        ("ack", 1, 1)
    }
    assert len(transport_of(session).writes) <= -(-50 // (QUEUE // 2))
    assert not desk.receipts.waiting


async def test_a_client_that_reads_slowly_gets_all() -> None:
    """However many come at once, they make nobody a slow consumer, and nobody else waits."""
    desk = Desk()
    session, other = desk.handler.open(desk.room), desk.handler.open(desk.room)
    transport = transport_of(session)
    transport.stalled = True
    count = 5 * QUEUE
    desk.publish(desk.ask(session, count))
    for number in range(count, 2 * count):
        desk.receipts.not_published(session, b"%d" % number, "Redis was away")
    rounds = 0
    while len(received(session)) < 2 * count:
        await eventually(lambda: transport.get_write_buffer_size(), "the next ones are there")
        assert session.state is State.OPEN
        assert session.queued_messages <= QUEUE // 2
        assert transport.get_write_buffer_size() < QUEUE // 2 * 400  # what is there goes first
        transport.resume()
        transport.stalled = True
        desk.publish(desk.ask(other))
        rounds += 1
        await eventually(has(other, rounds), "the other has its own")
    assert [one["id"] for one in told(session)] == [str(number) for number in range(2 * count)]
    assert [one["event"] for one in told(session)] == ["ack"] * count + ["nack"] * count


async def test_who_does_not_take_them_is_not_read_from() -> None:
    """Until it takes them: so no more of them can come than are on their way."""
    desk = Desk()
    session = desk.handler.open(desk.room)
    transport_of(session).stalled = True
    desk.publish(desk.ask(session, MAX_WAITING - 1))
    await asyncio.sleep(0)
    assert not session.is_held
    desk.publish(desk.ask(session, 2 * QUEUE))
    assert session.is_held
    await eventually(lambda: session.queued_messages > 0, "some wait for the socket")
    assert session.is_held

    async def takes() -> bool:
        transport_of(session).resume()
        await asyncio.sleep(0)
        return not session.is_held

    await eventually(takes, "it is read from again")
    assert not desk.receipts.waiting


@pytest.mark.parametrize("drop_oldest", [False, True])
async def test_who_reads_nothing_is_closed(
    monkeypatch: pytest.MonkeyPatch, drop_oldest: bool
) -> None:
    """Even if nothing else is sent to it: it would be held for ever."""
    monkeypatch.setattr(module, "PATIENCE_LOOKS", 2)
    desk = Desk(drop_oldest=drop_oldest)
    session = desk.handler.open(desk.room)
    transport_of(session).stalled = True
    desk.publish(desk.ask(session, 10 * QUEUE))
    await eventually(lambda: session.state is not State.OPEN, "it is closed")
    assert not desk.receipts.waiting
    assert desk.handler.dropped["slow_consumer"] > 0


async def test_who_is_closed_gets_none() -> None:
    """Nor is anything kept for it."""
    desk = Desk()
    session = desk.handler.open(desk.room)
    transport = transport_of(session)
    asked = desk.ask(session, 2 * MAX_WAITING)
    desk.publish(asked[:MAX_WAITING])
    assert session.is_held
    transport.abort()
    assert not session.is_held
    desk.publish(asked[MAX_WAITING:])
    desk.receipts.not_published(session, b"x", "Redis was away")
    await asyncio.sleep(0)
    assert not desk.receipts.waiting
    assert transport.texts() == []


async def test_who_is_not_in_the_room_gets_no_numbers(alone: Desk) -> None:
    """They would tell whether anybody is there."""
    stranger = alone.handler.open()
    for _ in range(2):
        alone.publish(alone.ask(stranger))
        alone.handler.open(alone.room)
    await eventually(has(stranger, 2), "both are there")
    assert told(stranger) == [{"event": "ack", "id": "0"}, {"event": "ack", "id": "1"}]


async def test_two_holds(alone: Desk) -> None:
    """What holds a session besides goes on holding it."""
    session = alone.handler.open(alone.room)
    session.hold(Hold.BACKPRESSURE)
    alone.publish(alone.ask(session, 2 * MAX_WAITING))
    await eventually(has(session, 2 * MAX_WAITING), "all are there")
    assert session.is_held
    session.release(Hold.BACKPRESSURE)
    assert not session.is_held


@pytest.fixture
async def alone() -> Desk:
    return Desk()
