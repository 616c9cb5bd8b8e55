"""The environment file: variables that stand in a file, and can be read anew.

    CHAT_ENV_FILE ─→ read_env_file ─┐
    the environment's own variables ┴─→ with_env_file ─→ Config

A variable that the environment has itself precedes the file's, as with docker compose.

May live here: what a line may hold, and who precedes. Must not know which settings there are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping
from typing import NamedTuple

from ..errors import ConfigError
from .environment import read_file
from .readers import unquoted

ENV_FILE = "CHAT_ENV_FILE"

FROM_FILE = "SANIC_CHAT_FROM_ENV_FILE"
"""The variable that names those the file has given. By it they are known, and can be taken back."""

MAX_BYTES = 1024 * 1024

BYTE_ORDER_MARK = "\ufeff"

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)", re.ASCII)
_QUOTES = ("'", '"')


class Line(NamedTuple):
    """A variable's line: its number, from 1 on, and the value."""

    number: int
    value: str


def read_env_file(path: str) -> dict[str, Line]:
    """Read the variables of a file; of those that stand there twice the last one counts.

    Nothing is expanded: `$` and backslashes stand for themselves. Raises ConfigError, which names
    the line but not its value, for what loaders of such files would read in different ways.
    """
    lines: dict[str, Line] = {}
    for number, text in enumerate(_read(path).split("\n"), 1):
        line = text.strip()
        if not line or line[0] in "#;":
            continue
        try:
            name, value = _parse(line)
        except ValueError as error:
            raise ConfigError(f"{path}, line {number}: {error}") from None
        lines[name] = Line(number, value)
    return lines


def _parse(line: str) -> tuple[str, str]:
    """The name and the value of a line. Raises ValueError with a sentence."""
    found = _LINE.fullmatch(line)
    if found is None:
        start = line.partition("=")[0].strip()
        # What stands there may be a piece of a secret.
        is_name = "=" in line and re.fullmatch(r"[\w .-]{1,40}", start)
        shown = f"{start!r} is no name" if is_name else "this is no variable"
        raise ValueError(f"{shown}; allowed are lines like CHAT_BACKLOG=4096, and comments with #")
    name, value = found[1], found[2].strip()
    if value.startswith(_QUOTES):
        bare = unquoted(value)
        if bare == value or value[0] in bare:
            raise ValueError(
                f"the value of {name} begins with a quote; allowed is one more of them, at its end"
            )
        value = bare
    elif re.search(r"\s#", value):
        raise ValueError(
            f"is the # in the value of {name} a comment? Put the value in single quotes, or the "
            "comment on a line of its own"
        )
    elif value.endswith("\\"):
        raise ValueError(f"the value of {name} goes on in the next line, which is not allowed")
    if "\0" in value:
        raise ValueError(f"the value of {name} has a zero byte, which is not allowed")
    return name, value


def with_env_file(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with the variables of the file that it names, as the file is now.

    What an earlier reading has given is taken back first. Raises ConfigError.
    """
    own = own_variables(environment)
    path = _path(own)
    if path is None:
        return own
    given = {
        name: line.value
        for name, line in read_env_file(path).items()
        if not own.get(name, "").strip()
    }
    return {**own, **given, FROM_FILE: ",".join(given)}


def own_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of an environment that no file has given."""
    given = {FROM_FILE, *environment.get(FROM_FILE, "").split(",")}
    return {name: value for name, value in environment.items() if name not in given}


def find_hidden(environment: Mapping[str, str]) -> list[str]:
    """Return a sentence for each line of the file that does nothing. Raises ConfigError."""
    own = own_variables(environment)
    path = _path(own)
    return [
        f"{name} stands in {path}, line {line.number}, which does nothing: the environment, or an "
        "option, has another value, and precedes"
        for name, line in (read_env_file(path) if path else {}).items()
        if own.get(name, "").strip() not in ("", line.value)
    ]


def source_in_env_file(environment: Mapping[str, str], variable: str) -> str | None:
    """Return where in the file a variable's value comes from; None if it does not."""
    own = own_variables(environment)
    path = _path(own)
    if path is None or own.get(variable, "").strip():
        return None
    line = read_env_file(path).get(variable)
    return None if line is None or not line.value else f"{path}, line {line.number}"


def change(environment: MutableMapping[str, str], changes: Mapping[str, str | None]) -> None:
    """Change variables; None takes one away."""
    for name, value in changes.items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str | None]:
    """Return the changes that make one environment the other."""
    return {
        name: after.get(name)
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name)
    }


def use_env_file() -> None:
    """Make the file's variables those of this process, and of all that it starts.

    Raises ConfigError.
    """
    change(os.environ, differences(os.environ, with_env_file(os.environ)))


def _path(own: Mapping[str, str]) -> str | None:
    return unquoted(own.get(ENV_FILE, "").strip()).strip() or None


def _read(path: str) -> str:
    try:
        # A pipe could not be read anew.
        text = read_file(path, limit=MAX_BYTES, only_regular=True)
    except ValueError as why:
        raise ConfigError(f"{ENV_FILE} is {path!r} ({why}); allowed is a file in UTF-8") from None
    return text.removeprefix(BYTE_ORDER_MARK).replace("\r\n", "\n")
