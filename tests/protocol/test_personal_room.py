"""The names of users' rooms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanic_chat.protocol.personal_room import (
    MAX_USER_CHARACTERS,
    ME,
    personal_room,
    user_of,
)

USERS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=MAX_USER_CHARACTERS)


@pytest.mark.parametrize(
    ("user", "room"),
    [
        ("anna", "@anna"),
        ("auth0|5f7c", "@auth0%7C5f7c"),
        ("https://idp/u/7", "@https:%2F%2Fidp%2Fu%2F7"),
        ("CN=Anna, O=X", "@CN%3DAnna%2C%20O%3DX"),
        ("a.b_c~d:e@f-g", "@a.b_c~d:e@f-g"),
        ("*", "@%2A"),
        ("caf\u00e9", "@caf%C3%A9"),
        ("cafe\u0301", "@cafe%CC%81"),
        ("@", "@@"),
        ("..", "@.."),
        ("a%20b", "@a%2520b"),
    ],
)
def test_rooms_of_users(user: str, room: str) -> None:
    """All but some ASCII is encoded, and nothing is normalised."""
    assert personal_room(user) == room
    assert user_of(room) == user


@given(USERS)
def test_any_user(user: str) -> None:
    """A user's room is ASCII, bounded, and leads back to exactly that user."""
    room = personal_room(user)
    assert room.isascii()
    assert len(room) <= 12 * len(user) + 1
    assert user_of(room) == user


@given(USERS, USERS)
def test_two_users(one: str, other: str) -> None:
    assert (personal_room(one) == personal_room(other)) == (one == other)


@given(st.text(max_size=20) | st.from_regex(r"@[a%0-9A-Fa-f~/ ]{0,12}", fullmatch=True))
def test_no_other_spelling(text: str) -> None:
    """What is a user's room has one spelling."""
    user = user_of(text)
    assert user is None or personal_room(user) == text


@pytest.mark.parametrize(
    "text", ["", "@", "anna", "@a b", "@%", "@%4", "@%c3%a9", "@%41", "@%FF", "@é"]
)
def test_what_is_no_room_of_a_user(text: str) -> None:
    assert user_of(text) is None


@pytest.mark.parametrize("character", ["a", "\u00e9", "\U0001f600"])
def test_users_are_bounded(character: str) -> None:
    """A longer name is nobody's room, or everybody could make pods keep any text as one."""
    assert user_of(personal_room(character * MAX_USER_CHARACTERS))
    assert user_of(personal_room(character * (MAX_USER_CHARACTERS + 1))) is None
    assert user_of("@" + character * 10**6) is None


def test_me() -> None:
    """It would be the room of a user whom no token can name."""
    assert personal_room("me") == ME
