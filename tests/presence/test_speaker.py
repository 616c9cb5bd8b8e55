"""The speaker: what is told to other pods, in how many envelopes, and what is let go of."""

from __future__ import annotations

from collections import Counter

import pytest

from sanic_chat.presence.holds import Hold
from sanic_chat.presence.own_part import LARGE_USERS, SMALL_USERS
from sanic_chat.presence.speaker import (
    MAX_ENVELOPES,
    MAX_LAST_ENVELOPES,
    MAX_STREAM_ENVELOPES,
    Members,
    Speaker,
)
from sanic_chat.protocol.presence import (
    MAX_WORDS_BYTES,
    Info,
    Member,
    Numbers,
    Parts,
    Stream,
    read_parts,
    read_stream,
)

LOST, LEFT = Hold(15.0, "lost"), Hold(0.75, "left")


class Pod:
    """The rooms of a pod, and what it says."""

    def __init__(self) -> None:
        self.rooms: dict[str, Counter[str]] = {}
        self.info: Info | None = None
        self.streams: list[Stream] = []
        self.parts: list[tuple[str, Parts]] = []
        self.own: list[tuple[str, list[Member]]] = []
        self.speaker = Speaker(
            Members(self._users, self._presences),
            self._send,
            self._send_to,
            on_changed=lambda room, members: self.own.append((room, members)),
        )

    def _users(self, room: str) -> list[str]:
        return list(self.rooms.get(room, ()))

    def _presences(self, room: str, user: str) -> tuple[int, Info | None]:
        sessions = self.rooms.get(room, Counter[str]())[user]
        return sessions, self.info if sessions else None

    def _send(self, kind: str, content: bytes) -> None:
        assert (kind, len(content) <= MAX_WORDS_BYTES) == ("stream", True)
        self.streams.append(read_stream(content))

    def _send_to(self, peer: str, kind: str, content: bytes) -> None:
        assert (kind, len(content) <= MAX_WORDS_BYTES) == ("parts", True)
        self.parts.append((peer, read_parts(content)))

    def join(self, user: str, room: str = "a", *, is_first: bool = False) -> None:
        self.rooms.setdefault(room, Counter())[user] += 1
        self.speaker.note(room, user, None, is_first=is_first)

    def end(self, user: str, room: str = "a", hold: Hold = LEFT) -> None:
        self.speaker.note(room, user, hold)
        self.rooms[room][user] -= 1
        self.rooms[room] = +self.rooms[room]

    def flush(
        self, now: float = 0.0, *, req: int = 1, others_watch: bool = False, **options: int
    ) -> int:
        """The window's end; what was said before is forgotten."""
        self.streams, self.parts, self.own = [], [], []
        said = self.speaker.flush(now, req=req, others_watch=others_watch, **options)
        assert said == len(self.streams) + len(self.parts)
        return said

    def flush_all(
        self, *, others_watch: bool = False
    ) -> tuple[list[Stream], list[tuple[str, Parts]]]:
        """Windows, until nothing is left to be said."""
        streams, parts = [], []
        while self.speaker.has_news:
            assert 0 < self.flush(others_watch=others_watch) <= MAX_ENVELOPES
            assert len(self.streams) <= MAX_STREAM_ENVELOPES
            streams += self.streams
            parts += self.parts
        return streams, parts


def test_nobody_watches() -> None:
    """That somebody has come is all that is said; but there may have to be a beat."""
    pod = Pod()
    pod.join("anna")
    pod.end("anna")
    assert pod.flush(in_use_ms=500) == 1
    assert pod.streams == [Stream(1, req=1, in_use_ms=500, came={"a": ["anna"]})]
    assert pod.flush() == 0
    assert pod.flush(must_speak=True) == 1
    assert pod.speaker.parts["a"].held(0.0) == [Member("anna", 0, 750, "left")]
    pod.speaker.sweep(0.75)
    assert pod.speaker.parts == {}


def test_numbers() -> None:
    """Each envelope has the next one; one that is skipped is missing."""
    pod = Pod()
    pod.flush(must_speak=True)
    assert pod.streams == [Stream(1, req=1)]
    pod.speaker.skip()
    pod.flush(must_speak=True)
    assert pod.streams == [Stream(3, req=1)]
    assert pod.speaker.n == 3


def test_who_asks() -> None:
    """It gets the parts in the next window, then what changes, until it watches no more."""
    pod = Pod()
    pod.join("anna")
    pod.join("anna")
    pod.speaker.wanted_by("peer", ["a", "empty"], 7)
    pod.join("bert")
    pod.flush()
    assert [stream.changes for stream in pod.streams] == [{"a": [Member("bert", 1)]}]
    part = [Member("anna", 2), Member("bert", 1)]
    assert pod.parts == [("peer", Parts(1, 7, {"a": part, "empty": []}))]
    pod.end("anna", hold=LOST)
    pod.flush()
    change = [Member("anna", 1, 15_000, "lost")]
    assert [stream.changes for stream in pod.streams] == [{"a": change}]
    pod.speaker.unwatched_by("peer", ["a", "empty"])
    pod.join("carl")
    pod.flush()
    assert pod.streams == [Stream(3, req=1, came={"a": ["carl"]})]
    assert pod.speaker.watchers == {}


