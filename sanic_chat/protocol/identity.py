"""Identity: who a session speaks for, and what its token allows.

May live here: what is kept of a token. Must not know how one is read, nor where it came from.
"""

from __future__ import annotations

from typing import NamedTuple

from .permissions import Permissions


class Identity(NamedTuple):
    """The client that brought a token, as the token says."""

    user: str
    """The user that the client speaks for, byte for byte as the token has it."""
    permissions: Permissions | None = None
    """None: every room is allowed."""
    rooms: tuple[str, ...] = ()
    """The normalised names of rooms that the client is put into when it connects."""
    expires_at: float | None = None
    """The end of the token, in seconds since 1970; None: it has none."""
    issued_at: float | None = None
    """The moment in which it was issued; None: it does not say."""
    info: bytes | None = None
    """The claim `info`, for others to see, as compact JSON; None: there is none."""
