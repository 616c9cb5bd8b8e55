"""Who of a pod gets the next roster of a room, and who the next change."""

from __future__ import annotations

from sanic_chat.presence.audience import Audience
from sanic_chat.protocol.channels import RedisNames
from sanic_chat.session.session import Session
from sanic_chat.websocket.frames import text_frame

from ..support.hub import HubHandler
from ..support.transports import received


class Room(HubHandler):
    """An audience in a hub."""

    def __init__(self) -> None:
        super().__init__()
        self.audience = Audience(self.hub, RedisNames("realtime"), "a")

    def roster(self, text: str, *, to_all: bool = False) -> None:
        self.audience.send_roster(text_frame(text.encode()), to_newcomers=True, to_watchers=to_all)
        self.rest()

    def change(self, text: str) -> None:
        self.audience.settle()
        self.audience.send_changes(text_frame(text.encode()))
        self.rest()


def texts(session: Session) -> list[str]:
    """What a session has got."""
    return [text.decode() for text in received(session)]


def test_a_roster_and_then_changes() -> None:
    """Who is new gets no change before its roster, and every one after it."""
    room = Room()
    old, new = room.open(), room.open()
    room.audience.add(old)
    room.roster("first")
    room.change("one")
    room.audience.add(new)
    room.change("two")
    room.roster("second")
    room.change("three")
    assert texts(old) == ["first", "one", "two", "three"]
    assert texts(new) == ["second", "three"]


def test_a_roster_for_all() -> None:
    """All get it, once each."""
    room = Room()
    old, new = room.open(), room.open()
    room.audience.add(old)
    room.roster("first")
    room.audience.settle()
    room.audience.add(new)
    room.roster("for all", to_all=True)
    room.change("one")
    assert texts(old) == ["first", "for all", "one"]
    assert texts(new) == ["for all", "one"]


def test_asking() -> None:
    """Who asks gets the next roster; changes after it come to those who are told of them anyhow."""
    room = Room()
    watcher, guest = room.open(), room.open()
    room.audience.add(watcher)
    room.roster("first")
    room.audience.settle()
    for session in (watcher, guest):
        room.audience.ask(session)
    assert watcher in room.audience
    assert guest not in room.audience
    room.roster("asked for")
    room.change("one")
    assert texts(watcher) == ["first", "asked for", "one"]
    assert texts(guest) == ["asked for"]
    room.audience.discard(watcher)
    room.change("two")
    assert room.audience.is_empty
    assert texts(watcher)[-1] == "one"


def test_asking_right_behind_a_roster() -> None:
    """Who asks before it counts as served is given one more."""
    room = Room()
    watcher = room.open()
    room.audience.add(watcher)
    room.roster("first")
    room.audience.ask(watcher)
    room.audience.settle()
    room.roster("second")
    room.change("one")
    assert texts(watcher) == ["first", "second", "one"]


def test_a_guest_who_stays() -> None:
    """Who asked, and then wants to be told, is."""
    room = Room()
    session = room.open()
    room.audience.ask(session)
    room.audience.add(session)
    room.roster("first")
    room.change("one")
    assert texts(session) == ["first", "one"]


def test_who_is_closed_is_gone() -> None:
    """Nothing is left of a session that ends while it waits, or watches."""
    room = Room()
    for leave_early in (True, False):
        session = room.open()
        room.audience.ask(session)
        if not leave_early:
            room.roster("first")
        room.hub.remove(session)
        room.audience.settle()
        assert room.audience.is_empty
        assert session not in room.audience
    assert not room.audience._served
    assert not room.audience._guests
