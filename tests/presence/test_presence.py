"""Presence of a pod: when it speaks, whom it tells, and what it lets go of."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from sanic_chat.hub.channel import Channel
from sanic_chat.presence.presence import (
    ASK_SECONDS,
    IN_USE_SECONDS,
    UNWATCH_SECONDS,
    WINDOW_SECONDS,
    Presence,
    PresenceStats,
)
from sanic_chat.presence.speaker import Members
from sanic_chat.protocol.channels import RedisNames
from sanic_chat.protocol.presence import Canary, Info, Stream, encode
from sanic_chat.session.handler import EndedBy, Ending
from sanic_chat.session.session import Session
from sanic_chat.websocket.frames import text_frame

from ..support.hub import HubHandler
from ..support.transports import received

NAMES = RedisNames("realtime")


class FakeLoop:
    """Timers on a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self._timers: list[tuple[float, int, list[Callable[[], None]]]] = []
        self._count = 0

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        self._count += 1
        calls = [callback]
        heapq.heappush(self._timers, (self.now + delay, self._count, calls))

        class Handle:
            cancel = staticmethod(calls.clear)

        return Handle

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            self.now, _, calls = heapq.heappop(self._timers)
            for callback in calls:
                callback()
        self.now = end


class Pod(HubHandler):
    """A presence with rooms and sessions, whose words to others are noted."""

    def __init__(self, *, connected: bool = True) -> None:
        super().__init__()
        self.loop = FakeLoop()
        self.said: list[tuple[str, Any]] = []
        self.presence = Presence(
            cast(Any, self.loop),
            "me",
            self.hub,
            NAMES,
            members=Members(self._users, self._presences),
            send=lambda kind, content: self.said.append((kind, json.loads(content))),
            send_to=lambda pod, kind, content: self.said.append((kind, json.loads(content))),
            prove=lambda: self.said.append(("canary", None)),
            frame=lambda room, event: text_frame(event),
            beat=1.0,
        )
        self.is_connected = connected
        if connected:
            self.presence.connected()
            self.loop.advance(2)

    def _members(self, room: str) -> list[Session]:
        channel = self.hub.channels.get(NAMES.room_channel(room))
        return [cast(Session, member) for member in channel.members] if channel else []

    def _users(self, room: str) -> set[str]:
        return {session.user for session in self._members(room)}

    def _presences(self, room: str, user: str) -> tuple[int, Info | None]:
        return sum(session.user == user for session in self._members(room)), None

    def join(self, user: str, room: str = "a", *, watch: bool = False) -> Session:
        session = self.open(client_id=user)
        name = NAMES.room_channel(room)
        is_first = name not in self.hub.channels
        self.hub.join(session, self.hub.channels.get(name) or Channel(name, room, b'"a"'))
        self.presence.joined(session, room, is_first=is_first)
        if watch:
            self.presence.watch(session, room)
        return session

    def end(self, session: Session, ending: Ending, room: str = "a") -> None:
        if self.presence.in_use:
            self.presence.ended(session, [room], ending)
        self.hub.remove(session)

    def window(self, count: int = 1) -> None:
        """Windows, before each of which a canary comes back."""
        for _ in range(count):
            if self.is_connected:
                self.presence.could_hear(0.0)
            self.loop.advance(WINDOW_SECONDS)
            self.rest()

    def hear(self, pod_id: str, **stream: Any) -> None:
        self.presence.stream_received(pod_id, encode(Stream(**stream)))


def events(session: Session) -> list[dict[str, Any]]:
    return [json.loads(text) for text in received(session)]


LOST = Ending(EndedBy.NOBODY, None, "")
CLOSED = Ending(EndedBy.CLIENT, 1000, "")


def test_while_nobody_watches_nothing_is_noted() -> None:
    """Joins and leaves are neither kept nor said, and no timer runs."""
    pod = Pod()
    session = pod.join("anna")
    pod.end(session, LOST)
    pod.loop.advance(60)
    assert pod.said == []
    assert not pod.presence.speaker.parts
    assert pod.loop._timers == []


def test_somebody_watches_on_another_pod() -> None:
    """From then on first members are said, and for a minute after the last one has looked."""
    pod = Pod()
    pod.presence.canary_received("other", encode(Canary(0, watching=True)))
    session = pod.join("anna")
    pod.window()
    assert [stream["first"] for _, stream in pod.said] == [["a"]]
    pod.presence.canary_received("other", encode(Canary(0, watching=False)))
    pod.loop.advance(IN_USE_SECONDS + 2)
    pod.said.clear()
    pod.end(session, LOST)
    pod.join("bert")
    pod.loop.advance(60)
    assert pod.said == []


