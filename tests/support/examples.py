"""JSON as pages show it, with … for what differs from time to time, beside what a server says."""

from __future__ import annotations

import json
import re
from typing import Any

ANYTHING = "any … thing"
"""Stands for a … that is a value by itself."""


def example(text: str) -> Any:
    """Returns what a page shows, read."""
    return json.loads(re.sub(r"(?<=[ \[])…(?=[,}\]])", f'"{ANYTHING}"', text))


def shows(shown: Any, said: Any) -> bool:
    """Whether an example shows what was said: the same keys in the same order, the same values.

    A text with a … in it shows every text, and … by itself everything; `[…]` shows every list.
    """
    match shown:
        case dict():
            return (
                isinstance(said, dict)
                and list(shown) == list(said)
                and all(shows(value, said[key]) for key, value in shown.items())
            )
        case [only] if only == ANYTHING:
            return isinstance(said, list)
        case list():
            return (
                isinstance(said, list)
                and len(shown) == len(said)
                and all(shows(*pair) for pair in zip(shown, said, strict=True))
            )
        case str() if shown == ANYTHING:
            return True
        case str() if "…" in shown:
            return isinstance(said, str)
    return bool(shown == said)