def test_who_asks_again() -> None:
    """It is answered once, with the number of its last request, and others with theirs."""
    pod = Pod()
    for room in "ab":
        pod.join("anna", room)
    pod.speaker.wanted_by("peer", ["a", "b"], 7)
    pod.speaker.wanted_by("other", ["a"], 3)
    pod.speaker.wanted_by("peer", ["b"], 8)
    pod.flush()
    answers = [(peer, parts.req, *parts.rooms) for peer, parts in pod.parts]
    assert answers == [("peer", 7, "a"), ("peer", 8, "b"), ("other", 3, "a")]
    pod.speaker.wanted_by("peer", ["a"], 9)
    pod.speaker.wanted_by("peer", [], 10)
    pod.speaker.forget(["peer"])
    assert pod.flush() == 0
    assert pod.speaker.watchers == {"a": {"other"}}


def test_what_this_pod_watches() -> None:
    """It is asked for and let go of in the stream; what changes here is told here, too."""
    pod = Pod()
    pod.join("anna")
    assert pod.speaker.watch("a", 0.0) == [Member("anna", 1)]
    assert pod.speaker.is_watching()
    pod.join("bert")
    pod.flush(req=5)
    came = {"a": ["anna", "bert"]}
    assert pod.streams == [Stream(1, watching=True, watch=["a"], req=5, came=came)]
    assert pod.own == [("a", [Member("bert", 1)])]
    pod.speaker.unwatch("a")
    pod.flush()
    assert pod.streams == [Stream(2, unwatch=["a"], req=1)]
    assert pod.speaker.parts == {}


def test_a_change_of_mind() -> None:
    """Nothing is said of what was taken back within a window."""
    pod = Pod()
    pod.speaker.watch("a", 0.0)
    pod.speaker.unwatch("a")
    assert not pod.speaker.has_news
    pod.speaker.watch("a", 0.0)
    pod.flush()
    pod.speaker.unwatch("a")
    pod.speaker.watch("a", 0.0)
    pod.flush()
    assert pod.streams == [Stream(2, watching=True, watch=["a"], req=1)]


def test_first_members() -> None:
    """Their rooms are told once a window, if anybody on another pod watches any."""
    pod = Pod()
    pod.join("anna", is_first=True)
    pod.join("bert", "b", is_first=True)
    pod.end("anna")
    pod.join("anna", is_first=True)
    pod.flush(others_watch=True)
    [stream] = pod.streams
    assert stream.first == ["a", "b"]
    pod.join("carl", "c", is_first=True)
    pod.flush()
    assert [stream.first for stream in pod.streams] == [[]]
    assert not pod.speaker.has_news


def test_who_comes() -> None:
    """All are told, watched or not, as far as it fits."""
    pod = Pod()
    for user, room in (("anna", "a"), ("bert", "a"), ("anna", "b"), ("anna", "a")):
        pod.join(user, room)
    pod.end("bert")
    pod.flush()
    assert pod.streams == [Stream(1, req=1, came={"a": ["anna", "bert"], "b": ["anna"]})]
    pod.speaker.info_changed("a", "anna")
    assert pod.flush() == 0
    for number in range(2000):
        pod.join(f"{number:05}" + 250 * "x", f"room {number % 3}")
    assert pod.flush() == MAX_STREAM_ENVELOPES
    said = [user for stream in pod.streams for users in stream.came.values() for user in users]
    assert 500 < len(said) == len(set(said)) < 2000
    assert not pod.speaker.has_news


def test_a_room_is_empty() -> None:
    """Its watchers are kept while a user is held, and not longer."""
    pod = Pod()
    pod.join("anna")
    pod.speaker.wanted_by("peer", ["a"], 1)
    pod.flush()
    pod.end("anna", hold=LOST)
    pod.flush()
    pod.speaker.sweep(14.0)
    assert pod.speaker.watchers == {"a": {"peer"}}
    pod.speaker.sweep(15.0)
    assert (pod.speaker.watchers, pod.speaker.parts) == ({}, {})


def test_the_last_watcher_goes_within_a_window() -> None:
    """Who has left in it is held all the same."""
    pod = Pod()
    pod.join("anna")
    pod.speaker.wanted_by("peer", ["a"], 1)
    pod.flush()
    pod.end("anna", hold=LOST)
    pod.speaker.unwatched_by("peer", ["a"])
    assert pod.flush() == 0
    pod.speaker.wanted_by("peer", ["a"], 2)
    pod.flush(5.0)
    assert pod.parts[0][1].rooms == {"a": [Member("anna", 0, 10_000, "lost")]}


