"""The reader of plain handshakes: whole in one packet, and with nothing unusual in them.

    bytes ─→ read ─→ a Handshake, and what follows it; or None: Sanic's HTTP reads them

May live here: which handshakes are plain. Must not know who may come in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import httptools

from ..websocket.handshake import HEADERS, Handshake

MAX_ESCAPES = 2048
"""Percent signs in a URL: enough for the longest room name, and few enough to be decoded soon."""


class HandshakeReader:
    """Reads plain handshakes: whole, to a chat's endpoint, with nothing unusual, as most are.

    Other bytes are not wrong: a full HTTP server is to read them. `prefixes` are the paths under
    which there is a chat; a head has at most `max_bytes`.
    """

    def __init__(self, prefixes: Iterable[str], *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        under = "|".join(re.escape(prefix) for prefix in prefixes)
        # Percent-encoded rooms, `.` and `..` are not plain, and `stats` is no room.
        self._target = re.compile(
            rf"(?:{under})/ws(?:/(?!stats(?:\?|$))([A-Za-z0-9_~:@-][A-Za-z0-9._~:@-]*))?"
            r"(?:\?([!-\"$-~]*))?"
        )

    def read(self, data: bytes, *, secure: bool) -> tuple[Handshake, bytes] | None:
        """Return the handshake and the bytes behind it in `data`; None if it is no plain one."""
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
        if end > self._max_bytes or data.find(b"\r\n\r\n") + 4 != end or not head.is_plain:
            return None
        target = self._target.fullmatch(head.target)
        if target is None or parser.get_method() != b"GET" or head.target.count("%") > MAX_ESCAPES:
            return None
        room, query = target.groups()
        handshake = Handshake(
            path_room=room,
            query=query or "",
            headers=head.headers,
            http_version=parser.get_http_version(),
            secure=secure,
        )
        return handshake, data[end:]


_KNOWN: Final = {name.encode(): name for name in HEADERS}


_UNUSUAL: Final = frozenset({b"content-length", b"expect", b"transfer-encoding"})


class _Head:
    """The fields of a request's head, as httptools finds them."""

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
