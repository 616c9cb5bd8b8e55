"""Keys of the HTTP API: which backend asks, and what it may do.

    name:scope+scope:secret ─→ read_key ─→ ApiKey, which has the secret's digest and not the secret
    Authorization: Bearer … ─→ find_key ─→ the ApiKey whose secret that is

May live here: how a key is written, and recognised. Must not know what is asked for with it.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Final, Literal, NamedTuple, get_args

Scope = Literal["publish", "read", "admin"]
SCOPES: Final = get_args(Scope)

MIN_SECRET_CHARACTERS: Final = 32
MAX_SECRET_CHARACTERS: Final = 512
MAX_KEYS: Final = 100
KEY_RULE: Final = (
    f"name:scope+scope:secret, up to {MAX_KEYS} of them with commas or line breaks in between; a "
    f"name has 1 to 64 letters, digits and . _ -, scopes are {', '.join(SCOPES)}, and a secret, "
    f"which no two keys share, has {MIN_SECRET_CHARACTERS} to {MAX_SECRET_CHARACTERS} letters, "
    "digits and . _ ~ + / = -"
)

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SECRET = re.compile(r"[A-Za-z0-9._~+/=-]+")  # RFC 6750 section 2.1, about


class ApiKey(NamedTuple):
    """A key: who has it, and what it is good for."""

    name: str
    """Its owner; several keys may have the same, while one takes the place of another."""
    scopes: frozenset[str]
    digest: bytes
    """SHA-256 of its secret, which has too many possible values for anybody to try."""


def read_key(text: str) -> ApiKey:
    """Read a key as it is written in a setting. Raises ValueError with what is wrong with it.

    Nothing of the secret is in the error.
    """
    parts = text.split(":", 2)
    if len(parts) < 3:
        raise ValueError("has no two colons")
    name, named, secret = (part.strip() for part in parts)
    scopes = frozenset(scope.strip() for scope in named.split("+"))
    if not _NAME.fullmatch(name):
        raise ValueError("has a name that is none")
    if not scopes <= set(SCOPES):
        raise ValueError(f"({name}) has a scope that there is not")
    if not MIN_SECRET_CHARACTERS <= len(secret) <= MAX_SECRET_CHARACTERS:
        raise ValueError(f"({name}) has a secret of {len(secret)} characters")
    if not _SECRET.fullmatch(secret):
        raise ValueError(f"({name}) has a secret with a character that it may not have")
    return ApiKey(name, scopes, sha256(secret.encode()).digest())


def find_key(keys: Iterable[ApiKey], authorization: str | None) -> ApiKey | None:
    """Return the key in an Authorization header (RFC 6750); None if it has none of these.

    It takes as long for a wrong key as for any of the right ones.
    """
    scheme, _, secret = (authorization or "").partition(" ")
    digest = sha256(secret.strip().encode(errors="surrogateescape")).digest()
    found = None
    for key in keys:
        if hmac.compare_digest(digest, key.digest):
            found = key
    return found if scheme.lower() == "bearer" else None