def test_holds_of_a_pod_that_has_left() -> None:
    """They are in parts, but of who has come here after being sent away."""
    pod = Pod()
    pod.join("anna")
    for user in ("anna", "bert"):
        pod.speaker.adopt("a", user, Hold(15.0, "drained"))
    pod.speaker.wanted_by("peer", ["a"], 1)
    pod.flush()
    part = [Member("anna", 1), Member("bert", 0, 15_000, "drained")]
    assert pod.parts[0][1].rooms == {"a": part}


@pytest.mark.parametrize("character", ["x", "é", "\x1f"])
def test_a_crowd(character: str) -> None:
    """Eight envelopes a window, five of them of the stream at most, and nobody is left out."""
    pod = Pod()
    pod.info = Info.of("1" * 36, b'"%b"' % (b"i" * 254))
    rooms = [f"{number:03}" + 125 * character for number in range(60)]
    users = [f"{number:03}" + 253 * character for number in range(8)]
    pod.speaker.wanted_by("peer", rooms, 1)
    for room in rooms:
        pod.join("anna", room)
    pod.speaker.wanted_by("peer", rooms, 2)
    for room in rooms:
        for user in users:
            pod.join(user, room)
    streams, parts = pod.flush_all()
    assert [stream.n for stream in streams] == [*range(1, len(streams) + 1)]
    told = Counter(
        (room, member.user)
        for stream in streams
        for room, part in stream.changes.items()
        for member in part
        if isinstance(member, Member)
    )
    assert told == dict.fromkeys(((room, user) for room in rooms for user in users), 1)
    assert [room for _, each in parts for room in each.rooms] == rooms
    assert len(streams) > MAX_STREAM_ENVELOPES


def test_many_rooms() -> None:
    """What is asked for, let go of and told of goes into as many windows as it takes."""
    pod = Pod()
    rooms = [f"{number:05}" + 123 * "r" for number in range(3000)]
    for room in rooms:
        pod.speaker.watch(room, 0.0)
        pod.speaker.note(room, "anna", None, is_first=True)
    streams, _ = pod.flush_all(others_watch=True)
    assert [room for stream in streams for room in stream.watch] == rooms
    assert [room for stream in streams for room in stream.first] == rooms


def test_a_large_room() -> None:
    """Numbers only above 200 users; at 150 others are to ask for all of it."""
    pod = Pod()
    users = [f"user {number}" for number in range(LARGE_USERS + 1)]
    for user in users[:-1]:
        pod.join(user)
    pod.speaker.wanted_by("peer", ["a"], 1)
    pod.flush()
    assert isinstance(pod.parts[0][1].rooms["a"], list)
    pod.join(users[-1])
    pod.flush()
    assert pod.streams[0].changes == {"a": Numbers(201, 201)}
    pod.speaker.wanted_by("peer", ["a"], 2)
    pod.end(users[0])
    pod.flush()
    assert pod.streams[0].changes == pod.parts[0][1].rooms == {"a": Numbers(200, 200)}
    for user in users[1 : LARGE_USERS + 1 - SMALL_USERS]:
        pod.end(user)
    pod.flush()
    assert (pod.streams[0].changes, pod.streams[0].first) == ({}, ["a"])


def test_more_than_fits_into_half_an_envelope() -> None:
    """Others are to ask for all of a room of which so much has changed."""
    pod = Pod()
    pod.join("anna")
    pod.speaker.wanted_by("peer", ["a"], 1)
    pod.flush()
    pod.info = Info.of("1" * 36, b'"%b"' % (b"i" * 254))
    for number in range(80):
        pod.join(f"user {number}")
    pod.flush()
    assert (pod.streams[0].changes, pod.streams[0].first) == ({}, ["a"])


def test_last_words() -> None:
    """All who are held, in as many envelopes as it takes, of which each says that it is the end."""
    pod = Pod()
    users = [f"{number:05}" + 250 * "x" for number in range(1000)]
    for user in users:
        pod.join(user)
        pod.end(user, hold=LOST)
    pod.flush()
    pod.streams = []
    pod.speaker.say_goodbye(5.0)
    assert 1 < len(pod.streams) < MAX_LAST_ENVELOPES
    assert all(stream.leaving and not stream.watching for stream in pod.streams)
    said = [member for stream in pod.streams for member in stream.changes["a"]]  # type: ignore[union-attr]
    assert said == [Member(user, 0, 10_000, "lost") for user in users]


def test_last_words_are_bounded() -> None:
    """Who does not fit is lost without them, fifteen seconds later."""
    pod = Pod()
    for number in range(20_000):
        pod.speaker.adopt("a", f"{number:05}" + 250 * "x", LOST)
    pod.speaker.say_goodbye(0.0)
    assert len(pod.streams) == MAX_LAST_ENVELOPES
