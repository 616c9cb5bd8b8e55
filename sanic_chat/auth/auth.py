"""Authentication: who a client is, by the JSON Web Token that it brings (RFC 7519).

    token ─→ identify: key ─→ signature ─→ times ─→ issuer, audience ─→ user, rooms ─→ Identity

May live here: tokens and their rules. Must not know sockets, nor who is in which room. A token
never becomes part of an error's text.
"""

from __future__ import annotations

import json
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Sequence
from contextlib import suppress
from math import isfinite
from typing import Any, Final, NamedTuple

from ..errors import TryAgainLater, Unauthorized, UpgradeRefused
from ..protocol.identity import Identity
from ..protocol.info import encode_info
from ..protocol.message import MAX_SENDER_CHARACTERS, SERVER_NAME
from ..protocol.permissions import Permissions, parse_permissions
from ..protocol.room_name import ROOM_NAME_RULE, normalise_room_name
from .key_refresh import Keys
from .keys import Key, KeySet

RESERVED_USERS = (SERVER_NAME, "me")
"""The names of no user: the server's own, and that by which a client means itself."""


MAX_HEADER_BYTES: Final = 8 * 1024
"""The bound of a token's header, which is read before anything shows who has made it."""

MAX_TRIED_KEYS: Final = 4
"""The keys that are tried for a token which names none. Each costs as much as a handshake."""


class Verified(NamedTuple):
    """A token whose signature fits."""

    claims: dict[str, Any]
    algorithm: str
    key: Key


class Authenticator:
    """Checks tokens with keys, which may change.

    Clocks may differ by `leeway` seconds. A token must name one of `audiences` and one of
    `issuers`; if one of these is empty, it may name any or none. Its `user_claim` says who the
    client is, and its `join` names at most `max_rooms` rooms. While there are no keys, clients are
    told to come again after `retry_after` seconds.
    """

    def __init__(
        self,
        keys: Keys,
        *,
        leeway: float = 0,
        audiences: Collection[str] = (),
        issuers: Collection[str] = (),
        user_claim: str = "sub",
        max_rooms: int = 128,
        retry_after: int = 1,
    ) -> None:
        self.keys = keys
        self._leeway = leeway
        self._audiences = frozenset(audiences)
        self._issuers = frozenset(issuers)
        self._user_claim = user_claim
        self._max_rooms = max_rooms
        self._retry_after = retry_after

    def identify(self, token: str) -> Identity:
        """Return who a token speaks for, and what it allows.

        Raises UpgradeRefused 401 for a token that breaks a rule, and TryAgainLater if there are no
        keys. The signature is checked first: without it no claim is looked at.
        """
        return self.identity_of(self.verify(token).claims)

    def verify(self, token: str) -> Verified:
        """Return a token's claims, unread, and the key that has signed it. Raises as `identify`."""
        keys = self.keys.current
        if keys is None:
            raise TryAgainLater(
                "no_keys",
                "The server has no keys yet to check tokens with: please try again",
                retry_after=self._retry_after,
            )
        header, claims, signature = _parts(token)
        algorithm, possible = self._possible_keys(header, keys)
        text = token.rpartition(".")[0].encode()
        key = next((key for key in possible if key.has_signed(algorithm, text, signature)), None)
        if key is None:
            raise Unauthorized("The token's signature does not fit: another key made it")
        return Verified(_parse(claims, "claims are"), algorithm, key)

    def _possible_keys(self, header: dict[str, Any], keys: KeySet) -> tuple[str, Sequence[Key]]:
        """The algorithm of a token, and the keys that may have signed it. Raises UpgradeRefused.

        Keys, and places of keys, that the token brings itself are not looked at.
        """
        # Nothing is understood of what `crit` may name (RFC 7515, section 4.1.11), nor text that is
        # signed in another form (RFC 7797).
        is_plain = "crit" not in header and header.get("b64", True) is True
        if not is_plain or not isinstance(header.get("kid", ""), str):
            raise _none()
        algorithm, id = header.get("alg"), header.get("kid")
        if algorithm not in keys.algorithms:
            raise Unauthorized(
                "The token's algorithm is not allowed; allowed is " + ", ".join(keys.algorithms)
            )
        named = keys.named(id)
        if id is not None and not named:
            self.keys.miss(id)
            raise Unauthorized("The token's key (kid) is not known here, or not yet")
        possible = [key for key in named if algorithm in key.algorithms]
        if not possible:
            raise Unauthorized("The token's algorithm is not that of its key (kid)")
        if len(possible) > MAX_TRIED_KEYS:
            raise Unauthorized("The token must name its key (kid): there are too many to try each")
        return algorithm, possible

    def identity_of(self, claims: dict[str, Any]) -> Identity:
        """Return what the claims of a token say. Raises UpgradeRefused 401 if they break a rule."""
        self._check_times(claims)
        self._check_parties(claims)
        return Identity(
            user=self._user(claims),
            permissions=_permissions(claims),
            rooms=self._rooms(claims),
            expires_at=_moment(claims, "exp"),
            issued_at=_moment(claims, "iat"),
            info=_info(claims),
        )

    def _check_times(self, claims: dict[str, Any]) -> None:
        now = time.time()
        expiry = _moment(claims, "exp")
        if expiry is not None and expiry + self._leeway <= now:
            raise Unauthorized(
                f"The token has expired, {_seconds(now - expiry)} s ago", "token_expired"
            )
        for claim in ("nbf", "iat"):
            begin = _moment(claims, claim)
            if begin is not None and begin - self._leeway > now:
                raise Unauthorized(
                    f"The token is not valid yet: its {claim} is {_seconds(begin - now)} s ahead"
                )

    def _check_parties(self, claims: dict[str, Any]) -> None:
        if self._issuers and not _names(claims.get("iss")) & self._issuers:
            raise Unauthorized("The token's iss is missing, or no issuer that is taken here")
        if self._audiences:
            audience = claims.get("aud")
            named = set().union(
                *map(_names, audience if isinstance(audience, list) else [audience])
            )
            if not named & self._audiences:
                raise Unauthorized("The token's aud is missing, or does not name this server")

    def _user(self, claims: dict[str, Any]) -> str:
        claim = self._user_claim
        user = claims.get(claim)
        if user is None:
            raise Unauthorized(f"The token has no {claim}, which is to say who the client is")
        if not _is_sender(user):
            raise Unauthorized(
                f"The token's {claim} must be text of 1 to {MAX_SENDER_CHARACTERS} characters"
            )
        if user in RESERVED_USERS:
            raise Unauthorized(f"The token's {claim} is {user!r}, which is the name of no user")
        return str(user)

    def _rooms(self, claims: dict[str, Any]) -> tuple[str, ...]:
        """The rooms that the claim `join` names, each once."""
        named = claims.get("join", [])
        if not isinstance(named, list) or len(named) > self._max_rooms:
            raise Unauthorized(
                f"The token's join must be a list of at most {self._max_rooms} rooms"
            )
        rooms = [normalise_room_name(room) if isinstance(room, str) else None for room in named]
        if None in rooms:
            raise Unauthorized(f"The token's join names what is no room: {ROOM_NAME_RULE}")
        return tuple(room for room in dict.fromkeys(rooms) if room is not None)


