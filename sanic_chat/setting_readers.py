"""How the text of a setting becomes its value, and what is allowed in it.

May live here: one reader for each kind of text. Must not know which settings there are, nor where
their text comes from.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from .origin import ANY, normalise_origin

SYMMETRIC_ALGORITHMS = frozenset({"HS256", "HS384", "HS512"})
ASYMMETRIC_ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
REDIS_SCHEMES = ("redis", "rediss", "unix")


class NotAllowed(Exception):
    """A value was refused; the text says what is allowed."""


Reader = Callable[[str], Any]
"""Makes a value of a text. Raises NotAllowed."""


def whole_number(low: int, high: int) -> Reader:
    """A whole number from `low` to `high`."""
    return _number(int, low, high, f"a whole number from {low} to {high}")


def seconds(low: float, high: float) -> Reader:
    """A number of seconds from `low` to `high`."""
    return _number(float, low, high, f"a number of seconds from {low:g} to {high:g}")


def _number(kind: Callable[[str], float], low: float, high: float, allowed: str) -> Reader:
    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise NotAllowed(allowed) from None
        if not low <= value <= high:  # also refuses NaN
            raise NotAllowed(allowed)
        return value

    return read


def one_of(*words: str) -> Reader:
    """One of these words, as it stands here."""

    def read(text: str) -> str:
        if text not in words:
            raise NotAllowed(" or ".join(words))
        return text

    return read


def switch(text: str) -> bool:
    """On or off, in any of the usual words."""
    word = text.lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise NotAllowed("1, true, yes, on, 0, false, no or off")


def text(text: str) -> str:
    r"""Any text; `\n` in it is a line break."""
    # A .env file cannot hold a PEM's line breaks.
    return text.replace("\\n", "\n")


def api_prefix(text: str) -> str:
    """A path that others are put behind; nothing, or begun with a slash and not ended with one."""
    if text in ("", "/"):
        return ""
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", text):
        raise NotAllowed("empty, or path segments like /api/chat-api with no slash at the end")
    return text


def pod_prefix(text: str) -> str:
    """What pod IDs begin with."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text):
        raise NotAllowed("1 to 64 letters, digits and . _ -")
    return text


def redis_url(text: str) -> str:
    """The URL of a Redis, unchanged."""
    allowed = (
        "a URL like redis://user:password@host:6379/0, rediss://host:6379/0 or unix:///path/to.sock"
    )
    try:
        parts = urlsplit(text)
        well_formed = parts.scheme in REDIS_SCHEMES and bool(
            parts.path if parts.scheme == "unix" else parts.hostname
        )
        _ = parts.port  # raises ValueError if it is no port
    except ValueError:
        well_formed = False
    if not well_formed:
        raise NotAllowed(allowed)
    return text


def origins(text: str) -> tuple[str, ...]:
    """Origins of web pages, normalised, or `ANY` alone."""
    names = tuple(name.strip() for name in text.split(","))
    origins = tuple(origin for name in names if (origin := normalise_origin(name)) is not None)
    if names == (ANY,):
        return names
    if len(origins) < len(names):
        raise NotAllowed(
            "a comma-separated list of origins like https://chat.example.com or "
            "http://localhost:3000, without a path and in ASCII, or * for all"
        )
    return origins


def algorithms(text: str) -> tuple[str, ...]:
    """Names of JWT algorithms (RFC 7518, RFC 8037)."""
    known = SYMMETRIC_ALGORITHMS | ASYMMETRIC_ALGORITHMS
    names = tuple(name.strip() for name in text.split(","))
    if not set(names) <= known:
        raise NotAllowed("a comma-separated list of " + ", ".join(sorted(known)))
    return names
