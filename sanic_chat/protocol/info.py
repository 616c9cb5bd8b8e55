"""Info: what a token says of its user for others to see, as a name or a picture's address.

    {"name": "Anna", "age": 7} ─→ encode_info ─→ b'{"name":"Anna","age":7}'

May live here: its shape, and its one form. Must not know tokens, nor who is shown it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from math import isfinite
from typing import Any

import msgspec

MAX_INFO_KEYS = 16
MAX_INFO_BYTES = 256
"""The bound of an info as JSON, in UTF-8 and without blanks."""

INFO_RULE = (
    f"a flat object of at most {MAX_INFO_KEYS} keys of letters, digits and _ that begin with a "
    "letter, whose values are text, numbers, true, false or null, and of at most "
    f"{MAX_INFO_BYTES} bytes as JSON"
)

_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def encode_info(claim: Any) -> bytes | None:
    """Return an info as compact JSON, mostly the same object for equal ones; None for an empty one.

    Raises ValueError if it is not as `INFO_RULE` says.
    """
    if not isinstance(claim, dict) or len(claim) > MAX_INFO_KEYS:
        raise ValueError(INFO_RULE)
    for key, value in claim.items():
        if not _KEY.fullmatch(key) or not _is_scalar(value):
            raise ValueError(INFO_RULE)
    try:
        text = msgspec.json.encode(claim)
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can escape
        raise ValueError(INFO_RULE) from None
    if len(text) > MAX_INFO_BYTES:
        raise ValueError(INFO_RULE)
    return _shared(text) if claim else None


def _is_scalar(value: object) -> bool:
    if isinstance(value, float):
        return isfinite(value)  # JSON has no other numbers, but Python reads them
    return value is None or isinstance(value, str | int)


@lru_cache(maxsize=1024)
def _shared(text: bytes) -> bytes:
    """Return the same bytes for equal ones, as those of a role are."""
    return text
