"""The listener: what is doubted and asked for, who is believed, and what views make of it."""

from __future__ import annotations

from typing import Any

import pytest

from sanic_chat.presence.holds import HEARSAY_SECONDS, LOST_SECONDS, Hold
from sanic_chat.presence.listener import Listener
from sanic_chat.presence.peers import MAX_PEERS, QUIET_BEATS
from sanic_chat.presence.speaker import Members, Speaker
from sanic_chat.presence.view import View
from sanic_chat.protocol.presence import (
    MAX_WORDS_BYTES,
    Canary,
    Member,
    Part,
    Parts,
    Stream,
    Want,
    read_want,
)


class Pod:
    """A listener, which watches room `a`, and what it asks. Pod `x` is another one."""

    def __init__(self) -> None:
        self.wants: list[tuple[str, Want]] = []
        self.now = 0.0
        self.n = 0
        members = Members(lambda room: ["me"], lambda room, user: (int(user == "me"), None))
        self.speaker = Speaker(
            members, lambda *_: None, lambda *_: None, on_changed=lambda *_: None
        )
        self.listener = Listener("me", self.speaker, self._send_to, beat=1.0)
        self.view = self.listener.watch("a", 0.0)
        self.window()

    def _send_to(self, pod_id: str, kind: str, content: bytes) -> None:
        assert (kind, len(content) <= MAX_WORDS_BYTES) == ("want", True)
        self.wants.append((pod_id, read_want(content)))

    def stream(self, pod_id: str = "x", *, n: int | None = None, **words: Any) -> None:
        self.n = self.n + 1 if n is None else n
        words = {"watching": True, **words}
        self.listener.stream_received(pod_id, Stream(self.n, **words), self.now)

    def answer(self, req: int, pod_id: str = "x", **rooms: Part) -> None:
        self.listener.parts_received(pod_id, Parts(self.n, req, rooms), self.now)

    def window(self, budget: int = 8) -> list[tuple[str, list[str]]]:
        """Who is asked for which rooms, at the end of the next window."""
        self.now += 0.25
        self.wants = []
        self.listener.flush(self.now, budget)
        return [(pod_id, want.rooms) for pod_id, want in self.wants]

    def trusts(self, pod_id: str = "x", **rooms: Part) -> None:
        """Have it hear a pod for the first time, and that pod answer."""
        self.stream(pod_id)
        self.window()
        self.answer(self.wants[-1][1].req, pod_id, **rooms or {"a": [Member("anna", 1)]})
        assert self.window() == []

    def members(self) -> list[str]:
        self.view.take_changes(self.now, heard_until=self.now)
        return self.view.members()


def test_a_new_pod() -> None:
    """It is asked for all rooms that are watched here; its answer is in the view."""
    pod = Pod()
    pod.stream()
    assert pod.window() == [("x", ["a"])]
    assert pod.listener.has_doubts
    pod.answer(pod.wants[0][1].req, a=[Member("anna", 1)])
    assert not pod.listener.has_doubts
    assert pod.members() == ["me", "anna"]
    assert (pod.listener.touched, pod.listener.rebuilt) == ({"a"}, {"a"})


@pytest.mark.parametrize("word", ["stream", "canary", "parts"])
def test_a_missing_number(word: str) -> None:
    """Whatever comes after it raises a doubt; changes count all the same."""
    pod = Pod()
    pod.trusts()
    pod.stream(changes={"a": [Member("bert", 1)]})
    assert pod.window() == []
    pod.n += 1
    if word == "stream":
        pod.stream(changes={"a": [Member("carl", 1)]})
    elif word == "canary":
        pod.listener.canary_received("x", Canary(pod.n), pod.now)
    else:
        pod.answer(0, b=[])
    assert pod.window() == [("x", ["a"])]
    assert set(pod.members()) == {"me", "anna", "bert", *(["carl"] if word == "stream" else [])}


@pytest.mark.parametrize("word", ["stream", "canary", "parts"])
def test_a_number_that_is_late(word: str) -> None:
    """Words of an old connection are ignored, and raise no doubt."""
    pod = Pod()
    pod.trusts()
    pod.stream(n=5)
    pod.window()
    pod.answer(pod.wants[0][1].req, a=[])
    pod.window()
    pod.speaker.wanted_by("x", ["a"], 1)
    pod.n = 4
    if word == "stream":
        pod.stream(n=4, unwatch=["a"], watching=False, changes={"a": [Member("carl", 1)]})
    elif word == "canary":
        pod.listener.canary_received("x", Canary(4), pod.now)
    else:
        pod.answer(99, a=[Member("carl", 1)])
    assert pod.window() == []
    assert "carl" not in pod.members()
    assert pod.speaker.watchers == {"a": {"x"}}


