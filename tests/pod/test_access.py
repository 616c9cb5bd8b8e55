"""Access: who may do what, by token and setting."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanic_chat.pod.access import Access
from sanic_chat.protocol.identity import Identity
from sanic_chat.protocol.permissions import Right, parse_permissions
from sanic_chat.protocol.personal_room import personal_room, resolve

RIGHTS: tuple[Right, ...] = ("join", "publish", "presence")
EVERYTHING = [{"match": "*", "allow": [*RIGHTS]}, {"match": "@*", "allow": [*RIGHTS]}]


def access(
    *, global_publish: bool = True, personal_rooms: bool = True, personal_publish: bool = False
) -> Access:
    return Access(
        global_publish=global_publish,
        personal_rooms=personal_rooms,
        personal_publish=personal_publish,
    )


def identity(rules: Any = None, user: str = "anna") -> Identity:
    return Identity(user, None if rules is None else parse_permissions(rules))


def rights(where: Access, room: str, who: Identity | None, user: str = "anna") -> set[str]:
    return {right for right in RIGHTS if where.may(right, room, user=user, identity=who)}


@pytest.mark.parametrize("who", [None, identity()], ids=["no token", "no rules"])
def test_rooms_without_rules(who: Identity | None) -> None:
    assert rights(access(), "lobby", who) == set(RIGHTS)


def test_rooms_with_rules() -> None:
    who = identity([{"room": "lobby", "allow": ["join"]}])
    assert rights(access(), "lobby", who) == {"join"}
    assert rights(access(), "kitchen", who) == set()


@pytest.mark.parametrize("who", [None, identity(), identity([]), identity(EVERYTHING)])
def test_ones_own_room(who: Identity | None) -> None:
    """Needs no grant, unless there are no such rooms."""
    assert rights(access(), "@anna", who) == set(RIGHTS)
    assert rights(access(personal_rooms=False), "@anna", who) == set()


@pytest.mark.parametrize(
    ("who", "everyone", "allowed"),
    [
        (None, False, set()),
        (None, True, {"publish"}),
        (identity(), False, set()),
        (identity(), True, {"publish"}),
        (identity([]), True, set()),
        (identity(EVERYTHING), False, {"publish"}),
        (identity([{"room": "@bert", "allow": ["publish"]}]), False, {"publish"}),
        (identity([{"match": "*", "allow": ["publish"]}]), False, set()),
    ],
)
def test_rooms_of_others(who: Identity | None, everyone: bool, allowed: set[str]) -> None:
    """Nobody joins or sees them; who speaks there is the setting's or the token's to say."""
    assert rights(access(personal_publish=everyone), "@bert", who) == allowed
    none = access(personal_rooms=False, personal_publish=everyone)
    assert rights(none, "@bert", who) == set()


@pytest.mark.parametrize(
    ("who", "setting", "allowed"),
    [
        (None, True, True),
        (None, False, False),
        (identity(), True, True),
        (identity(), False, False),
        (identity([]), True, False),
        (identity(EVERYTHING), True, False),
        (identity([{"global": True}]), False, True),
    ],
)
def test_everybody(who: Identity | None, setting: bool, allowed: bool) -> None:
    """A token that speaks of rooms needs a grant of its own; else the setting counts."""
    assert access(global_publish=setting).may_speak_to_everybody(who) is allowed


def test_me() -> None:
    assert resolve("@me", "auth0|5") == "@auth0%7C5"
    assert resolve("lobby", "anna") == "lobby"
    assert resolve("@bert", "anna") == "@bert"


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(TEXTS, TEXTS)
def test_no_two_users_share_a_room(one: str, other: str) -> None:
    """Whatever they are called, and whatever their tokens grant."""
    who = identity(EVERYTHING, user=one)
    may = access(personal_publish=True).may("join", personal_room(other), user=one, identity=who)
    assert may == (one == other)
