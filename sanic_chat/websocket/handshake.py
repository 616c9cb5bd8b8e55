"""The opening handshake of RFC 6455 section 4.2: its fields, its rules, and its answer.

May live here: headers, the accept key, the subprotocol. Must not know what path and query mean, nor
whether there is a place for the client.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ..errors import UpgradeRefused

SUBPROTOCOL: Final = "sanic-chat.v1"
"""The subprotocol of this server, which goes before all others that a client offers."""

HEADERS: Final = (
    "authorization",
    "connection",
    "cookie",
    "host",
    "origin",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "upgrade",
    "x-forwarded-for",
)
"""The headers of a handshake that are looked at, in lower case."""

_NO_LINES: Sequence[str] = ()


class Handshake(msgspec.Struct, frozen=True):
    """The fields of a client's opening request, as they came: nothing is checked yet."""

    path_room: str | None
    query: str
    """As it was sent, percent-encoded."""
    headers: Mapping[str, Sequence[str]]
    """The values of those of `HEADERS` that it has."""
    http_version: str
    secure: bool
    """Whether it came over TLS."""

    def lines(self, header: str) -> Sequence[str]:
        """All values of one of `HEADERS`, in their order."""
        return self.headers.get(header, _NO_LINES)

    def elements(self, header: str) -> Sequence[str]:
        """The elements of a header that is a list, from all its lines (RFC 9110 section 5.3)."""
        lines = self.headers.get(header)
        if not lines:
            return _NO_LINES
        return [element.strip() for element in ",".join(lines).split(",")]


def accept_key_for(handshake: Handshake) -> str:
    """Check a handshake, and return the Sec-WebSocket-Accept that answers it.

    Raises UpgradeRefused: 426 if it is no WebSocket handshake, or of another version than 13, and
    400 if it is a broken one.
    """
    if not _has(handshake, "upgrade", "websocket"):
        raise upgrade_required()
    if handshake.http_version != "1.1":
        raise UpgradeRefused(400, "bad_handshake", "A WebSocket handshake needs HTTP/1.1")
    if not _has(handshake, "connection", "upgrade"):
        raise UpgradeRefused(400, "bad_handshake", "The Connection header must contain Upgrade")
    headers = handshake.headers
    if "host" in headers and headers["host"][1:]:
        raise UpgradeRefused(400, "bad_handshake", "A request has one Host (RFC 9112 section 3.2)")
    if headers.get("sec-websocket-version", _NO_LINES)[:1] != ["13"]:
        raise UpgradeRefused(
            426,
            "unsupported_version",
            "Only version 13 of the WebSocket protocol is spoken here",
            {**_UPGRADE, "Sec-WebSocket-Version": "13"},
        )
    keys = headers.get("sec-websocket-key", _NO_LINES)
    accept = accept_key(keys[0]) if len(keys) == 1 else None
    if accept is None:
        raise UpgradeRefused(
            400, "bad_handshake", "Sec-WebSocket-Key must be 16 bytes in base64, once"
        )
    return accept


def switching_protocols(accept: str, subprotocol: str | None) -> bytes:
    """The answer 101 (RFC 9110 section 15.2.2), with these values of its headers."""
    return (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n%b\r\n"
        % (
            accept.encode(),
            b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol.encode() if subprotocol else b"",
        )
    )


def subprotocol_of(handshake: Handshake, known: Sequence[str]) -> str | None:
    """The subprotocol that answers a handshake: `SUBPROTOCOL`, or the first that is `known`.

    A client that offers only others gets none. Most libraries go on then; browsers give up.
    """
    offered = handshake.elements("sec-websocket-protocol")
    if SUBPROTOCOL in offered:
        return SUBPROTOCOL
    return next((one for one in offered if one in known), None)


def upgrade_required() -> UpgradeRefused:
    """The refusal, with 426, of a request that is no WebSocket handshake."""
    return UpgradeRefused(
        426,
        "upgrade_required",
        "This is a WebSocket endpoint: connect with a WebSocket client",
        _UPGRADE,
    )


_UPGRADE: Final = {"Upgrade": "websocket"}


def _has(handshake: Handshake, header: str, token: str) -> bool:
    """Whether a header that is a list contains a token, which is given in lower case."""
    lines = handshake.headers.get(header, _NO_LINES)
    if len(lines) == 1 and lines[0].lower() == token:  # as nearly always
        return True
    return token in map(str.lower, handshake.elements(header))


_ACCEPT_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_key(key: str) -> str | None:
    """The Sec-WebSocket-Accept for a Sec-WebSocket-Key; None if it is not 16 bytes in base64."""
    try:
        if len(binascii.a2b_base64(key, strict_mode=True)) != 16:
            return None
    except ValueError:
        return None
    digest = hashlib.sha1(key.encode() + _ACCEPT_GUID, usedforsecurity=False).digest()
    return binascii.b2a_base64(digest, newline=False).decode()
