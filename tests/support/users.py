"""Users with tokens: the settings of a server that knows them, and what their clients send."""

from __future__ import annotations

from typing import Any

import jwt

SECRET = "s" * 32
KNOWS_USERS = {"AUTH_ENABLED": "true", "AUTH_SECRET": SECRET}
"""Settings of a server."""


def bearer(user: str, **claims: Any) -> dict[str, str]:
    """The headers of a handshake."""
    token = jwt.encode({"sub": user, **claims}, SECRET, algorithm="HS256")
    return {"Authorization": f"Bearer {token}"}