def test_a_request_is_repeated() -> None:
    """After a second without any answer; what is doubted anew is asked for at once."""
    pod = Pod()
    pod.listener.watch("b", 0.0)
    pod.stream()
    assert pod.window() == [("x", ["a", "b"])]
    assert [pod.window() for _ in range(3)] == [[], [], []]
    assert pod.window() == [("x", ["a", "b"])]
    pod.answer(pod.wants[0][1].req, a=[])
    pod.stream(first=["a", "unwatched"])
    assert pod.window() == [("x", ["a"])]
    assert [pod.window() for _ in range(3)] == [[], [], []]
    assert pod.window() == [("x", ["b", "a"])]


def test_an_answer_to_an_earlier_request() -> None:
    """It settles no doubt that came after its request."""
    pod = Pod()
    pod.stream()
    pod.window()
    request = pod.wants[0][1].req
    pod.stream(first=["a"])
    pod.answer(request, a=[])
    assert pod.window() == [("x", ["a"])]


def test_many_rooms() -> None:
    """Each is asked for once, in envelopes of 48 KiB, as many a window as may be."""
    pod = Pod()
    rooms = [f"{number:05}" + 123 * "r" for number in range(3000)]
    for room in rooms:
        pod.listener.watch(room, 0.0)
    pod.stream()
    asked = []
    while windows := pod.window(budget=2):
        assert len(windows) <= 2
        asked += [room for _, chunk in windows for room in chunk]
    assert asked == ["a", *rooms]
    pod.stream("y", n=1)
    assert pod.window(budget=0) == []
    assert {pod_id for pod_id, _ in pod.window()} == {"y"}


def test_watching_one_more_room() -> None:
    """The stream asks living pods for it; if one does not answer, it is asked alone."""
    pod = Pod()
    pod.trusts()
    pod.listener.watch("b", pod.now)
    assert pod.listener.peers.doubted() == {"b"}
    assert [pod.window() for _ in range(3)] == [[], [], []]
    assert pod.window() == [("x", ["b"])]
    pod.listener.unwatch("b")
    assert not pod.listener.has_doubts
    assert pod.window() == []


def test_silence() -> None:
    """A pod's users are held for fifteen seconds since it was heard; then it is a new one, and to
    ask for what it watches."""
    pod = Pod()
    pod.trusts()
    pod.speaker.wanted_by("x", ["a"], 1)
    for _ in range(QUIET_BEATS + 1):
        pod.now += 1.0
        pod.listener.beat(pod.now)
    assert not pod.listener.has_doubts
    pod.now += LOST_SECONDS - QUIET_BEATS - 0.1
    assert pod.members() == ["me", "anna"]
    pod.now += 0.2 + HEARSAY_SECONDS
    assert pod.members() == ["me"]
    assert pod.speaker.watchers == {}
    pod.speaker.flush(pod.now, req=1, others_watch=False)
    pod.stream()
    assert pod.window() == [("x", ["a"])]
    assert pod.speaker.has_news
    pod.listener.goodbye_received("x", pod.now)
    assert not pod.speaker.has_news


@pytest.mark.parametrize("word", ["stream", "canary", "want"])
def test_a_pod_that_comes_back(word: str) -> None:
    """It is told to ask for what it watches, once; unless it says that it watches nothing."""
    for watching in (True, False):
        pod = Pod()
        pod.speaker.flush(pod.now, req=1, others_watch=False)
        pod.stream()
        assert not pod.speaker.has_news
        for _ in range(QUIET_BEATS + 1):
            pod.listener.beat(pod.now)
        pod.answer(1)
        assert not pod.speaker.has_news
        for _ in range(2):
            if word == "stream":
                pod.stream(watching=watching)
            elif word == "canary":
                pod.listener.canary_received("x", Canary(pod.n, watching), pod.now)
            elif watching:
                pod.listener.want_received("x", Want(7, []), pod.now)
            assert pod.speaker.has_news == watching
            pod.speaker.flush(pod.now, req=1, others_watch=True)
            watching = False


def test_being_forgotten() -> None:
    """A pod that has forgotten this one is asked for all that is watched here."""
    pod = Pod()
    pod.trusts()
    pod.stream(forgot=["y"])
    assert pod.window() == []
    pod.stream(forgot=["y", "me"])
    assert pod.window() == [("x", ["a"])]


def test_who_has_come_to_another_pod() -> None:
    """Nobody holds any more who was here before, be it a pod that left."""
    pod = Pod()
    pod.trusts()
    for user in ("bert", "carl"):
        pod.speaker.adopt("b", user, Hold(20.0, "lost"))
    pod.stream(came={"a": ["bert"], "b": ["bert"], "c": ["bert"]})
    assert [user for user, _ in pod.speaker.parts["b"].holds.items(pod.now)] == ["carl"]


