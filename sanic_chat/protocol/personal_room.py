"""Personal rooms: `@` and a user, in which only sessions of that user are.

    anna ─→ @anna        auth0|5f7c ─→ @auth0%7C5f7c        @me: that of who says it

Users are compared, never names: two that look alike, or that NFC would make one, have two rooms.

May live here: the name of a user's room. Must not know who may speak there.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote

PERSONAL: Final = "@"
"""The first character of every personal room, and of no other room."""
ME: Final = "@me"
"""The personal room of who says it. It is never shown, and no user is called `me`."""

MAX_USER_CHARACTERS: Final = 256
"""The bound of a user, and so of a personal room's name, which has at most 12 times as many."""

_SAFE: Final = ":@"  # besides letters, digits and `_ . - ~`, which `quote` leaves alone
_MAX_NAME_CHARACTERS = 12 * MAX_USER_CHARACTERS + 1
_NAME = re.compile(r"@(?:[A-Za-z0-9._~:@-]|%[0-9A-F]{2})+")


def personal_room(user: str) -> str:
    """Return the name of a user's room: at most 12 characters for each of the user's and one more.

    All characters but ASCII letters, digits and `. _ ~ : @ -` are percent-encoded (RFC 3986 section
    2.1). `user` must be text that UTF-8 can encode.
    """
    return PERSONAL + quote(user, safe=_SAFE)


def user_of(name: str) -> str | None:
    """Return the user whose room has this name; None if it is no user's, spelt as it should be."""
    if len(name) > _MAX_NAME_CHARACTERS or not _NAME.fullmatch(name):
        return None
    try:
        user = unquote(name[1:], errors="strict")
    except UnicodeDecodeError:
        return None
    is_one = len(user) <= MAX_USER_CHARACTERS and personal_room(user) == name
    return user if is_one else None


def resolve(room: str, user: str) -> str:
    """Return the room that a user means: for `@me` his own."""
    return personal_room(user) if room == ME else room
