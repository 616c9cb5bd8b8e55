"""A client's opening handshake (RFC 6455 section 4.2.1): what it asks for, and what is wrong in it.

May live here: how a handshake is read, and what its path, query and headers mean. Must not know
Sanic, sockets, or whether there is a place for its sender.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import parse_qs

import httptools

from .errors import UpgradeRefused
from .names import ROOM_NAME_RULE, normalise_room_name
from .websocket import accept_key

EVENTS: Final = frozenset({"system", "presence"})

MAX_PLAIN_BYTES = 8192
"""A plain handshake's head has no more; Sanic says of a longer one whether it is too long."""

HEADERS: Final = (
    "authorization",
    "connection",
    "host",
    "origin",
    "sec-websocket-key",
    "sec-websocket-version",
    "upgrade",
)
"""The headers that a handshake is made of, in lower case."""

_NO_LINES: Sequence[str] = ()


class Handshake(NamedTuple):
    """What a client's opening request says, decoded and not judged yet."""

    path_room: str | None
    query: Mapping[str, Sequence[str]]
    headers: Mapping[str, Sequence[str]]
    """Of `HEADERS` those that it has, each with all its values."""
    http_version: str
    secure: bool
    """Whether it came over TLS."""

    def lines(self, header: str) -> Sequence[str]:
        """All values of a header."""
        return self.headers.get(header, _NO_LINES)

    def first(self, header: str) -> str:
        """The first value of a header, or nothing."""
        lines = self.headers.get(header)
        return lines[0] if lines else ""


class Wishes(NamedTuple):
    """What a client wants to be connected to."""

    room: str | None
    """Normalised; None: no room but the global one."""
    system_events: bool
    presence: bool
    echo: bool


def read_wishes(handshake: Handshake) -> Wishes:
    """What path and query ask for. Raises UpgradeRefused 400 if they ask for what there is not."""
    query = handshake.query
    events = _events(query) if "events" in query else ()
    return Wishes(
        room=_room(handshake.path_room, query),
        system_events="system" in events,
        presence="presence" in events,
        echo=_echo(query),
    )


def _room(path_room: str | None, query: Mapping[str, Sequence[str]]) -> str | None:
    named = [] if path_room is None else [path_room]
    named += query.get("room", ())
    names = {normalise_room_name(text) for text in named}
    if None in names:
        raise UpgradeRefused(400, "bad_room", f"Not a room name: {ROOM_NAME_RULE}")
    if len(names) > 1:
        raise UpgradeRefused(
            400, "room_conflict", "The path and ?room= name different rooms; name one"
        )
    return names.pop() if names else None


def _events(query: Mapping[str, Sequence[str]]) -> frozenset[str]:
    events = frozenset(filter(None, ",".join(query["events"]).split(",")))
    if not events <= EVENTS:
        raise UpgradeRefused(
            400, "bad_events", f"events may hold {' and '.join(sorted(EVENTS))}, with a comma"
        )
    return events


def _echo(query: Mapping[str, Sequence[str]]) -> bool:
    echo = query.get("echo", ("",))[0] or "1"
    if echo not in ("0", "1"):
        raise UpgradeRefused(400, "bad_echo", "echo is 0 or 1")
    return echo == "1"


def accept_of(handshake: Handshake) -> str:
    """The Sec-WebSocket-Accept that answers a handshake.

    Raises UpgradeRefused: 426 for what is no WebSocket handshake or of another version, 400 for
    a broken one.
    """
    if not _has_token(handshake.first("upgrade"), "websocket"):
        raise UpgradeRefused(
            426,
            "upgrade_required",
            "This is a WebSocket endpoint: connect with a WebSocket client",
            {"Upgrade": "websocket"},
        )
    if handshake.http_version != "1.1":
        raise UpgradeRefused(400, "bad_handshake", "A WebSocket handshake needs HTTP/1.1")
    if not _has_token(handshake.first("connection"), "upgrade"):
        raise UpgradeRefused(400, "bad_handshake", "The Connection header must contain Upgrade")
    if handshake.first("sec-websocket-version") != "13":
        raise UpgradeRefused(
            426,
            "unsupported_version",
            "Only version 13 of the WebSocket protocol is spoken here",
            {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"},
        )
    keys = handshake.lines("sec-websocket-key")
    accept = accept_key(keys[0]) if len(keys) == 1 else None
    if accept is None:
        raise UpgradeRefused(
            400, "bad_handshake", "Sec-WebSocket-Key must be 16 bytes in base64, once"
        )
    return accept


def _has_token(header: str, token: str) -> bool:
    """Whether a comma-separated header contains a token, which is given in lower case."""
    header = header.lower()
    return header == token or token in map(str.strip, header.split(","))


class HandshakeReader:
    """Reads the handshakes that are plain: whole, to a chat's endpoint, with nothing unusual.

    That is what nearly all clients send. What it does not read is not wrong: it is for a full HTTP
    server to say what it is. `prefixes` are the paths under which there is a chat.
    """

    def __init__(self, prefixes: Iterable[str]) -> None:
        under = "|".join(re.escape(prefix) for prefix in prefixes)
        # Percent-encoded rooms, `.` and `..` are not plain, and `stats` is no room.
        self._target = re.compile(
            rf"(?:{under})/ws(?:/(?!stats(?:\?|$))([A-Za-z0-9_~:@-][A-Za-z0-9._~:@-]*))?"
            r"(?:\?([!-\"$-~]*))?"
        )

    def read(self, data: bytes, *, secure: bool) -> tuple[Handshake, bytes] | None:
        """A handshake, and what follows it in `data`; None if `data` is no plain one."""
        head = _Head()
        parser = httptools.HttpRequestParser(head)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            end: int = upgrade.args[0]
        except httptools.HttpParserError:
            return None
        else:
            return None  # not whole yet, or no handshake
        if end > MAX_PLAIN_BYTES or data.find(b"\r\n\r\n") + 4 != end or not head.is_plain:
            return None
        target = self._target.fullmatch(head.target)
        if target is None or parser.get_method() != b"GET":
            return None
        room, query = target.groups()
        handshake = Handshake(
            path_room=room,
            query=parse_qs(query, keep_blank_values=True) if query else {},
            headers=head.headers,
            http_version=parser.get_http_version(),
            secure=secure,
        )
        return handshake, data[end:]


_KNOWN: Final = {name.encode(): name for name in HEADERS}
_UNUSUAL: Final = frozenset({b"content-length", b"expect", b"transfer-encoding"})


class _Head:
    """What httptools finds in a request's head."""

    __slots__ = ("headers", "is_plain", "target")

    def __init__(self) -> None:
        self.target = ""
        self.headers: dict[str, list[str]] = {}
        self.is_plain = True

    def on_url(self, url: bytes) -> None:
        self.target += url.decode("ascii")

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        known = _KNOWN.get(name)
        if known is not None:
            self.headers.setdefault(known, []).append(value.decode("ascii").strip())
        elif name in _UNUSUAL:
            self.is_plain = False
