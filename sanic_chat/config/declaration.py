"""The declaration of a setting: a field of a dataclass, with all that is known of it.

    setting(variable, default, reader, meaning) ─→ field
    environment ─→ text ─→ the field's reader ─→ value

May live here: what a declaration holds, and how a value is read by it. Must not know which settings
there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import Field, field
from typing import Any

from ..errors import ConfigError
from .environment import FILE_SUFFIX, find_text
from .readers import NotAllowed, Reader


def setting(
    variable: str,
    default: Any,
    read: Reader,
    doc: str,
    *,
    secret: bool = False,
    verbatim: bool = False,
    needs_restart: bool = False,
) -> Any:
    """Make a field. A `secret` is not shown, and may stand in a file; `verbatim` keeps quotes.

    One that `needs_restart` stays as it was when the server reloads.
    """
    return field(
        default=default,
        repr=not secret,
        metadata={
            "variable": variable,
            "read": read,
            "secret": secret,
            "verbatim": verbatim,
            "needs_restart": needs_restart,
            "doc": doc,
        },
    )


def read_values(settings: Iterable[Field[Any]], environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the values that an environment sets, by the names of their fields.

    Raises ConfigError with a sentence that names the variable, the bad value and what is allowed.
    """
    values: dict[str, Any] = {}
    for declared in settings:
        known = declared.metadata
        variable, secret = known["variable"], known["secret"]
        text = find_text(environment, variable, in_file=secret, verbatim=known["verbatim"])
        if text is None:
            continue
        try:
            values[declared.name] = known["read"](text)
        except NotAllowed as allowed:
            shown = "a value that is not shown" if secret else repr(text)
            where = f", {allowed.where}" if allowed.where else ""
            raise ConfigError(f"{variable} is {shown}{where}; allowed is {allowed}") from None
    return values


def variables_of(settings: Iterable[Field[Any]]) -> list[str]:
    """Return every variable that is read, those that name the files of secrets included."""
    return [
        variable + suffix
        for declared in settings
        for variable in [declared.metadata["variable"]]
        for suffix in (["", FILE_SUFFIX] if declared.metadata["secret"] else [""])
    ]
