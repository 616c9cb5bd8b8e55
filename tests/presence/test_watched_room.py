"""What the audience of a room is told: who gets a roster, who a change, and what stands in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sanic_chat.presence.audience import Audience
from sanic_chat.presence.own_part import LARGE_USERS, SMALL_USERS
from sanic_chat.presence.view import OWN, View
from sanic_chat.presence.watched_room import (
    MAX_EVENT_BYTES,
    PATIENCE_SECONDS,
    ROSTER_CHANGES,
    WatchedRoom,
)
from sanic_chat.protocol.channels import RedisNames
from sanic_chat.protocol.presence import Info, Member, Numbers
from sanic_chat.session.session import Session
from sanic_chat.websocket.frames import text_frame

from ..support.hub import HubHandler
from ..support.transports import received

PEER = 4


class Room(HubHandler):
    """A watched room, its view, and a clock."""

    def __init__(self) -> None:
        super().__init__()
        self.view = View()
        self.audience = Audience(self.hub, RedisNames("realtime"), "a")
        self.watched = WatchedRoom(self.view, self.audience, text_frame)
        self.now = 0.0

    def newcomer(self) -> Session:
        session = self.open()
        self.audience.add(session)
        return session

    def change(self, *users: str, bit: int = OWN, sessions: int = 1, hold_ms: int = 0) -> None:
        members = [Member(user, sessions, hold_ms) for user in users]
        self.view.change(bit, members, self.now)

    def tell(self, **options: bool) -> bool:
        """A window ends."""
        self.now += 0.25
        usual = {"is_complete": True, "may_wait": True, "is_rebuilt": False}
        again = self.watched.tell(self.now, heard_until=self.now, **{**usual, **options})
        self.rest()
        return again


def told(session: Session) -> list[dict[str, Any]]:
    """The events that a session has got since the last call."""
    events = [json.loads(text) for text in received(session)]
    seen = getattr(told, "seen", {})
    told.seen = seen  # type: ignore[attr-defined]
    before = seen.get(session, 0)
    seen[session] = len(events)
    return events[before:]


def test_a_roster_and_what_changes_after_it() -> None:
    """The numbers of the events follow each other, and each key is there."""
    room = Room()
    anna = room.newcomer()
    room.change("anna")
    assert room.tell(), "anna has to be counted as served"
    assert not room.tell()
    room.change("bert", bit=PEER, sessions=2)
    room.tell()
    room.change("bert", bit=PEER, sessions=0, hold_ms=750)
    assert room.tell(), "bert is held, and has to be looked at"
    roster, joined, session_left = told(anna)
    assert roster == {
        "event": "roster", "seq": roster["seq"], "users": 1, "sessions": 1, "exact": True,
        "complete": True, "members": [{"user": "anna"}],
    }  # fmt: skip
    assert joined == {
        "event": "changed", "seq": roster["seq"] + 1, "users": 2, "sessions": 3,
        "joined": [{"user": "bert"}], "updated": [], "left": [],
    }  # fmt: skip
    assert session_left["seq"] == roster["seq"] + 2
    assert (session_left["users"], session_left["sessions"]) == (2, 1)
    for _ in range(4):
        room.tell()
    [left] = told(anna)
    assert left["left"] == [{"user": "bert", "reason": "left"}]
    assert (left["users"], left["sessions"]) == (1, 1)


def test_nothing_new_is_not_told() -> None:
    """A window in which nothing changed is silent, and so is one whose changes cancel out."""
    room = Room()
    anna = room.newcomer()
    room.change("anna")
    room.tell()
    told(anna)
    room.change("bert", bit=PEER)
    room.change("anna", sessions=0, hold_ms=5000)
    room.change("bert", bit=PEER, sessions=0)
    room.change("anna")
    room.tell()
    assert [event["joined"] for event in told(anna)] == [[{"user": "bert"}]]
    room.tell()
    assert told(anna) == []


def test_a_newcomer_waits_for_a_complete_roster() -> None:
    """It waits for a second at most, not at all if that is no use, and gets another one then."""
    room = Room()
    patient = room.newcomer()
    room.change("anna")
    for _ in range(int(PATIENCE_SECONDS / 0.25)):
        assert room.tell(is_complete=False)
        assert told(patient) == []
    assert room.tell(is_complete=False)
    [roster] = told(patient)
    assert roster["complete"] is False
    cut_off = room.newcomer()
    room.tell(is_complete=False, may_wait=False)
    [roster] = told(cut_off)
    assert roster["complete"] is False
    assert not room.tell()
    for session in (patient, cut_off):
        assert [event["complete"] for event in told(session)] == [True]


def test_a_newcomer_waits_though_one_before_it_has_left() -> None:
    """It has as much time as if nobody had waited."""
    room = Room()
    room.change("anna")
    hasty = room.newcomer()
    assert room.tell(is_complete=False)
    room.audience.discard(hasty)
    for _ in range(int(PATIENCE_SECONDS / 0.25)):
        room.tell(is_complete=False)
    patient = room.newcomer()
    assert room.tell(is_complete=False)
    assert told(patient) == told(hasty) == []


def test_a_newcomer_waits_though_the_others_get_a_roster() -> None:
    """What one pod has answered is told to those who have one, and is not all yet."""
    room = Room()
    for kind in ("first", "second"):
        newcomer = room.newcomer()
        room.change(*(f"{kind} {number}" for number in range(ROSTER_CHANGES + 1)), bit=PEER)
        assert room.tell(is_complete=False, is_rebuilt=True)
        assert told(newcomer) == []
        room.tell()
        assert [event["complete"] for event in told(newcomer)] == [True]


def test_nobody_has_left_while_something_may_be_missing() -> None:
    """Holds end once the view is complete."""
    room = Room()
    anna = room.newcomer()
    room.change("anna", "bert")
    room.tell()
    told(anna)
    room.change("bert", sessions=0, hold_ms=1)
    for _ in range(40):
        room.tell(is_complete=False)
    assert [event["left"] for event in told(anna)] == [[]]
    room.tell()
    assert told(anna)[-1]["left"] == [{"user": "bert", "reason": "left"}]


def test_much_that_is_new_after_asking_anew_is_a_roster() -> None:
    """More than fifty differences come as one roster, and fewer as a change."""
    for count, event in ((ROSTER_CHANGES, "changed"), (ROSTER_CHANGES + 1, "roster")):
        room = Room()
        anna = room.newcomer()
        room.tell()
        told(anna)
        room.view.replace(PEER, [Member(f"user-{n}", 1) for n in range(count)], room.now)
        room.tell(is_rebuilt=True)
        assert [each["event"] for each in told(anna)] == [event]


def test_each_event_for_all_has_a_number_of_its_own() -> None:
    """Who misses a roster notices at the next change; one for who is new takes no number."""
    room = Room()
    anna = room.newcomer()
    room.change("anna")
    room.tell()
    room.view.replace(PEER, Numbers(500, 400), room.now)  # for all: nobody is named any more
    room.tell()
    room.newcomer()
    room.tell()
    room.change("bert")
    room.tell()
    first, *later = told(anna)
    assert [(event["event"], event["seq"] - first["seq"]) for event in later] == [
        ("roster", 1), ("changed", 2),
    ]  # fmt: skip


def test_a_large_room_is_told_in_numbers() -> None:
    """Over 200 users nobody is named any more; with 150 they all are again, in a roster."""
    room = Room()
    anna = room.newcomer()
    users = [f"user-{number}" for number in range(LARGE_USERS + 1)]
    room.change(*users[:-1])
    room.tell()
    [roster] = told(anna)
    assert len(roster["members"]) == LARGE_USERS
    room.change(users[-1], bit=PEER)
    room.change(users[0], bit=PEER)
    room.tell()
    [roster] = told(anna)
    assert (roster["members"], roster["exact"]) == (None, False)
    assert (roster["users"], roster["sessions"]) == (LARGE_USERS + 2, LARGE_USERS + 2)
    room.change(users[1], sessions=0)
    room.tell()
    [changed] = told(anna)
    assert [changed[key] for key in ("joined", "updated", "left")] == [None] * 3
    room.change(*users[2 : LARGE_USERS + 2 - SMALL_USERS], sessions=0)
    for _ in range(6):
        room.tell()
    *_, roster = told(anna)
    assert (roster["event"], roster["exact"], roster["users"]) == ("roster", True, SMALL_USERS)
    assert len(roster["members"]) == SMALL_USERS


def test_a_pod_that_names_nobody() -> None:
    """One pod with numbers only makes the room a large one."""
    room = Room()
    anna = room.newcomer()
    room.change("anna")
    room.view.replace(PEER, Numbers(500, 400), room.now)
    room.tell()
    [roster] = told(anna)
    assert (roster["users"], roster["sessions"], roster["members"]) == (401, 501, None)
    room.view.replace(PEER, [Member("bert", 1)], room.now)
    room.tell()
    [roster] = told(anna)
    assert [each["user"] for each in roster["members"]] == ["anna", "bert"]


@pytest.mark.parametrize("character", ["x", "\u00e9", "\x01"])
def test_the_longest_names_and_infos(character: str) -> None:
    """No event has more than 32 KiB, whatever users are called."""
    room = Room()
    anna = room.newcomer()
    for number in range(LARGE_USERS):
        user = f"{number:03d}" + character * 253
        info = Info.of("1", json.dumps({"a": "y" * 240}).encode())
        room.view.change(PEER, [Member(user, 1, info=info)], room.now)
        room.tell()
    sizes = [len(text) for text in received(anna)]
    assert max(sizes) <= MAX_EVENT_BYTES
    *_, last = told(anna)
    assert (last["users"], last["sessions"]) == (LARGE_USERS, LARGE_USERS)


def test_info_is_told_and_renewed() -> None:
    """It comes with the user, and who has another one is updated."""
    room = Room()
    anna = room.newcomer()
    bert = Info.of("1", b'{"name":"<img onerror=alert(1)>"}')
    room.view.change(PEER, [Member("bert", 1, info=bert)], room.now)
    room.tell()
    renewed = Info.of("1", b'{"name":"Bert"}')
    room.view.change(PEER, [Member("bert", 1, info=renewed)], room.now)
    room.tell()
    room.view.change(PEER, [Member("bert", 1)], room.now)
    room.tell()
    roster, *changes = told(anna)
    assert roster["members"] == [{"user": "bert", "info": {"name": "<img onerror=alert(1)>"}}]
    assert [each["updated"] for each in changes] == [
        [{"user": "bert", "info": {"name": "Bert"}}], [{"user": "bert"}],
    ]  # fmt: skip


def test_without_an_audience() -> None:
    """A room that nobody is told of any more is to be looked at, so that it is given up."""
    room = Room()
    anna = room.newcomer()
    room.tell()
    assert not room.tell()
    room.hub.remove(anna)
    assert room.tell()
