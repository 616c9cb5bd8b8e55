"""The part of a room on this pod: what it is, and what has changed since it was told."""

from __future__ import annotations

import msgspec
import pytest

from sanic_chat.presence.holds import Hold
from sanic_chat.presence.own_part import LARGE_BYTES, LARGE_USERS, SMALL_USERS, OwnPart
from sanic_chat.protocol.presence import Info, Member, Numbers, encode, size_of

LOST, LEFT = Hold(15.0, "lost"), Hold(0.75, "left")


class Room:
    """A room's sessions, and its part."""

    def __init__(self, *users: str, watched: bool = True) -> None:
        self.sessions: dict[str, list[Info | None]] = {user: [None] for user in users}
        self.part = OwnPart(self._presences)
        if watched:
            self.part.watch(self.sessions)

    def _presences(self, user: str) -> tuple[int, Info | None]:
        sessions = self.sessions.get(user, [])
        infos = [info for info in sessions if info is not None]
        return len(sessions), max(infos, key=lambda info: info.client_id, default=None)

    def joins(self, *users: str, info: Info | None = None) -> None:
        for user in users:
            self.sessions.setdefault(user, []).append(info)
            self.part.note(user, None)

    def ends(self, *users: str, hold: Hold = LEFT) -> None:
        """Sessions end, the oldest first; it is noted while they are still there."""
        for user in users:
            self.part.note(user, hold)
            self.sessions[user].pop(0)

    def changes(self, now: float = 0.0) -> list[Member]:
        return self.part.take_changes(now)[0]


def info(client_id: str, content: str) -> Info:
    return Info.of(client_id, encode(content))


def test_users_come_and_go() -> None:
    """Each is told once, with the number of its sessions; who has gone with the hold."""
    room = Room("anna")
    assert room.part.members(0.0) == [Member("anna", 1)]
    room.joins("anna", "bert")
    assert room.changes() == [Member("anna", 2), Member("bert", 1)]
    assert room.changes() == []
    room.ends("bert", hold=LOST)
    assert room.changes() == [Member("bert", 0, 15_000, "lost")]
    assert room.part.numbers == Numbers(sessions=2, users=1)
    assert room.part.members(5.0) == [Member("anna", 2), Member("bert", 0, 10_000, "lost")]
    assert room.part.members(15.0) == [Member("anna", 2)]


def test_gone_and_back_within_a_window() -> None:
    """Nothing has changed; the hold is over."""
    room = Room("anna")
    room.ends("anna", hold=LOST)
    room.joins("anna")
    assert room.changes() == []
    assert not room.part.holds


def test_come_and_gone_within_a_window() -> None:
    """It was here, so it is held."""
    room = Room()
    room.joins("anna")
    room.ends("anna", hold=LOST)
    assert room.changes() == [Member("anna", 0, 15_000, "lost")]


def test_one_of_two_sessions_is_lost() -> None:
    """The hold is told while the other is here, and outlives it; a new session ends it."""
    room = Room("anna", "bert")
    room.joins("anna", "bert")
    room.changes()
    room.ends("anna", "bert", hold=LOST)
    assert room.changes() == [Member(user, 1, 15_000, "lost") for user in ("anna", "bert")]
    room.joins("bert")
    assert room.changes() == [Member("bert", 2)]
    room.ends("anna", "bert", "bert", hold=Hold(5.75, "left"))
    assert room.changes(5.0) == [
        Member("anna", 0, 10_000, "lost"),
        Member("bert", 0, 750, "left"),
    ]


def test_two_end_within_a_window() -> None:
    """The longer hold counts, in whichever order they end."""
    for first, last in ((LOST, LEFT), (LEFT, LOST)):
        room = Room("anna")
        room.joins("anna")
        room.changes()
        room.ends("anna", hold=first)
        room.ends("anna", hold=last)
        assert room.changes() == [Member("anna", 0, 15_000, "lost")]


