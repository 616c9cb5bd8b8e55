"""The texts of settings: from environment variables, and from the files that they name.

May live here: how a text is found, and what looks like a mistake in the environment. Must not know
what is allowed in a setting.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Mapping
from difflib import get_close_matches

from ..errors import ConfigError
from .readers import unquoted

PREFIXES = ("CHAT_", "AUTH_")
"""The starts of our settings' names. Any other name that begins so is a mistake."""

OF_CLIENTS = {"CHAT_URL", "CHAT_TOKEN", "CHAT_API_KEY"}
"""The variables that the command line reads, and a server does not."""

FILE_SUFFIX = "_FILE"
"""`AUTH_SECRET_FILE` names the file with the `AUTH_SECRET`."""

_KUBERNETES = re.compile(r"_SERVICE_(HOST|PORT)(_|$)|_PORT(_[0-9]+_(TCP|UDP|SCTP)(_|$)|$)")
"""The variables that Kubernetes sets in every pod for a Service called `chat` or `auth-…`."""

MAX_FILE_BYTES = 64 * 1024


def find_text(
    environment: Mapping[str, str], variable: str, *, in_file: bool = False, verbatim: bool = False
) -> str | None:
    """Return the text of a setting, without blanks and quotes around it; None if it is not set.

    With `in_file` it may stand in a file instead; `verbatim` leaves quotes alone. An empty variable
    is not set. Raises ConfigError if variable and file are both set, or if the file cannot be read.
    """
    text = _value(environment, variable, verbatim=verbatim)
    path = _value(environment, variable + FILE_SUFFIX) if in_file else None
    if path is None:
        return text
    if text is not None:
        raise ConfigError(
            f"{variable} and {variable}{FILE_SUFFIX} are both set; allowed is one of them"
        )
    return _read(variable + FILE_SUFFIX, path)


def find_doubts(environment: Mapping[str, str], known: Collection[str]) -> list[str]:
    """Return a sentence for each likely mistake in an environment; `known` are all settings.

    Likely mistakes are names that look like a setting's and are none, told with the nearest one;
    keys without AUTH_ENABLED; a secret in quotes; and a provider's keys without an audience.
    """
    names = sorted(
        name
        for name in environment
        if name.startswith(PREFIXES)
        and name not in known
        and name not in OF_CLIENTS
        and not _KUBERNETES.search(name)
    )
    sentences = [_unknown(name, known) for name in names]
    is_set = {name for name in known if environment.get(name, "").strip()}
    unused = [name for name in known if name.startswith("AUTH_") and name in is_set]
    if unused and "AUTH_ENABLED" not in is_set:
        sentences.append(
            f"{' and '.join(unused)} {'is' if len(unused) == 1 else 'are'} set, but AUTH_ENABLED "
            "is not: everybody may connect, without a token"
        )
    if (secret := environment.get("AUTH_SECRET", "").strip()) != unquoted(secret):
        sentences.append("AUTH_SECRET stands in quotes, which count as part of it")
    if "AUTH_JWKS_URL" in is_set and "AUTH_AUDIENCE" not in is_set:
        sentences.append(
            "AUTH_JWKS_URL is set, and AUTH_AUDIENCE is not: tokens that the same provider makes "
            "for other services are taken as well"
        )
    return sentences


def _unknown(name: str, known: Collection[str]) -> str:
    nearest = get_close_matches(name, known, n=1)
    hint = f": do you mean {nearest[0]}?" if nearest else ""
    return f"{name} is no setting, and does nothing{hint}"


def _value(environment: Mapping[str, str], variable: str, *, verbatim: bool = False) -> str | None:
    text = environment.get(variable, "").strip()
    return (text if verbatim else unquoted(text).strip()) or None


def _read(variable: str, path: str) -> str:
    try:
        text = read_file(path, limit=MAX_FILE_BYTES).strip()
        if not text:
            raise ValueError("it is empty")
    except ValueError as why:
        raise ConfigError(
            f"{variable} is {path!r} ({why}); allowed is a readable file of at most "
            f"{MAX_FILE_BYTES} bytes, in UTF-8 and not empty"
        ) from None
    return text


def read_file(path: str, *, limit: int, only_regular: bool = False) -> str:
    """Read a file of at most `limit` bytes, in UTF-8. Raises ValueError, which says why not.

    One that can be read once only, like a pipe, is read unless `only_regular`.
    """
    try:
        if only_regular and not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("it is no regular file")
        with open(path, "rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise ValueError(f"it has more than {limit} bytes")
        return data.decode()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None