# PyJWT reads the same with a loop over each character: 0.1 ms for a KiB, whoever has sent it.
_COMPACT = re.compile(r"([A-Za-z0-9_-]+)={0,2}\.([A-Za-z0-9_-]*)={0,2}\.([A-Za-z0-9_-]*)={0,2}")


def _parts(token: str) -> tuple[dict[str, Any], bytes, bytes]:
    """Return the header of a token, its claims as JSON, and its signature, all unverified.

    The serialization is that of RFC 7515, section 7.1; padding, which it forbids, is let through.
    Raises UpgradeRefused 401.
    """
    found = _COMPACT.fullmatch(token)
    if found is None:
        raise _none()
    header, claims, signature = map(_decode, found.groups())
    if len(header) > MAX_HEADER_BYTES:
        raise Unauthorized(f"The token's header may have {MAX_HEADER_BYTES} bytes")
    return _parse(header, "header is"), claims, signature


def _decode(part: str) -> bytes:
    """Decode base64url without padding, of which bytes have one form. Raises UpgradeRefused 401."""
    try:
        decoded = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        raise _none() from None
    if urlsafe_b64encode(decoded).decode().rstrip("=") != part:
        raise _none()
    return decoded


def _parse(text: bytes, part: str) -> dict[str, Any]:
    """Read JSON. Raises UpgradeRefused 401; `part` is what its sentence begins with."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise _none() from None
    if not isinstance(found, dict):
        raise Unauthorized(f"The token's {part} no JSON object")
    return found


def _none() -> UpgradeRefused:
    return Unauthorized("The token is no JSON Web Token")


def _moment(claims: dict[str, Any], claim: str) -> float | None:
    """Return a claim that is a NumericDate (RFC 7519, section 2), or None if it is missing."""
    moment = claims.get(claim)
    if moment is None:
        return None
    if type(moment) in (int, float):
        with suppress(OverflowError):
            if isfinite(seconds := float(moment)):
                return seconds
    raise Unauthorized(f"The token's {claim} must be a number of seconds since 1970")


def _seconds(seconds: float) -> str:
    return f"{min(seconds, 1e12):.0f}"


def _names(value: object) -> frozenset[str]:
    return frozenset([value]) if isinstance(value, str) else frozenset()


def _permissions(claims: dict[str, Any]) -> Permissions | None:
    if "rooms" not in claims:
        return None
    try:
        return parse_permissions(claims["rooms"])
    except ValueError as error:
        raise Unauthorized(f"The token's rooms cannot be read: {error}") from None


def _info(claims: dict[str, Any]) -> bytes | None:
    try:
        return encode_info(claims.get("info", {}))
    except ValueError as error:
        raise Unauthorized(f"The token's info must be {error}") from None


def _is_sender(subject: object) -> bool:
    if not isinstance(subject, str) or not 1 <= len(subject) <= MAX_SENDER_CHARACTERS:
        return False
    try:
        subject.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can escape
        return False
    return True
