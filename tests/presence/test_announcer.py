"""Announcements of joins and leaves: what cancels out, what is bounded, and when they go out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from sanic_chat.hub.channel import Channel
from sanic_chat.hub.hub import Hub
from sanic_chat.presence.announcer import MAX_PER_WINDOW, PER_TURN, WINDOW_SECONDS, Announcer
from sanic_chat.protocol.channels import RedisNames
from sanic_chat.protocol.stamp import Stamper
from sanic_chat.session.session import Session

from ..support.sessions import RecordingHandler

NAMES = RedisNames("realtime")


class Clock:
    """A loop whose timers and turns the test makes."""

    def __init__(self) -> None:
        self.later: list[tuple[float, Callable[..., None]]] = []
        self.soon: list[Callable[..., None]] = []

    def call_later(self, delay: float, callback: Callable[..., None]) -> Any:
        self.later.append((delay, callback))
        return self

    def call_soon(self, callback: Callable[..., None]) -> Any:
        self.soon.append(callback)
        return self

    def cancel(self) -> None:
        self.later.clear()
        self.soon.clear()

    def end_window(self) -> None:
        [(delay, callback)] = self.later
        assert delay == WINDOW_SECONDS
        self.later.clear()
        callback()

    def turn(self) -> None:
        callbacks, self.soon = self.soon, []
        for callback in callbacks:
            callback()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told() -> list[tuple[str, int, str]]:
    return []


@pytest.fixture
def announcer(clock: Clock, told: list[tuple[str, int, str]]) -> Announcer:
    def publish(channel: bytes, members: bytes, receipt: None, head: bytes) -> None:
        message = msgspec.json.decode(b"{" + members)
        assert message["type"] == "presence"
        assert channel == NAMES.presence_channel(message["room"])
        told.append((message["room"], int(message["from"]), message["data"]["event"]))

    hub = Hub(
        call_soon=clock.call_soon,
        everyone=Channel(NAMES.global_channel, None, b"null"),
        write_messages=1,
        write_bytes=1,
    )
    return Announcer(
        clock,  # type: ignore[arg-type]
        hub,
        publish,
        NAMES,
        Stamper(),
        envelope_head=b"",
    )


def sessions(count: int) -> list[Session]:
    """Sessions whose senders are their numbers."""
    handler = RecordingHandler()
    return [
        Session(handler, client_id=str(number), sender=b'"%d"' % number) for number in range(count)
    ]


JOINED, LEFT = "joined", "left"


def test_one_window(announcer: Announcer, clock: Clock, told: list[Any]):
    """What happens within a window goes out at its end, in its order, with one timer."""
    anna, bert = sessions(2)
    announcer.joined(anna, "a")
    announcer.left(bert, "b")
    announcer.joined(bert, "a")
    assert told == []
    clock.end_window()
    assert told == [("a", 0, JOINED), ("a", 1, JOINED), ("b", 1, LEFT)]
    assert clock.later == clock.soon == []


@pytest.mark.parametrize("first", ["joined", "left"])
def test_what_cancels_out(announcer: Announcer, clock: Clock, told: list[Any], first: str):
    """A join and a leave of one session and room, in either order, are not told of."""
    [anna] = sessions(1)
    events = [announcer.joined, announcer.left]
    if first == "left":
        events.reverse()
    for _ in range(1000):
        for event in events:
            event(anna, "a")
    events[0](anna, "b")
    clock.end_window()
    assert told == [("b", 0, JOINED if first == "joined" else LEFT)]
    assert announcer.dropped == 0


def test_the_bound_of_a_room(announcer: Announcer, clock: Clock, told: list[Any]):
    """Of one room so many are told a window; the rest is dropped and counted; others' are not."""
    crowd = sessions(MAX_PER_WINDOW + 7)
    for session in crowd:
        announcer.left(session, "crowded")
    announcer.left(crowd[-1], "quiet")
    clock.end_window()
    while clock.soon:
        clock.turn()
    assert [number for room, number, _ in told if room == "crowded"] == list(range(MAX_PER_WINDOW))
    assert ("quiet", len(crowd) - 1, LEFT) in told
    assert announcer.dropped == 7


def test_many_rooms(announcer: Announcer, clock: Clock, told: list[Any]):
    """Many announcements are spread over loop turns, and what comes meanwhile waits its time."""
    [anna, bert] = sessions(2)
    for number in range(PER_TURN * 2 + 5):
        announcer.joined(anna, str(number))
    clock.end_window()
    assert len(told) == PER_TURN
    announcer.joined(bert, "later")
    assert clock.later == []
    clock.turn()
    clock.turn()
    assert [room for room, _, _ in told] == list(map(str, range(PER_TURN * 2 + 5)))
    clock.end_window()
    assert told[-1] == ("later", 1, JOINED)


def test_closing(announcer: Announcer, clock: Clock, told: list[Any]):
    """What waits when it is closed goes out at once, also what was on its way in turns."""
    [anna] = sessions(1)
    for number in range(PER_TURN + 5):
        announcer.joined(anna, str(number))
    clock.end_window()
    announcer.left(anna, "last")
    announcer.close()
    assert len(told) == PER_TURN + 6
    assert told[-1] == ("last", 0, LEFT)
    assert clock.later == clock.soon == []
