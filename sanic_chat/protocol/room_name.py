"""The rule for room names: which texts are one, and which of them are the same room.

May live here: that rule. Must not know rooms.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from .personal_room import ME, PERSONAL, user_of

MAX_ROOM_NAME_CHARACTERS = 128
ROOM_NAME_RULE = (
    f"a room name has 1 to {MAX_ROOM_NAME_CHARACTERS} characters: letters and digits of any "
    "script, single spaces inside it, and . _ ~ : @ - / # ! | = $ ( ) , but neither . nor .. alone "
    "or between slashes; or it is @ and a user, percent-encoded, or @me"
)

_PUNCTUATION = frozenset("._~:@-/#!|=$(),")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_~:-][A-Za-z0-9._~:@-]{0,127}")
"""Most names: of ASCII, and with nothing in them that needs another look."""
_DOTS = re.compile(r"(?:^|/)\.{1,2}(?:/|$)")
"""The segments that clients and proxies take out of paths (RFC 3986 section 5.2.4)."""
# NFC never makes a text longer than three times its length (UAX #15, section 9), and shortens
# it far less than this: longer input cannot become a valid name.
_MAX_RAW_CHARACTERS = MAX_ROOM_NAME_CHARACTERS * 4
# As UAX #15 has it, section 13: normalising sorts the marks behind a letter, in a time that grows
# with the square of their number. No language needs more than a handful.
_MAX_MARKS_IN_A_ROW = 30


def normalise_room_name(text: str) -> str | None:
    """Return the NFC form of a room name, or None if `text` breaks `ROOM_NAME_RULE`.

    A name that begins with `@` is that of a personal room, or `@me`, and not normalised.
    A letter with more than 30 combining marks breaks it. The time is linear in the length.
    """
    if text.startswith(PERSONAL):
        return text if text == ME or user_of(text) is not None else None
    if _PLAIN_NAME.fullmatch(text):
        return text
    if not text or len(text) > _MAX_RAW_CHARACTERS:
        return None
    return _normalise(text)


def check_room_name(text: object) -> str:
    """Return the normalised name of a room that a backend names.

    Raises ValueError with a sentence, for what is no room's name and for `@me`.
    """
    name = normalise_room_name(text) if isinstance(text, str) else None
    if name == ME:
        raise ValueError(f"{ME} is the room of who says it, and of no user: name the user")
    if name is None:
        raise ValueError(f"Not a room name: {ROOM_NAME_RULE}")
    return name


@lru_cache(maxsize=1024)
def _normalise(text: str) -> str | None:
    if _has_too_many_marks(text):
        return None
    name = unicodedata.normalize("NFC", text)
    if len(name) > MAX_ROOM_NAME_CHARACTERS or unicodedata.category(name[0])[0] == "M":
        return None
    if _DOTS.search(name):
        return None
    words = name.split(" ")
    return name if all(word and all(map(_allowed, word)) for word in words) else None


def _has_too_many_marks(text: str) -> bool:
    in_a_row = 0
    for combining in map(unicodedata.combining, text):
        in_a_row = in_a_row + 1 if combining else 0
        if in_a_row > _MAX_MARKS_IN_A_ROW:
            return True
    return False


def _allowed(character: str) -> bool:
    # Many scripts write letters as a base and a combining mark (category M): नमस्ते.
    category = unicodedata.category(character)
    return category[0] in "LM" or category == "Nd" or character in _PUNCTUATION
