"""Permissions: what the claim `rooms` of a token allows in which rooms.

    [{"room": "team:a", "allow": ["join", "publish"]},
     {"match": "team:*", "allow": ["join"]},
     {"global": true}] ─→ parse_permissions ─→ Permissions ─→ allows, global_publish

Rules add up, and none takes away. A literal room is no pattern, whatever stands in it.

May live here: the shape of a rule, and which names one matches. Must not know tokens, nor who has
which permissions.
"""

from __future__ import annotations

import unicodedata
from functools import cache, lru_cache
from hashlib import sha256
from typing import Any, Literal
from weakref import WeakValueDictionary

import msgspec

from .personal_room import PERSONAL
from .room_name import ROOM_NAME_RULE, normalise_room_name

Right = Literal["join", "publish", "presence"]

MAX_RULES = 64
MAX_STARS = 16
"""The stars that one pattern may have."""

_LIKE = '{"room": "lobby", "allow": ["join", "publish", "presence"]}'


class Permissions:
    """The rights that one set of rules grants. Immutable; `parse_permissions` shares equal ones."""

    __slots__ = ("__weakref__", "_patterns", "_rooms", "global_publish")

    def __init__(self, rules: list[_Rule]) -> None:
        rooms: dict[str, frozenset[Right]] = {}
        patterns: list[_Pattern] = []
        for rule in rules:
            allowed = frozenset(rule.allow)
            if isinstance(rule.room, str):
                name = _normalised(rule.room)
                rooms[name] = _shared(rooms.get(name, frozenset()) | allowed)
            elif isinstance(rule.match, str):
                patterns.append(_pattern(rule.match, _shared(allowed)))
        self._rooms = rooms
        self._patterns = tuple(patterns)
        self.global_publish = any(rule.everybody for rule in rules)
        """Whether messages to everybody are allowed, which no pattern does."""

    def allows(self, right: Right, room: str) -> bool:
        """Whether a right is granted in a room, whose name is normalised.

        The time is linear in the lengths of the name and of the patterns.
        """
        if right in self._rooms.get(room, ()):
            return True
        return any(right in one.allowed and one.matches(room) for one in self._patterns)


class _Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    room: str | msgspec.UnsetType = msgspec.UNSET
    match: str | msgspec.UnsetType = msgspec.UNSET
    allow: list[Right] = []
    everybody: bool = msgspec.field(name="global", default=False)

    def __post_init__(self) -> None:
        targets = (self.room, self.match, self.everybody or msgspec.UNSET)
        if sum(target is not msgspec.UNSET for target in targets) != 1:
            raise ValueError("a rule has one of room, match and global")
        if self.everybody == bool(self.allow):
            raise ValueError("a rule for room or match has an allow that is not empty")


class _Pattern:
    """A room name in which each star stands for any text, the empty one too.

    Personal rooms match only one that begins as they do.
    """

    __slots__ = ("_first", "_last", "_middle", "_personal", "allowed")

    def __init__(self, text: str, allowed: frozenset[Right]) -> None:
        if not 1 <= text.count("*") <= MAX_STARS:
            raise ValueError(
                f"a match has 1 to {MAX_STARS} stars; a room without one is named by room"
            )
        _normalised(text.replace("*", "x"))  # else no name could match it
        self._first, *middle, self._last = unicodedata.normalize("NFC", text).split("*")
        self._middle = tuple(filter(None, middle))
        self._personal = self._first.startswith(PERSONAL)
        self.allowed = allowed

    def matches(self, name: str) -> bool:
        # The leftmost place for each part leaves the most for the next: nothing is tried twice.
        position, end = len(self._first), len(name) - len(self._last)
        if (
            position > end
            or not name.startswith(self._first)
            or not name.endswith(self._last)
            or name.startswith(PERSONAL) != self._personal
        ):
            return False
        for part in self._middle:
            found = name.find(part, position, end)
            if found < 0:
                return False
            position = found + len(part)
        return True


# Users often have one rule of their own beside many that all have: so these are kept once, too.
_pattern = lru_cache(maxsize=1024)(_Pattern)


@cache
def _shared(rights: frozenset[Right]) -> frozenset[Right]:
    """Return the same set for equal ones, of which there are eight."""
    return rights


_known: WeakValueDictionary[bytes, Permissions] = WeakValueDictionary()
"""Each set of rules that a session has, by the hash of its JSON."""


def parse_permissions(claim: Any) -> Permissions:
    """Return the permissions of a claim `rooms`, the same object for equal ones.

    Raises ValueError, with a sentence, if the claim has another shape, more than `MAX_RULES` rules
    or names what is no room.
    """
    try:
        key = sha256(msgspec.json.encode(claim)).digest()
    except (msgspec.MsgspecError, TypeError, UnicodeEncodeError, RecursionError):
        raise ValueError(f"it is no list of rules like {_LIKE}") from None
    permissions = _known.get(key)
    if permissions is None:
        try:
            rules = msgspec.convert(claim, list[_Rule])
        except msgspec.ValidationError as error:
            raise ValueError(f"{error}; a rule is like {_LIKE}") from None
        if len(rules) > MAX_RULES:
            raise ValueError(f"it has {len(rules)} rules, and {MAX_RULES} are allowed")
        permissions = _known[key] = Permissions(rules)
    return permissions


def _normalised(text: str) -> str:
    name = normalise_room_name(text)
    if name is None:
        raise ValueError(f"it names what is no room: {ROOM_NAME_RULE}")
    return name
