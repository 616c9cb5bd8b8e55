"""The reader of tokens and the rules of access, made from Config, for workers and commands.

May live here: which setting goes into which part of that. Must not know connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .config.settings import EVERYONE, OFF, Config
from .pod.access import Access

if TYPE_CHECKING:
    from .auth.auth import Authenticator
    from .auth.key_refresh import Keys


def make_authenticator(config: Config) -> Authenticator | None:
    """Make the reader of clients' tokens; None if they need none. Raises ConfigError for a key.

    Keys of a file, or of a URL, are there after `load` or `start` of its `keys`.
    """
    if not config.auth_enabled:
        return None
    # Only here: PyJWT and its cryptography make each process start later, and take memory.
    from .auth.auth import Authenticator

    return Authenticator(
        _make_keys(config),
        leeway=config.auth_leeway,
        audiences=config.auth_audience,
        issuers=config.auth_issuer,
        user_claim=config.auth_user_claim,
        max_rooms=config.rooms_per_session,
        retry_after=config.retry_after,
    )


def make_access(config: Config) -> Access:
    """Make the rules of who may join, speak and see where."""
    return Access(
        global_publish=config.global_publish == EVERYONE,
        personal_rooms=config.personal_rooms != OFF,
        personal_publish=config.personal_rooms == EVERYONE,
    )


def _make_keys(config: Config) -> Keys:
    from .auth import key_refresh

    algorithms = config.auth_algorithms
    if config.auth_keys_file is not None:
        return key_refresh.keys_of_file(config.auth_keys_file, algorithms)
    if config.auth_jwks_url is not None:
        return key_refresh.keys_of_url(config.auth_jwks_url, algorithms)
    key = config.auth_secret or config.auth_public_key
    assert key is not None  # Config has seen to it
    return key_refresh.keys_of_setting(key, algorithms)
