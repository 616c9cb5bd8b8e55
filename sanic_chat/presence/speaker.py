"""The speaker: what this pod tells the others of its members, in one numbered stream.

    joined, ended ─→ own parts ─→ (each window) flush ─→ a few stream envelopes, and answers
    watch, wanted_by ─→ (each window) ──────────────────────┘

The number of envelopes a window is bounded, whatever joins; what does not fit is told in the next.
Of a room that no pod watches only arrivals are told, in what is left of the window's envelopes:
another pod may hold who has come.

May live here: what others are still to be told. Must not know what they tell us.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from ..protocol.presence import (
    ENVELOPE_BYTES,
    MAX_WORDS_BYTES,
    Info,
    Member,
    Numbers,
    Part,
    Parts,
    Stream,
    encode,
    size_of,
)
from .holds import Hold
from .own_part import OwnPart

MAX_ENVELOPES = 8
"""The envelopes of one window, wants included."""
MAX_STREAM_ENVELOPES = 5
"""Those of them that are the stream's, so that who asks is answered in any case."""
MAX_LAST_ENVELOPES = 64
"""The envelopes of a pod's last words."""

Send = Callable[[str, bytes], None]
"""`Control.send`: a kind, and its JSON."""
SendTo = Callable[[str, str, bytes], None]
"""`Control.send_to`: to a pod."""


class Members(NamedTuple):
    """The members of rooms on this pod, as its hub has them."""

    users: Callable[[str], Iterable[str]]
    """Returns the users in a room."""
    presences: Callable[[str, str], tuple[int, Info | None]]
    """Returns the sessions of a user in a room, and the info of the newest that has one."""