def test_for_how_long_somebody_may_be_held() -> None:
    """A pod that starts is told. In the last seconds who comes is still said, and nobody held."""
    pod = Pod()
    pod.presence.canary_received("other", encode(Canary(0, watching=True)))
    pod.presence.canary_received("other", encode(Canary(0, watching=False)))
    pod.loop.advance(20)
    pod.said.clear()
    for _ in range(2):
        pod.presence.canary_received("new", encode(Canary(0, watching=False)))
        pod.window()
    [(kind, stream)] = pod.said
    assert kind == "stream"
    new = Pod()
    new.hear("other", **stream)
    left = IN_USE_SECONDS - 20 - WINDOW_SECONDS
    new.loop.advance(left - 10)
    new.end(new.join("anna"), LOST)
    new.window()
    assert [stream["came"] for _, stream in new.said] == [{"a": ["anna"]}]
    assert new.presence.stats().held_users == 1
    new.loop.advance(8)
    assert new.presence.stats().held_users == 0
    assert new.presence.in_use
    new.loop.advance(3)
    assert not new.presence.in_use


def test_one_window_is_one_envelope() -> None:
    """All joins, leaves and watched rooms of a window are said at its end, at once."""
    pod = Pod()
    pod.join("anna", watch=True)
    pod.join("anna", "b", watch=True)
    assert pod.said == []
    pod.window()
    [(kind, stream)] = pod.said
    assert (kind, stream["n"], stream["watch"], stream["watching"]) == (
        "stream",
        2,
        ["a", "b"],
        True,
    )


@pytest.mark.parametrize(
    ("ending", "reason", "seconds"),
    [
        (CLOSED, "left", 0.75),
        (Ending(EndedBy.CLIENT, None, ""), "left", 0.75),
        (Ending(EndedBy.CLIENT, 1001, ""), "left", 5),
        (Ending(EndedBy.SERVER, 1001, ""), "lost", 15),
        (Ending(EndedBy.SERVER, 1013, ""), "lost", 15),
        (Ending(EndedBy.SILENCE, None, ""), "lost", 15),
        (LOST, "lost", 15),
        (Ending(EndedBy.BACKEND, 4000, ""), "kicked", 0.75),
    ],
)
def test_how_long_a_user_is_held(ending: Ending, reason: str, seconds: float) -> None:
    """Nobody is told before the hold is over, and then with its reason."""
    pod = Pod()
    anna = pod.join("anna", watch=True)
    bert = pod.join("bert")
    pod.window(2)
    pod.end(bert, ending)
    pod.loop.advance(seconds - 0.01)
    pod.rest()
    assert [event["left"] for event in events(anna)[1:]] == [[]]
    pod.window(4)
    assert events(anna)[-1]["left"] == [{"user": "bert", "reason": reason}]


@pytest.mark.parametrize(
    ("is_heard", "seconds", "is_over"),
    [(True, 0.0, True), (False, 0.0, False), (True, None, False), (True, 2.0, False)],
)
def test_no_hold_ends_before_others_could_have_said_more(
    is_heard: bool, seconds: float | None, is_over: bool
) -> None:
    """Each living pod has to be heard since, and a canary to come back that left since. One that
    was long under way proves nothing: Redis stood still, and others speak just after it."""
    pod = Pod()
    anna = pod.join("anna", watch=True)
    bert = pod.join("bert")
    pod.hear("other", n=1)
    pod.presence.parts_received("other", b'{"n":1,"req":99,"rooms":{"a":[]}}')
    pod.window(2)
    pod.end(bert, CLOSED)
    pod.is_connected = False  # canaries come back when this test says so
    pod.window(12)
    if is_heard:
        pod.presence.canary_received("other", encode(Canary(1, watching=True)))
    if seconds is not None:
        pod.presence.could_hear(seconds)
    pod.window()
    assert any(event.get("left") for event in events(anna)) is is_over


def test_who_was_told_to_come_back() -> None:
    """Has five seconds after that moment, whoever closes, and fifteen in any case."""
    for told_in, seconds in ((30.0, 35.0), (1.0, 15.0)):
        pod = Pod()
        anna = pod.join("anna", watch=True)
        bert = pod.join("bert")
        pod.window(2)
        pod.presence.told_to_reconnect(bert, pod.loop.now + told_in)
        pod.end(bert, CLOSED)
        pod.loop.advance(seconds - 0.01)
        pod.rest()
        assert not any(event["left"] for event in events(anna)[1:])
        pod.window(4)
        assert events(anna)[-1]["left"] == [{"user": "bert", "reason": "lost"}]
        assert not pod.presence._reconnect_at


