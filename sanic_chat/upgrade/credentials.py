"""Credentials: where the token of a handshake stands.

    Authorization: Bearer ─┐
    a subprotocol ─────────┼→ find_token, the first of them ─→ a token
    a cookie ──────────────┤
    ?token= ───────────────┘

Browsers cannot set a WebSocket's headers. They can offer subprotocols, which, unlike a query, stand
in nobody's log.

May live here: the places of a token, and which goes first. Must not know what is in one.
"""

from __future__ import annotations

from typing import Final

from ..errors import Unauthorized
from ..websocket.handshake import Handshake
from .options import Query

BEARER: Final = "bearer."
"""The start of the subprotocol that is a token."""


def find_token(handshake: Handshake, query: Query, *, cookie: str | None) -> str:
    """Return a handshake's token, unread. Raises UpgradeRefused 401 if it has none.

    The cookie named `cookie`, if any, counts only beside an Origin header, whose page may connect
    here: the caller has checked that.
    """
    authorization = handshake.lines("authorization")
    if authorization:
        scheme, _, credentials = authorization[0].partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized("The Authorization header must be: Bearer and a token")
        token = credentials.strip()
    else:
        token = _of_subprotocol(handshake)
        if not token and cookie is not None and handshake.lines("origin"):
            token = _of_cookie(handshake, cookie)
        if not token and "token" in query:
            token = query["token"][0]
    if not token:
        places = f"Authorization: Bearer, subprotocol {BEARER}TOKEN, "
        raise Unauthorized(
            f"A token is needed: {places}{f'cookie {cookie}, ' if cookie else ''}or ?token="
        )
    return token


def _of_subprotocol(handshake: Handshake) -> str:
    offered = handshake.elements("sec-websocket-protocol")
    return next((one[len(BEARER) :] for one in offered if one.startswith(BEARER)), "")


def _of_cookie(handshake: Handshake, name: str) -> str:
    """The value of the first cookie of a name (RFC 6265 section 5.4), without quotes around it."""
    for line in handshake.lines("cookie"):
        for pair in line.split(";"):
            found, _, value = pair.partition("=")
            if found.strip() == name:
                return value.strip().strip('"')
    return ""
