"""The view of a room: who is present on all pods, and what is new since it was told."""

from __future__ import annotations

import tracemalloc

import pytest

from sanic_chat.presence.holds import HEARSAY_SECONDS, SETTLE_SECONDS, Hold
from sanic_chat.presence.own_part import LARGE_BYTES, LARGE_USERS, SMALL_USERS
from sanic_chat.presence.view import OWN, Changes, View
from sanic_chat.protocol.presence import Info, Member, Numbers, Reason, encode

A, B, C = OWN << 1, OWN << 2, OWN << 3
"""Other pods."""


class Room:
    """A view, and the time."""

    def __init__(self) -> None:
        self.view = View()
        self.now = 0.0

    def change(
        self, bit: int, user: str, sessions: int = 1, hold: float = 0.0, reason: Reason = "left"
    ) -> None:
        member = Member(user, sessions, round(1000 * hold), reason)
        self.view.change(bit, [member], self.now)

    def tell(self, after: float = 0.0, *, heard_until: float | None = None) -> Changes:
        """What is told some time later."""
        self.now += after
        heard_until = self.now if heard_until is None else heard_until
        return self.view.take_changes(self.now, heard_until=heard_until)

    def left(self, after: float) -> list[tuple[str, Reason]]:
        """Who has left some time later, when holds that end then have ended everywhere."""
        return self.tell(after + HEARSAY_SECONDS).left


def info(client_id: str, content: str) -> Info:
    return Info.of(client_id, encode(content))


def test_who_came_and_is_not_seen() -> None:
    """Has time to be seen, and no more than that, whatever the hold was; nobody else is held."""
    room = Room()
    room.change(A, "anna")
    room.change(A, "anna", 0, 15.0, "lost")
    for user in ("anna", "bert"):
        room.view.came(user, room.now)
    assert room.tell().joined == ["anna"]
    assert room.left(SETTLE_SECONDS - 0.01 - HEARSAY_SECONDS) == []
    assert room.left(0.02) == [("anna", "left")]


def test_a_user_is_there_once() -> None:
    """It joins with its first session anywhere, and leaves with the last."""
    room = Room()
    room.change(A, "anna", 2)
    assert room.tell().joined == ["anna"]
    room.change(B, "anna")
    changes = room.tell()
    assert (changes.joined, changes.updated, changes.left, changes.numbers_differ) == (
        [], [], [], True,
    )  # fmt: skip
    assert room.view.numbers == (1, 3)
    room.change(A, "anna", 0, 0.75)
    assert room.left(1.0) == []
    room.change(B, "anna", 0, 0.75)
    assert room.left(0.7) == []
    assert room.view.members() == ["anna"]
    assert room.left(0.1) == [("anna", "left")]
    assert (room.view.members(), room.view.numbers) == ([], (0, 0))
    assert not room.tell()


def test_holds() -> None:
    """The last to end gives the reason; a session that comes ends it, one that stays does not."""
    room = Room()
    for user in ("anna", "bert", "carl"):
        room.change(A, user)
        room.change(B, user)
    room.tell()
    for user in ("anna", "bert"):
        room.change(A, user, 0, 15.0, "lost")
    room.change(A, "carl", 0, 15.0, "drained")
    room.change(A, "bert")
    room.change(B, "anna", 1)  # it has been there all the time
    for user in ("anna", "carl"):
        room.change(B, user, 0, 0.75)
    assert room.left(0.8) == [("carl", "left")]
    assert room.left(14.2) == [("anna", "lost")]
    room.change(A, "bert", 0, 5.0)
    room.change(B, "bert", 0, 0.75, "kicked")
    assert room.left(5.1) == [("bert", "left")]


def test_other_pods_have_time_to_say_that_a_user_is_back() -> None:
    """A hold ends a window and some milliseconds later here than where it began."""
    room = Room()
    room.change(A, "anna")
    room.tell()
    room.change(A, "anna", 0, 5.0)
    assert room.tell(5.0).left == []
    room.change(B, "anna")
    assert not room.tell(30.0).left


def test_no_hold_ends_while_something_may_be_missing() -> None:
    room = Room()
    room.change(A, "anna")
    room.tell()
    room.change(A, "anna", 0, 5.0)
    assert room.tell(60.0, heard_until=5.0 + HEARSAY_SECONDS - 0.01).left == []
    assert room.tell().left == [("anna", "left")]


def test_who_has_come_and_gone() -> None:
    """Within one window: held, so it is told as one who is there."""
    room = Room()
    room.change(A, "anna", 0, 5.0, "lost")
    room.change(B, "bert")
    room.change(B, "bert", 0, 0.75)
    assert room.tell().joined == ["anna", "bert"]
    assert room.left(5.0) == [("anna", "lost"), ("bert", "left")]


def test_a_whole_part() -> None:
    """Who is not in it any more has time to be elsewhere; held users in it are there."""
    room = Room()
    for user in ("anna", "bert", "carl"):
        room.change(A, user)
    room.tell()
    part = [Member("anna", 3), Member("bert", 0, 10_000, "lost"), Member("dora", 1)]
    room.view.replace(A, part, room.now)
    changes = room.tell(0.25)
    assert (changes.joined, changes.left) == (["dora"], [])
    assert room.view.numbers == (4, 4)
    assert room.left(SETTLE_SECONDS) == [("carl", "left")]
    assert room.left(10.0) == [("bert", "lost")]