class Speaker:
    """Tells the other pods of one pod's members, in numbered envelopes.

    `on_changed(room, members)` is told of the changes in a room that this pod itself watches.
    """

    def __init__(
        self,
        members: Members,
        send: Send,
        send_to: SendTo,
        *,
        on_changed: Callable[[str, list[Member]], None],
    ) -> None:
        self.n = 0
        """The number of the last envelope."""
        self.parts: dict[str, OwnPart] = {}
        """The rooms that are watched by any pod and have members or holds, or that have holds."""
        self.watchers: dict[str, set[str]] = {}
        """The other pods that watch a room of `parts`."""
        self.returned: set[tuple[str, str]] = set()
        """Rooms, and users who have come to them on another pod after they were told to."""
        self._members = members
        self._send = send
        self._send_to = send_to
        self._on_changed = on_changed
        self._expected: set[str] = set()  # users who were told to come back to another pod
        self._own: set[str] = set()  # the rooms that this pod watches
        self._watch: dict[str, None] = {}
        self._unwatch: dict[str, None] = {}
        self._first: dict[str, None] = {}
        self._forgot: dict[str, None] = {}
        self._came: dict[tuple[str, str], None] = {}  # rooms and users, of this window
        self._noted: dict[str, None] = {}  # rooms with changes that are not told
        self._answers: dict[str, dict[str, int]] = {}  # of each pod: rooms, by its last request

    # -- what happens here -----------------------------------------------------------------

    def note(self, room: str, user: str, hold: Hold | None, *, is_first: bool = False) -> None:
        """Note that a session of a user has joined a room (no hold), or has left it.

        `is_first`: it is the room's first member here.
        """
        part = self.parts.get(room)
        if part is None and hold is not None:
            part = self._part(room)
        if part is not None:
            part.note(user, hold)
            self._noted[room] = None
        if hold is None:
            self._came[room, user] = None
        if is_first:
            self._first[room] = None

    def info_changed(self, room: str, user: str) -> None:
        """Note that a session of a user in a room has another info."""
        part = self.parts.get(room)
        if part is not None:
            part.info_changed(user)
            self._noted[room] = None

    def watch(self, room: str, now: float) -> list[Member]:
        """Watch a room: all pods are asked for it. Returns its members here."""
        self._own.add(room)
        self._unwatch.pop(room, None)
        self._watch[room] = None
        return self._watched(room).members(now)

    def unwatch(self, room: str) -> None:
        """Watch a room no more."""
        self._own.discard(room)
        if room in self._watch:
            del self._watch[room]  # nobody was asked yet
        else:
            self._unwatch[room] = None
        self._release(room)

    def is_watching(self) -> bool:
        """Whether this pod watches any room."""
        return bool(self._own)

    # -- what others ask -------------------------------------------------------------------

    def wanted_by(self, peer: str, rooms: Iterable[str], req: int) -> None:
        """Answer a pod's request in the next window, and tell it of these rooms from now on."""
        for room in rooms:
            self._answers.setdefault(peer, {})[room] = req
            if room in self.parts or any(True for _ in self._members.users(room)):
                self._watched(room)
                self.watchers.setdefault(room, set()).add(peer)

    def unwatched_by(self, peer: str, rooms: Iterable[str]) -> None:
        """Tell a pod of these rooms no more."""
        for room in rooms:
            self.watchers.get(room, set()).discard(peer)
            self._release_unwatched(room)

    def forget(self, peers: Collection[str]) -> None:
        """Tell pods of nothing any more: they are gone, or watch nothing."""
        for peer in peers:
            self._answers.pop(peer, None)
            self._forgot.pop(peer, None)
        gone = set(peers)
        for room, watchers in list(self.watchers.items()):
            if not watchers.isdisjoint(gone):
                watchers -= gone
                self._release_unwatched(room)

    def has_forgotten(self, peer: str) -> None:
        """Have a pod ask for all that it watches, since it was taken for gone."""
        self._forgot[peer] = None

    def adopt(self, room: str, user: str, hold: Hold) -> None:
        """Hold a user for a pod that has left, and cannot tell of it any more."""
        self._part(room).adopt(user, hold)

    def expect_elsewhere(self, user: str) -> None:
        """Note that a user was told to come back to another pod."""
        self._expected.add(user)

    def came_elsewhere(self, rooms: Mapping[str, Iterable[str]]) -> None:
        """Hold users no more, who have come to rooms on another pod."""
        for room, users in rooms.items():
            self.returned.update((room, user) for user in self._expected.intersection(users))
            part = self.parts.get(room)
            if part is not None:
                for user in users:
                    part.holds.discard(user)

    # -- the end of a window ---------------------------------------------------------------

    @property
    def has_news(self) -> bool:
        """Whether there is anything to say."""
        return bool(
            self._noted
            or self._first
            or self._came
            or self._forgot
            or self._watch
            or self._unwatch
            or self._answers
        )

    def flush(
        self,
        now: float,
        *,
        req: int,
        others_watch: bool,
        in_use_ms: int = 0,
        must_speak: bool = False,
    ) -> int:
        """Say what is new, in at most `MAX_ENVELOPES`; return how many it were.

        `req` is the number of the request that newly watched rooms are. `others_watch`: whether
        anybody on another pod watches any room. `in_use_ms`: see `Stream`. `must_speak`: an empty
        envelope is said if there is nothing new.
        """
        if not others_watch:
            self._first.clear()
        watching = self.is_watching()
        words = _Words(
            self._say, MAX_STREAM_ENVELOPES, watching=watching, in_use_ms=in_use_ms, req=req
        )
        for field, names in (
            ("forgot", self._forgot),
            ("watch", self._watch),
            ("unwatch", self._unwatch),
            ("first", self._first),
        ):
            while names and not words.are_many:
                name = next(iter(names))
                del names[name]
                words.add_name(field, name)
        while self._noted and not words.are_many:
            room = next(iter(self._noted))
            del self._noted[room]
            self._say_changes(room, now, words)
        for room, user in self._came:
            if words.are_many:
                break
            words.add_user(room, user)
        self._came.clear()
        words.end(must_speak=must_speak)
        return words.envelopes + self._answer(now, MAX_ENVELOPES - words.envelopes)

    def _say_changes(self, room: str, now: float, words: _Words) -> None:
        part = self.parts.get(room)
        if part is None:
            return
        changes, is_named_otherwise = part.take_changes(now)
        if changes and room in self._own:
            self._on_changed(room, changes)
        if not self.watchers.get(room):
            return
        if part.is_large:
            words.add_numbers(room, part.numbers)
        elif is_named_otherwise or _size(room, changes) > MAX_WORDS_BYTES // 2:
            words.add_name("first", room)  # so they ask for all of it
        else:
            for member in changes:
                words.add_member(room, member)

    def say_goodbye(self, now: float) -> None:
        """Say the last words: who is held, so that others hold them in this pod's place."""
        words = _Words(self._say, MAX_LAST_ENVELOPES, leaving=True)
        for room, part in self.parts.items():
            for member in part.held(now):
                if not words.are_many:
                    words.add_member(room, member)
        words.end()

    def skip(self) -> None:
        """Leave a number out: what was said may be lost, and others are to ask again."""
        self.n += 1

    def sweep(self, now: float) -> None:
        """Let go of holds that are over, and of rooms about which nothing is to be told."""
        for room, part in list(self.parts.items()):
            part.holds.take_ended(now)
            if part.is_empty:
                self.watchers.pop(room, None)
            self._release(room)

    def _say(self, stream: dict[str, Any]) -> None:
        self.n += 1
        self._send("stream", encode(Stream(self.n, **stream)))

    def _answer(self, now: float, budget: int) -> int:
        """Answer requests, with so many envelopes; the rest waits."""
        said = 0
        while self._answers and said < budget:
            peer, rooms = next(iter(self._answers.items()))
            req = next(iter(rooms.values()))
            parts: dict[str, Part] = {}
            size = 0
            # A part has two thirds of an envelope at most.
            while size < MAX_WORDS_BYTES // 3 and next(iter(rooms.values()), None) == req:
                room = next(iter(rooms))
                del rooms[room]
                own = self.parts.get(room)
                part = parts[room] = own.part(now) if own is not None and own.is_watched else []
                size += _size(room, part)
            if not rooms:
                del self._answers[peer]
            self._send_to(peer, "parts", encode(Parts(self.n, req, parts)))
            said += 1
        return said

    # -- rooms -----------------------------------------------------------------------------

    def _part(self, room: str) -> OwnPart:
        part = self.parts.get(room)
        if part is None:
            presences = self._members.presences
            part = self.parts[room] = OwnPart(lambda user: presences(room, user))
        return part

    def _watched(self, room: str) -> OwnPart:
        part = self._part(room)
        part.watch(self._members.users(room))
        return part

    def _release_unwatched(self, room: str) -> None:
        """Let go of what is known of a room, unless another pod watches it."""
        if not self.watchers.get(room):
            self.watchers.pop(room, None)
            self._release(room)

    def _release(self, room: str) -> None:
        """Let go of what is known of a room that nobody watches."""
        part = self.parts.get(room)
        if part is None or room in self._own or room in self.watchers:
            return
        part.unwatch()
        if part.is_empty:
            del self.parts[room]


