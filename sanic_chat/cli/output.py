"""The output of commands, their exit codes, and the JSON that they are given.

Text of clients gets here: nothing of it may move a terminal's cursor, set its title or pass for
markup.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from typing import Any, NoReturn

REFUSED, WRONG_USAGE, NOBODY_THERE = 1, 2, 3
"""Exit codes: the server or a check says no; usage or settings are wrong; nobody is there."""


def printable(text: str) -> str:
    """Escape what is no plain character: controls, text direction codes, line separators."""
    return "".join(
        character
        if unicodedata.category(character)[0] not in "CZ" or character == " "
        else character.encode("unicode_escape", "surrogatepass").decode()
        for character in text
    )


def read_json(text: str, argument: str) -> Any:
    """Read the JSON of an argument. Exits with 2 if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        fail(f"{argument}: {text!r} is no JSON: {error}", WRONG_USAGE)


def print_json(value: Any) -> None:
    """Print a value as one line of JSON, ASCII only, and let it leave at once."""
    print(json.dumps(value), flush=True)  # noqa: T201


def print_line(text: str) -> None:
    """Print a line of text that is `printable` already, and let it leave at once."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)  # noqa: T201


def fail(message: str, code: int = REFUSED) -> NoReturn:
    """End the command with a sentence on standard error, and that exit code."""
    print(printable(message), file=sys.stderr)  # noqa: T201
    raise SystemExit(code)