def test_a_pod_is_gone() -> None:
    """Its users are held, but for those that are elsewhere."""
    room = Room()
    for user in ("anna", "bert"):
        room.change(A, user, 2)
    room.change(B, "bert")
    room.tell()
    assert room.view.remove(A, Hold(15.0, "lost"))
    assert room.tell(14.0).left == []
    assert room.view.numbers == (2, 1)
    assert room.left(1.0) == [("anna", "lost")]
    assert not room.view.remove(A, Hold(30.0, "lost"))


def test_some_pods_are_gone() -> None:
    """A user of several of them is held once."""
    room = Room()
    for bit in (A, B):
        room.change(bit, "anna")
    room.view.change(C, Numbers(3, 2), 0.0)
    room.tell()
    assert room.view.remove(A | B | C, Hold(15.0, "lost"))
    assert room.tell(14.0).left == []
    assert room.view.numbers == (1, 0)
    assert room.left(1.0) == [("anna", "lost")]


def test_infos() -> None:
    """The newest client ID's counts, on whatever pod; a held user keeps what was told."""
    room = Room()
    old, new = info("1", "old"), info("2", "new")
    room.view.change(A, [Member("anna", 1, info=old)], 0.0)
    assert (room.tell().joined, room.view.info_of("anna")) == (["anna"], old)
    room.view.change(B, [Member("anna", 1, info=new)], 0.0)
    assert (room.tell().updated, room.view.info_of("anna")) == (["anna"], new)
    room.view.change(B, [Member("anna", 0, 5000)], 0.0)
    assert (room.tell().updated, room.view.info_of("anna")) == (["anna"], old)
    room.view.change(A, [Member("anna", 0, 5000)], 0.0)
    assert (room.tell().updated, room.view.info_of("anna")) == ([], old)
    room.change(B, "anna")
    assert (room.tell().updated, room.view.info_of("anna")) == (["anna"], None)


def test_many_users() -> None:
    """Above 200 on all pods they are not named, and are again at 150; sums are by pods then."""
    room = Room()
    for number in range(LARGE_USERS):
        room.change(A if number % 2 else OWN, f"user {number}")
    changes = room.tell()
    assert (len(changes.joined), changes.mode_differs) == (LARGE_USERS, False)
    room.change(OWN, "user 1")
    room.change(OWN, "anna")
    assert room.tell().mode_differs
    assert not room.view.is_named
    assert room.view.numbers == (LARGE_USERS + 2, LARGE_USERS + 2)
    for number in range(LARGE_USERS - SMALL_USERS + 1):
        for bit in (A, OWN):
            room.change(bit, f"user {number}", 0, 0.75)
    assert not room.tell().mode_differs  # they are held
    assert room.tell(2.0).mode_differs
    assert room.view.is_named
    assert room.view.numbers == (SMALL_USERS, SMALL_USERS)


def test_a_pod_that_names_nobody() -> None:
    """While one has too many members, nobody is named; nobody has left for that."""
    room = Room()
    room.change(A, "anna")
    room.change(B, "bert")
    room.tell()
    room.view.change(A, Numbers(sessions=300, users=250), room.now)
    assert room.tell().mode_differs
    assert room.view.numbers == (251, 301)
    room.view.change(A, Numbers(sessions=301, users=250), room.now)
    assert room.tell().numbers_differ
    room.view.replace(A, [Member("anna", 1)], room.now)
    changes = room.tell(5.0)
    assert (changes.mode_differs, changes.left) == (True, [])
    assert sorted(room.view.members()) == ["anna", "bert"]


@pytest.mark.parametrize("character", ["x", "é", "\x1f"])
def test_long_users(character: str) -> None:
    """What would not fit into a roster is not named; when it has gone, nothing of it is counted."""
    room = Room()
    users = [f"{number:03}" + 253 * character for number in range(LARGE_USERS // 2)]
    for _ in range(3):
        named = 0
        for number, user in enumerate(users):
            member = Member(user, 1, info=info(str(number), "i" * 254))
            room.view.change(A, [member], room.now)
            room.tell()
            if room.view.is_named:
                named = number
        assert named
        members = [[user, {"info": "i" * 254}] for user in users[:named]]
        assert len(encode(members)) <= LARGE_BYTES
        room.view.remove(A, Hold(room.now, "lost"))
        assert len(room.left(1.0)) == len(users)
        assert (room.view.is_named, room.view._size.bytes) == (True, 0)


def test_memory() -> None:
    """A member takes some 90 bytes, its name among them, and a hold 150 at most."""

    def a_room(hold_ms: int) -> View:
        view = View()
        for sessions in (1, 0) if hold_ms else (1,):
            view.change(
                A, [Member(f"user-{n:06}", sessions, hold_ms) for n in range(LARGE_USERS - 50)], 0.0
            )
            view.take_changes(0.0, heard_until=0.0)
        return view

    def bytes_of_a_member(hold_ms: int) -> float:
        tracemalloc.start()
        try:
            rooms = [a_room(hold_ms) for _ in range(100)]
            return tracemalloc.get_traced_memory()[0] / len(rooms) / (LARGE_USERS - 50)
        finally:
            tracemalloc.stop()

    member = bytes_of_a_member(0)
    assert 70 < member < 130
    assert 50 < bytes_of_a_member(15_000) - member < 150
