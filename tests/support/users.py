"""Users with tokens: the settings of a server that knows them, and what their clients send."""

from __future__ import annotations

from typing import Any

import jwt

SECRET = "an-example-secret-of-more-than-32-bytes"
KNOWS_USERS = {"AUTH_ENABLED": "true", "AUTH_SECRET": SECRET}
"""Settings of a server."""


def token(user: str = "anna", **claims: Any) -> str:
    """A token of a user."""
    return jwt.encode({"sub": user, **claims}, SECRET, algorithm="HS256")


def bearer(user: str, **claims: Any) -> dict[str, str]:
    """The headers of a handshake with a token of a user."""
    return {"Authorization": f"Bearer {token(user, **claims)}"}