def test_infos() -> None:
    """The newest session's counts; another one is a change, and so is none."""
    old, new = info("1", "old"), info("2", "new")
    room = Room()
    room.joins("anna", info=new)
    assert room.changes() == [Member("anna", 1, info=new)]
    room.joins("anna", info=old)
    assert room.changes() == [Member("anna", 2, info=new)]
    room.ends("anna", hold=Hold(0.0, "left"))
    assert room.changes(1.0) == [Member("anna", 1, info=old)]
    room.sessions["anna"] = [info("1", "old")]
    room.part.note("anna", None)
    assert room.changes() == []
    room.sessions["anna"] = [None]
    room.part.note("anna", None)
    assert room.changes() == [Member("anna", 1)]


def test_a_room_that_nobody_watches() -> None:
    """Only its holds are kept, from the window's end on; who has another session is not held."""
    room = Room("anna", "bert", watched=False)
    room.joins("bert")
    room.ends("anna", "bert", hold=Hold(15.0, "drained"))
    assert not room.part.is_empty
    room.changes()
    assert (room.part.users, [*room.part.holds.items(0.0)]) == (
        {},
        [("anna", Hold(15.0, "drained"))],
    )
    room.joins("anna")
    room.changes()
    assert room.part.is_empty


def test_the_last_watcher_goes() -> None:
    """Members are let go of; who is held, or has just left, is held on."""
    room = Room("anna", "bert", "carl")
    room.ends("anna")
    room.changes()
    room.ends("bert")
    room.part.unwatch()
    room.changes()
    assert room.part.numbers == Numbers(0, 0)
    assert [user for user, _ in room.part.holds.items(0.0)] == ["anna", "bert"]
    room.part.watch(user for user, sessions in room.sessions.items() if sessions)
    assert {member.user: member.sessions for member in room.part.members(0.0)} == {
        "carl": 1,
        "anna": 0,
        "bert": 0,
    }


def test_many_users() -> None:
    """Above 200 they are not named, and are again at 150."""
    users = [f"user {number}" for number in range(LARGE_USERS)]
    room = Room(*users)
    assert isinstance(room.part.part(0.0), list)
    room.joins("one more")
    _, is_named_otherwise = room.part.take_changes(0.0)
    assert is_named_otherwise
    assert room.part.part(0.0) == Numbers(LARGE_USERS + 1, LARGE_USERS + 1)
    room.ends(*users[: LARGE_USERS - SMALL_USERS])
    assert room.part.take_changes(0.0)[1] is False
    room.ends("one more")
    assert room.part.take_changes(0.0)[1] is True
    named = room.part.part(0.0)
    assert isinstance(named, list)
    assert sum(member.sessions for member in named) == SMALL_USERS


@pytest.mark.parametrize("character", ["x", "é", '"', "\x1f", "\N{PILE OF POO}"])
def test_long_users(character: str) -> None:
    """A part that is named has at most 30 KiB, whatever is in it; the holds are what fits."""
    room = Room()
    count = 0
    while not room.part.is_large:
        part = room.part.part(99.0)
        assert len(encode(part)) <= LARGE_BYTES
        room.joins(f"{count:03}" + 253 * character, info=info("1" * 36, "i" * 254))
        room.part.take_changes(0.0)
        count += 1
    assert isinstance(room.part.part(0.0), Numbers)
    room = Room("anna")
    held = [f"{number:03}" + 253 * character for number in range(LARGE_USERS)]
    room.joins(*held)
    room.ends(*held, hold=LOST)
    room.changes()
    part = room.part.part(0.0)
    assert isinstance(part, list)
    assert part[0] == Member("anna", 1)
    assert len(encode(part)) <= LARGE_BYTES
    bound = sum(size_of(member.user, None) for member in part)
    assert bound + size_of(held[0], None) > LARGE_BYTES


def test_many_sessions_and_infos_of_one_user_are_one() -> None:
    """What counts are users."""
    room = Room()
    for number in range(3 * LARGE_USERS):
        room.joins("anna", info=info(f"{number:04}", "x" * 200))
    [member] = room.changes()
    assert (member.sessions, room.part.is_large) == (3 * LARGE_USERS, False)
    assert member.info == info(f"{3 * LARGE_USERS - 1:04}", "x" * 200)
    assert isinstance(member.info.content, msgspec.Raw)