def test_many_pods_fall_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each room is looked at once for all of them, so that a pod does not stand still for it."""
    pod = Pod()
    for number in range(20):
        pod.listener.watch(f"room {number}", pod.now)
    pod.trusts("y", a=[Member("anna", 1)])
    for number in range(MAX_PEERS - 1):
        pod.stream(f"invented {number}", n=1)
        pod.speaker.wanted_by(f"invented {number}", ["a"], 1)
    looks: list[int] = []
    remove = View.remove
    monkeypatch.setattr(View, "remove", lambda *args: looks.append(1) or remove(*args))
    pod.listener.touched.clear()
    for _ in range(QUIET_BEATS + 1):
        pod.listener.beat(pod.now)
    assert len(looks) == len(pod.listener.views) == 21
    assert pod.listener.touched == {"a"}
    assert (pod.speaker.watchers, len(pod.listener.peers)) == ({}, 0)


def test_silence_in_place_of_an_answer() -> None:
    """Who is held may be on a pod that falls silent before it has answered."""
    pod = Pod()
    pod.trusts()
    for _ in range(2):
        for _ in range(QUIET_BEATS + 1):
            pod.now += 1.0
            pod.listener.beat(pod.now)
        pod.stream()
    assert pod.now < LOST_SECONDS
    for _ in range(QUIET_BEATS + 1):
        pod.now += 1.0
        pod.listener.beat(pod.now)
    pod.now += LOST_SECONDS - QUIET_BEATS - 0.1
    assert pod.members() == ["me", "anna"]
    pod.now += 0.2 + HEARSAY_SECONDS
    assert pod.members() == ["me"]


def test_a_goodbye() -> None:
    """A pod's users are held; who it has held is held here from its last words on, but for whom the
    view knows to be elsewhere."""
    pod = Pod()
    pod.trusts(a=[Member("anna", 1), Member("bert", 1)])
    pod.stream(changes={"a": [Member("carl", 0, 20_000, "drained")]})
    pod.listener.own_changed("a", [Member("carl", 1)], pod.now)
    pod.listener.own_changed("a", [Member("carl", 0)], pod.now)
    pod.speaker.wanted_by("x", ["a"], 1)
    for user in ("bert", "carl"):
        pod.stream(leaving=True, changes={"a": [Member(user, 0, 20_000, "drained")]})
    pod.stream(leaving=True, changes={"b": [Member("emil", 0, 20_000, "drained")]})
    pod.listener.goodbye_received("x", pod.now)
    hold = Hold(pod.now + 20.0, "drained")
    held = {room: part.holds.items(pod.now) for room, part in pod.speaker.parts.items()}
    assert held == {"a": [("bert", hold)], "b": [("emil", hold)]}
    assert pod.speaker.watchers == {}
    pod.stream(changes={"a": [Member("dora", 1)]})
    assert set(pod.members()) == {"me", "anna", "bert", "carl"}
    pod.now += LOST_SECONDS + HEARSAY_SECONDS
    assert set(pod.members()) == {"me", "bert"}
    pod.listener.goodbye_received("never heard", pod.now)


def test_who_watches_nothing() -> None:
    """Is told of nothing any more, whichever of its words says so; who asks does watch."""
    for word in ("stream", "canary"):
        pod = Pod()
        pod.trusts()
        pod.listener.want_received("x", Want(7, ["a"]), pod.now)
        assert pod.speaker.watchers == {"a": {"x"}}
        if word == "stream":
            pod.stream(watching=False)
        else:
            pod.listener.canary_received("x", Canary(pod.n, watching=False), pod.now)
        assert pod.speaker.watchers == {}
        assert not pod.listener.peers.are_watching()
        pod.listener.want_received("x", Want(8, ["a"]), pod.now)
        assert pod.listener.peers.are_watching()


def test_what_a_stream_asks() -> None:
    """Its pod is told of the rooms that it watches, and of those that it lets go of no more."""
    pod = Pod()
    pod.stream(watch=["a", "b"], req=3)
    assert pod.speaker.watchers == {"a": {"x"}, "b": {"x"}}
    pod.stream(watch=["c"], unwatch=["b"], req=4)
    assert pod.speaker.watchers == {"a": {"x"}, "c": {"x"}}


def test_after_an_outage() -> None:
    """All living pods are asked for everything."""
    pod = Pod()
    for pod_id in "xy":
        pod.n = 0
        pod.trusts(pod_id)
    pod.listener.doubt_all()
    assert pod.window() == [("x", ["a"]), ("y", ["a"])]


def test_a_room_that_is_not_watched() -> None:
    """Nothing is kept of it."""
    pod = Pod()
    pod.trusts()
    pod.stream(first=["b"], changes={"b": [Member("bert", 1)]})
    pod.answer(99, b=[Member("bert", 1)])
    assert pod.window() == []
    assert list(pod.listener.views) == ["a"]
    pod.listener.own_changed("a", [Member("me", 2)], pod.now)
    assert pod.view.numbers == (2, 3)
