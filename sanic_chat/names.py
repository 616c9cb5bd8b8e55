"""Room names, and the Redis channels and keys they map to.

Everything that decides how something is called on Redis stands here. Pure functions; knows
neither sessions nor Redis connections.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

MAX_ROOM_NAME_CHARACTERS = 128
ROOM_NAME_RULE = (
    f"a room name has 1 to {MAX_ROOM_NAME_CHARACTERS} characters: letters and digits of any "
    "script and . _ ~ : @ -"
)

GLOBAL_CHANNEL = b"realtime:global"
ROOM_CHANNEL_PREFIX = b"realtime:room:"
PRESENCE_CHANNEL_PREFIX = b"realtime:presence:"

POD_PREFIX = b"realtime:pod:"
"""Of a pod's channel and of its key, which have nothing to do with each other."""

PODS_KEY = "realtime:pods"
"""Redis set of the IDs of all pods; the truth about each is in its own key."""

_ASCII_NAME = re.compile(r"[A-Za-z0-9._~:@-]{1,128}")
_PUNCTUATION = frozenset("._~:@-")
# NFC never makes a text longer than three times its length (UAX #15, section 9), and shortens
# it far less than this: longer input cannot become a valid name.
_MAX_RAW_CHARACTERS = MAX_ROOM_NAME_CHARACTERS * 4


def normalise_room_name(text: str) -> str | None:
    """Return the NFC form of a room name, or None if `text` breaks `ROOM_NAME_RULE`."""
    if _ASCII_NAME.fullmatch(text):
        return text
    if text.isascii() or len(text) > _MAX_RAW_CHARACTERS:
        return None
    return _normalise_unicode(text)


@lru_cache(maxsize=1024)
def _normalise_unicode(text: str) -> str | None:
    name = unicodedata.normalize("NFC", text)
    if len(name) > MAX_ROOM_NAME_CHARACTERS or unicodedata.category(name[0])[0] == "M":
        return None
    return name if all(map(_allowed, name)) else None


def _allowed(character: str) -> bool:
    # Many scripts write letters as a base and a combining mark (category M): नमस्ते.
    category = unicodedata.category(character)
    return category[0] in "LM" or category == "Nd" or character in _PUNCTUATION


def room_channel(room: str) -> bytes:
    """The Redis channel of a (normalised) room."""
    return ROOM_CHANNEL_PREFIX + room.encode()


def presence_channel(room: str) -> bytes:
    """The Redis channel for joins and leaves of a room; only those who opted in listen to it."""
    return PRESENCE_CHANNEL_PREFIX + room.encode()


def pod_channel(pod_id: str) -> bytes:
    """The Redis channel that a pod alone listens to, for the proof that it hears."""
    return POD_PREFIX + pod_id.encode()


def pod_key(pod_id: bytes) -> bytes:
    """The Redis key that holds a pod's report, and expires with the pod."""
    return POD_PREFIX + pod_id
