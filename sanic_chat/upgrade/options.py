"""The options of a session, which a client names in path and query of its handshake.

    /ws/{room}?room=…&events=system,presence&echo=0 ─→ read_query ─→ parse_options

May live here: what the parameters mean, and what is wrong in them. Must not know headers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qs

import msgspec

from ..errors import UpgradeRefused
from ..protocol.room_name import ROOM_NAME_RULE, normalise_room_name
from ..websocket.handshake import Handshake

EVENTS: Final = frozenset({"system", "presence"})


MAX_QUERY_PARAMETERS = 64


class SessionOptions(msgspec.Struct, frozen=True):
    """The options of one session."""

    room: str | None
    """The room's normalised name; None: in no room."""
    system_events: bool
    presence: bool
    echo: bool


Query = Mapping[str, Sequence[str]]
"""The decoded parameters of a query, each with all its values."""


def read_query(handshake: Handshake) -> Query:
    """Decode a handshake's query. Raises UpgradeRefused 400 if it has too many parameters."""
    if not handshake.query:
        return {}
    try:
        return parse_qs(
            handshake.query, keep_blank_values=True, max_num_fields=MAX_QUERY_PARAMETERS
        )
    except ValueError:
        raise UpgradeRefused(
            400, "bad_handshake", f"The query has more than {MAX_QUERY_PARAMETERS} parameters"
        ) from None


def parse_options(handshake: Handshake, query: Query) -> SessionOptions:
    """Read the options in path and query.

    Raises UpgradeRefused 400: `bad_room`, `room_conflict`, `bad_events` or `bad_echo`.
    """
    path_room = handshake.path_room
    if not query:  # as mostly
        room = None if path_room is None else _normalise(path_room)
        return SessionOptions(room, system_events=False, presence=False, echo=True)
    events = _events(query) if "events" in query else ()
    return SessionOptions(
        room=_room(path_room, query),
        system_events="system" in events,
        presence="presence" in events,
        echo=_echo(query),
    )


def _room(path_room: str | None, query: Query) -> str | None:
    named = [] if path_room is None else [path_room]
    named += filter(None, query.get("room", ()))  # a form's empty field is no name
    names = set(map(_normalise, named))
    if len(names) > 1:
        raise UpgradeRefused(
            400, "room_conflict", "The path and ?room= name different rooms; name one"
        )
    return names.pop() if names else None


def _normalise(text: str) -> str:
    name = normalise_room_name(text)
    if name is None:
        raise UpgradeRefused(400, "bad_room", f"Not a room name: {ROOM_NAME_RULE}")
    return name


def _events(query: Query) -> frozenset[str]:
    events = frozenset(filter(None, ",".join(query["events"]).split(",")))
    if not events <= EVENTS:
        raise UpgradeRefused(
            400, "bad_events", f"events may hold {' and '.join(sorted(EVENTS))}, with a comma"
        )
    return events


def _echo(query: Query) -> bool:
    echo = query.get("echo", ("",))[0] or "1"
    if echo not in ("0", "1"):
        raise UpgradeRefused(400, "bad_echo", "echo is 0 or 1")
    return echo == "1"