def test_who_comes_back_was_never_away() -> None:
    """A new session within the hold ends it, and nobody is told of either."""
    pod = Pod()
    anna = pod.join("anna", watch=True)
    pod.window(2)
    pod.end(pod.join("bert"), CLOSED)
    pod.window(2)
    for ending in (LOST, CLOSED, Ending(EndedBy.CLIENT, 1001, "")):
        bert = pod.join("bert")
        pod.window(80)
        before = len(events(anna))
        pod.end(bert, ending)
        pod.window()
        bert = pod.join("bert")
        pod.window(80)
        assert all(not each["joined"] and not each["left"] for each in events(anna)[before:])
        pod.end(bert, CLOSED)
        pod.window(4)


def test_a_roster_a_second_may_be_asked_for() -> None:
    """A second question within a second is refused; what is kept of it is let go of."""
    pod = Pod()
    anna = pod.join("anna")
    assert pod.presence.ask(anna, "a")
    assert not pod.presence.ask(anna, "a")
    pod.window(8)
    assert [event["event"] for event in events(anna)] == ["roster"]
    pod.loop.advance(ASK_SECONDS)
    assert not pod.presence._asked_at
    assert pod.presence.ask(anna, "a")


def test_a_room_that_nobody_watches_any_more() -> None:
    """It is let go of five seconds later, and others are told that it is."""
    pod = Pod()
    anna = pod.join("anna", watch=True)
    pod.window()
    assert pod.presence.stats() == PresenceStats(1, 0, 0, 0)
    pod.presence.unwatch(anna, "a")
    pod.said.clear()
    pod.loop.advance(UNWATCH_SECONDS - 1)
    assert pod.presence.stats().watched_rooms == 1
    pod.loop.advance(2)
    assert pod.presence.stats() == PresenceStats(0, 0, 0, 0)
    assert [stream.get("unwatch") for _, stream in pod.said] == [["a"]]
    assert [pod.presence._rooms, pod.presence._due, pod.presence._unwatch_at] == [{}, {}, {}]


def test_a_look_away_is_no_unwatching() -> None:
    """Who comes back within five seconds finds the room still watched."""
    pod = Pod()
    anna = pod.join("anna", watch=True)
    pod.window()
    pod.presence.unwatch(anna, "a")
    pod.window()
    pod.said.clear()
    pod.presence.watch(anna, "a")
    pod.loop.advance(2 * UNWATCH_SECONDS)
    pod.rest()
    assert [stream for _, stream in pod.said if "watch" in stream or "unwatch" in stream] == []
    assert [event["event"] for event in events(anna)] == ["roster", "roster"]


def test_cut_off_from_redis() -> None:
    """Nothing is said, rosters are incomplete, joins here are told, and nobody has left."""
    pod = Pod()
    anna = pod.join("anna", watch=True)
    bert = pod.join("bert")
    pod.window(2)
    pod.presence.cut_off()
    pod.said.clear()
    pod.end(bert, CLOSED)
    pod.join("carl", watch=True)
    pod.window(100)
    assert pod.said == []
    told = events(anna)[1:]
    assert [each["user"] for event in told for each in event["joined"]] == ["carl"]
    assert not any(event["left"] for event in told)
    assert pod.presence.ask(anna, "a")
    pod.window()
    assert events(anna)[-1]["complete"] is False
    n = pod.presence.speaker.n
    pod.presence.connected()
    pod.window(12)
    assert pod.presence.speaker.n > n, "so that others notice"
    assert events(anna)[-1]["complete"] is True
    assert [each["user"] for each in events(anna)[-1]["members"]] == ["anna", "carl"]


def test_another_pod() -> None:
    """What it says is told here; when it says goodbye its users are held, and then lost."""
    pod = Pod()
    anna = pod.join("anna", watch=True)
    pod.hear("other", n=1, changes={"a": [["bert", 1]]})
    pod.presence.parts_received("other", b'{"n":1,"req":99,"rooms":{"a":[["bert",1]]}}')
    pod.window(2)
    assert [each["user"] for each in events(anna)[0]["members"]] == ["anna", "bert"]
    pod.hear("other", n=2, leaving=True)
    pod.presence.goodbye_received("other")
    pod.loop.advance(14)
    assert pod.presence.stats() == PresenceStats(1, 0, 1, 0)
    pod.window(8)
    assert events(anna)[-1]["left"] == [{"user": "bert", "reason": "lost"}]


def test_last_words() -> None:
    """A pod that closes says who is held, that it leaves, and nothing after that."""
    pod = Pod()
    pod.presence.canary_received("other", encode(Canary(0, watching=True)))
    anna = pod.join("anna", watch=True)
    pod.window()
    pod.end(anna, Ending(EndedBy.SERVER, 1001, ""))
    pod.presence.close()
    kind, stream = pod.said[-1]
    assert (kind, stream["leaving"]) == ("stream", True)
    assert stream["changes"] == {"a": [["anna", 0, 15000, "lost", None]]}
    pod.said.clear()
    pod.loop.advance(60)
    assert pod.said == []
