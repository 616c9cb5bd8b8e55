"""The consistency of settings, each of which is allowed by itself.

    Config ─→ check ─→ ConfigError, with the settings that do not fit

May live here: what more than one setting has to do with. Must not know where they come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..protocol.message import MESSAGE_OVERHEAD_BYTES
from ..websocket.origin import ANY, FILE, OPAQUE
from .readers import ASYMMETRIC_ALGORITHMS, SYMMETRIC_ALGORITHMS, USUAL_ALGORITHMS

if TYPE_CHECKING:
    from .settings import Config

MIN_SECRET_BYTES = 32


def check_message_size(config: Config) -> None:
    """Raise ConfigError if a queue is too small for one message, which could never be sent."""
    needed = config.max_message_bytes + MESSAGE_OVERHEAD_BYTES
    bounds = {
        "CHAT_SEND_QUEUE_BYTES": config.send_queue_bytes,
        "CHAT_SEND_QUEUE_TOTAL_BYTES": config.send_queue_total_bytes,
    }
    if config.publish_queue_messages and config.publish_queue_bytes:
        bounds["CHAT_PUBLISH_QUEUE_BYTES"] = config.publish_queue_bytes
    for variable, bound in bounds.items():
        if bound < needed:
            raise ConfigError(
                f"{variable} is {bound}, too little for a message of CHAT_MAX_MESSAGE_BYTES, "
                f"which is {config.max_message_bytes}; allowed are {needed} and more"
            )


def check_auth(config: Config) -> None:
    """Raise ConfigError unless there is one place of keys, and algorithms that fit it."""
    # A public key accepted as an HMAC secret would let anybody sign.
    places = {
        "AUTH_SECRET": (config.auth_secret, SYMMETRIC_ALGORITHMS),
        "AUTH_PUBLIC_KEY": (config.auth_public_key, ASYMMETRIC_ALGORITHMS),
        "AUTH_KEYS_FILE": (config.auth_keys_file, SYMMETRIC_ALGORITHMS | ASYMMETRIC_ALGORITHMS),
        "AUTH_JWKS_URL": (config.auth_jwks_url, ASYMMETRIC_ALGORITHMS),
    }
    found = [variable for variable, (value, _) in places.items() if value is not None]
    if len(found) != 1:
        raise ConfigError(
            f"With AUTH_ENABLED exactly one of {', '.join(places)} must be set; "
            + (f"{' and '.join(found)} are" if found else "none of them is")
        )
    secret = config.auth_secret
    if secret is not None and len(secret.encode()) < MIN_SECRET_BYTES:
        raise ConfigError(
            f"AUTH_SECRET has {len(secret.encode())} bytes; at least {MIN_SECRET_BYTES} are "
            "allowed (RFC 7518, section 3.2)"
        )
    _, usable = places[found[0]]
    if not set(config.auth_algorithms) <= usable:
        raise ConfigError(
            f"AUTH_ALGORITHMS is {','.join(config.auth_algorithms)!r}; with {found[0]} it may hold "
            + ", ".join(sorted(usable))
        )


def default_algorithms(config: Config) -> tuple[str, ...]:
    """Return the algorithms of tokens when AUTH_ALGORITHMS is empty."""
    if config.auth_keys_file is not None:
        return ("HS256", *USUAL_ALGORITHMS)
    if config.auth_jwks_url is not None:
        return USUAL_ALGORITHMS
    return ("HS256",) if config.auth_public_key is None else ("RS256",)


def check_cookie(config: Config) -> None:
    """Raise ConfigError if any page may connect with the cookie of whoever looks at it."""
    # Any page can make a sandboxed frame, whose origin is null, or be saved to a file.
    found = next((one for one in (ANY, OPAQUE, FILE) if one in config.allowed_origins), None)
    if config.auth_cookie is not None and found is not None:
        raise ConfigError(
            f"AUTH_COOKIE is {config.auth_cookie!r} and CHAT_ALLOWED_ORIGINS has {found}, which "
            "any page can be: it would speak for whoever looks at it; allowed is to name the "
            "origins of your pages, or no cookie"
        )
