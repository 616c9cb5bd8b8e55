"""What a client asks for in path and query, and what is refused there."""

from __future__ import annotations

import pytest

from sanic_chat.errors import UpgradeRefused
from sanic_chat.upgrade.options import (
    MAX_QUERY_PARAMETERS,
    SessionOptions,
    parse_options,
    read_query,
)
from sanic_chat.websocket.handshake import Handshake


def handshake_with(query: str, path_room: str | None = None) -> Handshake:
    return Handshake(path_room, query, headers={}, http_version="1.1", secure=False)


def options(query: str, path_room: str | None = None) -> SessionOptions:
    handshake = handshake_with(query, path_room)
    return parse_options(handshake, read_query(handshake))


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("", {}),
        ("room=a&room=b", {"room": ["a", "b"]}),
        ("room=caf%C3%A9+x&token=&%65cho=0", {"room": ["café x"], "token": [""], "echo": ["0"]}),
        ("&".join(["x"] * MAX_QUERY_PARAMETERS), {"x": [""] * MAX_QUERY_PARAMETERS}),
    ],
)
def test_query(query: str, parameters: dict[str, list[str]]) -> None:
    """Names and values are decoded, and all values of a name are kept."""
    assert read_query(handshake_with(query)) == parameters


def test_a_query_with_too_many_parameters() -> None:
    """It is refused before any of it is decoded."""
    with pytest.raises(UpgradeRefused, match="more than 64 parameters") as refused:
        read_query(handshake_with("&" * MAX_QUERY_PARAMETERS))
    assert (refused.value.status, refused.value.code) == (400, "bad_handshake")


def test_what_is_not_asked_for() -> None:
    """No room, no events, and an echo of what one says."""
    nothing = SessionOptions(room=None, system_events=False, presence=False, echo=True)
    for query in ("", "room=", "room=&room=", "events=", "events=,", "echo=", "what=ever"):
        assert options(query) == nothing


@pytest.mark.parametrize(
    ("path_room", "query", "room"),
    [
        ("lobby", "", "lobby"),
        ("lobby", "room=", "lobby"),
        ("lobby", "room=lobby", "lobby"),
        (None, "room=lobby", "lobby"),
        (None, "room=lobby&room=lobby", "lobby"),
        ("e\u0301", "room=%C3%A9", "\u00e9"),
    ],
)
def test_room(path_room: str | None, query: str, room: str) -> None:
    """It may stand in path and query, and be written in several ways, if it is one."""
    assert options(query, path_room).room == room


@pytest.mark.parametrize(
    ("query", "system_events", "presence"),
    [
        ("events=system", True, False),
        ("events=presence", False, True),
        ("events=system,presence", True, True),
        ("events=presence&events=system", True, True),
        ("events=,system,", True, False),
    ],
)
def test_events(query: str, *, system_events: bool, presence: bool) -> None:
    """A list, in as many parts as one likes."""
    found = options(query)
    assert (found.system_events, found.presence) == (system_events, presence)


@pytest.mark.parametrize(
    ("path_room", "query", "code"),
    [
        ("lobby", "room=other", "room_conflict"),
        (None, "room=a&room=b", "room_conflict"),
        ("a  b", "", "bad_room"),
        (None, "room=a+b+", "bad_room"),
        ("lobby", "room=a%26b", "bad_room"),
        (None, "events=all", "bad_events"),
        (None, "events=system,all", "bad_events"),
        (None, "events=System", "bad_events"),
        (None, "echo=2", "bad_echo"),
        (None, "echo=false", "bad_echo"),
    ],
)
def test_what_there_is_not(path_room: str | None, query: str, code: str) -> None:
    """It is refused with 400: no client is connected to what it did not ask for."""
    with pytest.raises(UpgradeRefused) as refused:
        options(query, path_room)
    assert (refused.value.status, refused.value.code) == (400, code)


@pytest.mark.parametrize(("query", "echo"), [("echo=0", False), ("echo=1", True)])
def test_echo(query: str, *, echo: bool) -> None:
    assert options(query).echo is echo
