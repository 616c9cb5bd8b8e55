"""Readers: each makes the value of a setting from its text, and knows what is allowed.

May live here: one reader for each kind of text. Must not know which settings there are, nor where
their text comes from.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from ..protocol.api_keys import KEY_RULE, MAX_KEYS, ApiKey, read_key
from ..protocol.forwarded import UNIX, Network
from ..redis_url import RedisURL
from ..websocket.origin import ANY, normalise_origin

SYMMETRIC_ALGORITHMS = frozenset({"HS256", "HS384", "HS512"})
ASYMMETRIC_ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
USUAL_ALGORITHMS = ("RS256", "ES256", "ES384", "ES512", "EdDSA")
"""One for each type of public key."""


class NotAllowed(Exception):
    """A value was refused; the text says what is allowed."""

    def __init__(self, allowed: str, where: str = "") -> None:
        super().__init__(allowed)
        self.where = where
        """The part of the value that is wrong, and how, without anything secret; may be empty."""


Reader = Callable[[str], Any]
"""Makes a value from a text. Raises NotAllowed."""


def unquoted(text: str) -> str:
    """Return `text` without quotes around it, which `docker --env-file` leaves, unlike a shell."""
    return text[1:-1] if len(text) > 1 and text[0] in "'\"" and text[0] == text[-1] else text


def whole_number(low: int, high: int) -> Reader:
    """A whole number from `low` to `high`."""
    return _number(int, low, high, f"a whole number from {low} to {high}")


def seconds(low: float, high: float) -> Reader:
    """A number of seconds from `low` to `high`."""
    return _number(float, low, high, f"a number of seconds from {low:g} to {high:g}")


def _number(kind: Callable[[str], float], low: float, high: float, allowed: str) -> Reader:
    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise NotAllowed(allowed) from None
        if not low <= value <= high:  # also refuses NaN
            raise NotAllowed(allowed)
        return value

    return read


def some_of(*words: str) -> Reader:
    """Some of these words, with commas between them."""

    def read(text: str) -> tuple[str, ...]:
        found = tuple(part.strip() for part in text.split(","))
        if not set(found) <= set(words):
            raise NotAllowed(f"some of {', '.join(words)}, with commas between them")
        return found

    return read


def one_of(*words: str) -> Reader:
    """One of these words, as it stands here."""

    def read(text: str) -> str:
        if text not in words:
            raise NotAllowed(" or ".join(words))
        return text

    return read


def switch(text: str) -> bool:
    """On or off, in any of the usual words."""
    word = text.lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise NotAllowed("1, true, yes, on, 0, false, no or off")


def text(text: str) -> str:
    """Any text, unchanged."""
    return text


def texts(text: str) -> tuple[str, ...]:
    """Texts with commas between them, of which none is empty."""
    texts = tuple(part.strip() for part in text.split(","))
    if not all(texts):
        raise NotAllowed("a comma-separated list without empty parts")
    return texts


def token(text: str) -> str:
    """A token as HTTP has it (RFC 9110 section 5.6.2): the name of a cookie or a subprotocol."""
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}", text):
        raise NotAllowed("1 to 128 letters, digits and ! # $ % & ' * + . ^ _ ` | ~ -")
    return text


def tokens(text: str) -> tuple[str, ...]:
    """Tokens (see `token`) with commas between them."""
    return tuple(token(part.strip()) for part in text.split(","))


def api_keys(text: str) -> tuple[ApiKey, ...]:
    """Keys of the HTTP API (see `read_key`), with commas or line breaks between them."""
    keys: list[ApiKey] = []
    for entry in filter(None, (entry.strip() for entry in re.split(r"[,\n]", text))):
        number = f"whose key {len(keys) + 1}"
        try:
            key = read_key(entry)
        except ValueError as error:
            raise NotAllowed(KEY_RULE, f"{number} {error}") from None
        if any(key.digest == other.digest for other in keys):
            raise NotAllowed(KEY_RULE, f"{number} has the secret of another")
        if len(keys) == MAX_KEYS:
            raise NotAllowed(KEY_RULE, f"with more than {MAX_KEYS} keys")
        keys.append(key)
    if not keys:
        raise NotAllowed(KEY_RULE)
    return tuple(keys)


def pem(text: str) -> str:
    r"""A PEM, in which `\n` may stand for a line break: a .env file cannot hold one."""
    return text.replace("\\n", "\n")


def api_prefix(text: str) -> str:
    """A path that others are put behind; nothing, or begun with a slash and not ended with one."""
    if text in ("", "/"):
        return ""
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", text):
        raise NotAllowed("empty, or path segments like /api/chat-api with no slash at the end")
    return text


def pod_prefix(text: str) -> str:
    """The start of pod IDs."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text):
        raise NotAllowed("1 to 64 letters, digits and . _ -")
    return text


def redis_prefix(text: str) -> str:
    """The start of names on Redis. A colon in it could make them another deployment's."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", text):
        raise NotAllowed("1 to 32 ASCII letters, digits, _ and -")
    return text


def redis_url(text: str) -> str:
    """The URL of a Redis, unchanged. Raises ConfigError itself, with what is wrong in it."""
    RedisURL.read(text)
    return text


def jwks_url(text: str) -> str:
    """A URL of https, or of http on this machine, where nobody can change what is fetched."""
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        is_plain = parts.scheme == "http" and (
            host == "localhost" or ip_address(host.partition("%")[0]).is_loopback
        )
        is_allowed = (
            (is_plain or parts.scheme == "https")
            and parts.port != 0
            and host != ""
            and "@" not in parts.netloc
            and re.fullmatch("[!-~]+", text) is not None
            and "#" not in text
        )
    except ValueError:
        is_allowed = False
    if not is_allowed:
        raise NotAllowed(
            "an https:// URL, or an http:// one of 127.0.0.1, [::1] or localhost, without a user "
            "and a fragment"
        )
    return text


def origins(text: str) -> tuple[str, ...]:
    """Origins of web pages, normalised, or `ANY` alone."""
    names = tuple(name.strip() for name in text.split(","))
    origins = tuple(origin for name in names if (origin := normalise_origin(name)) is not None)
    if names == (ANY,):
        return names
    if len(origins) < len(names):
        raise NotAllowed(
            "a comma-separated list of origins like https://chat.example.com or "
            "http://localhost:3000, without a path and in ASCII, or * for all"
        )
    return origins


def address(text: str) -> str:
    """An address, or a host's name, and a port."""
    host, _, port = text.rpartition(":")
    is_host = re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.%a-z]+\]", host)
    if not (is_host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise NotAllowed("an address and a port, like 127.0.0.1:9000 or [::1]:9000")
    return text


def networks(text: str) -> tuple[Network | str, ...]:
    """Networks in CIDR notation, single addresses, and `UNIX`."""
    networks: list[Network | str] = []
    for name in text.split(","):
        try:
            network = name.strip()
            networks.append(UNIX if network == UNIX else ip_network(network, strict=False))
        except ValueError:
            raise NotAllowed(
                "a comma-separated list of networks like 10.0.0.0/8 or fd00::/8, addresses, and "
                "unix for proxies that come by a Unix socket"
            ) from None
    return tuple(networks)


def algorithms(text: str) -> tuple[str, ...]:
    """Names of JWT algorithms (RFC 7518, RFC 8037)."""
    known = SYMMETRIC_ALGORITHMS | ASYMMETRIC_ALGORITHMS
    names = tuple(name.strip() for name in text.split(","))
    if not set(names) <= known:
        raise NotAllowed("a comma-separated list of " + ", ".join(sorted(known)))
    return names