class _Words:
    """Puts the words of a window into as few envelopes of a bounded size as it takes."""

    def __init__(
        self, say: Callable[[dict[str, Any]], None], max_envelopes: int, **common: Any
    ) -> None:
        self.envelopes = 0
        """Those that were said."""
        self._say = say
        self._max_envelopes = max_envelopes
        self._common = common
        self._fields: dict[str, Any] = {}
        self._size = ENVELOPE_BYTES

    @property
    def are_many(self) -> bool:
        """Whether the rest has to wait: there is half an envelope left at most."""
        return self.envelopes >= self._max_envelopes - 1

    def add_name(self, field: str, name: str) -> None:
        """Say a room, or a pod, in one of the lists of them."""
        self._grow(_size(name, []))
        self._fields.setdefault(field, []).append(name)

    def add_member(self, room: str, member: Member) -> None:
        """Say that a member of a room has changed."""
        self._add("changes", room, member, size_of(member.user, member.info))

    def add_user(self, room: str, user: str) -> None:
        """Say that a user has come to a room."""
        self._add("came", room, user, len(encode(user)) + 1)

    def add_numbers(self, room: str, numbers: Numbers) -> None:
        """Say the numbers of a room."""
        self._grow(_size(room, numbers))
        self._fields.setdefault("changes", {})[room] = numbers

    def end(self, *, must_speak: bool = False) -> None:
        """Say what is left; an empty envelope if there must be one, and was none."""
        if self._fields or (must_speak and not self.envelopes):
            self._end_envelope()

    def _add(self, field: str, room: str, entry: Member | str, size: int) -> None:
        if self._size + size > MAX_WORDS_BYTES or room not in self._fields.get(field, ()):
            size += _size(room, [])
        self._grow(size)
        self._fields.setdefault(field, {}).setdefault(room, []).append(entry)

    def _grow(self, size: int) -> None:
        if self._size + size > MAX_WORDS_BYTES:
            self._end_envelope()
        self._size += size

    def _end_envelope(self) -> None:
        self._say(self._common | self._fields)
        self._fields = {}
        self._size = ENVELOPE_BYTES
        self.envelopes += 1


def _size(room: str, part: Part) -> int:
    size = len(encode(room)) + 48
    if isinstance(part, Numbers):
        return size
    return size + sum(size_of(member.user, member.info) for member in part)
