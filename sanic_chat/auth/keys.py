"""The keys that tokens are checked with: which there are, and what each is for.

    AUTH_SECRET, AUTH_PUBLIC_KEY ─→ key_of_setting ─┐
    a JWK set (RFC 7517) ─→ parse_key_set ──────────┴→ KeySet ─→ named(kid) ─→ keys to try

A key's algorithms are decided by the key and by AUTH_ALGORITHMS, and never by a token: it only
chooses among them. So no public key passes for a shared secret.

May live here: how a key is read, and which are not used. Must not know tokens, nor where a set of
keys comes from. Nothing of a key becomes part of a sentence, but its ID.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm

from ..errors import ConfigError

MAX_SET_BYTES: Final = 256 * 1024
_TOLD = 5
"""The keys of a set that one sentence says something of."""

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_HMAC = ("HS256", "HS384", "HS512")
_OF_CURVE = {
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("OKP", "Ed448"): ("EdDSA",),
}
_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth")
"""The members of private keys (RFC 7518, sections 6.2.2 and 6.3.2)."""

_UNREADABLE = (jwt.PyJWTError, ValueError, TypeError, KeyError, OverflowError, UnsupportedAlgorithm)
"""The errors of PyJWT and cryptography for what is no key, or none of the kind."""


class Key:
    """One key, and the algorithms that it may have signed with. Immutable."""

    __slots__ = ("_prepared", "id")

    def __init__(self, id: str | None, prepared: dict[str, tuple[jwt.algorithms.Algorithm, Any]]):
        self.id = id
        """Its `kid`, if it has one."""
        self._prepared = prepared

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The algorithms that it is for."""
        return (*self._prepared,)

    def secret(self, algorithm: str) -> bytes | None:
        """The key itself, if it is a shared secret for this one of its `algorithms`."""
        _, key = self._prepared[algorithm]
        return key if isinstance(key, bytes) else None

    def has_signed(self, algorithm: str, text: bytes, signature: bytes) -> bool:
        """Whether a signature is this key's, made with one of its `algorithms`."""
        method, key = self._prepared[algorithm]
        return bool(method.verify(text, key, signature))


class KeySet:
    """Keys, each with an ID of its own or none. Immutable.

    `is_named` says whether a token's `kid` means one of them; the only key of a setting has no ID,
    and is meant by any. `unused` tells of keys that were left out, in a sentence each.
    """

    def __init__(
        self, keys: Sequence[Key], *, is_named: bool = True, unused: Sequence[str] = ()
    ) -> None:
        self.keys = tuple(keys)
        self.algorithms = tuple(
            dict.fromkeys(algorithm for key in keys for algorithm in key.algorithms)
        )
        """All that a token may be signed with."""
        self.unused = tuple(unused)
        self._is_named = is_named
        self._by_id = {key.id: key for key in keys if key.id is not None}

    def __str__(self) -> str:
        """The number of keys, and what the first few of them are for."""
        kinds = [f"{_shown(key.id)} for {'/'.join(key.algorithms)}" for key in self.keys]
        return f"{len(kinds)} ({told(kinds)})"

    def named(self, id: str | None) -> tuple[Key, ...]:
        """Return the keys that a token with this `kid` may be signed with; None: it has none."""
        if id is None or not self._is_named:
            return self.keys
        key = self._by_id.get(id)
        return () if key is None else (key,)


def key_of_setting(text: str, algorithms: Sequence[str]) -> KeySet:
    """Make the keys of a shared secret, or of a public key in PEM. Raises ConfigError.

    Every one of the `algorithms` must be possible with it.
    """
    try:
        methods = {name: jwt.get_algorithm_by_name(name) for name in algorithms}
        prepared = {name: (method, method.prepare_key(text)) for name, method in methods.items()}
    except (*_UNREADABLE, NotImplementedError):
        raise ConfigError(
            "AUTH_SECRET or AUTH_PUBLIC_KEY does not fit AUTH_ALGORITHMS "
            f"({', '.join(algorithms)}); a public key is allowed in PEM, of the type that "
            "every one of them needs"
        ) from None
    if any(hasattr(key, "sign") for _, key in prepared.values()):
        raise ConfigError(
            "AUTH_PUBLIC_KEY is a private key, which only who signs tokens may have; allowed is "
            "its public key (openssl pkey -in KEY -pubout)"
        )
    return KeySet([Key(None, prepared)], is_named=False)


def parse_key_set(text: bytes, algorithms: Sequence[str], *, with_secrets: bool) -> KeySet:
    """Read a JWK set, of which each key may have signed with some of the `algorithms`.

    What is no key for that is left out, and told in `unused`: with another `use` or a `kid` that
    another key has, private, too short, or of a type that is not known. So are shared secrets
    unless `with_secrets`. Raises ValueError with a sentence if no key is left.
    """
    if len(text) > MAX_SET_BYTES:
        raise ValueError(f"there are more than {MAX_SET_BYTES} bytes")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError('it is no JWK set, which is like {"keys": [{"kty": "RSA", …}]}')
    keys: list[Key] = []
    ids: set[str] = set()
    unused = []
    for number, jwk in enumerate(listed, 1):
        name = f"number {number}"
        try:
            members = _members(jwk)
            id = members.get("kid")
            name = name if id is None else _shown(id)
            if id in ids:
                raise ValueError("another key has the same kid")
            keys.append(_parse_key(id, members, algorithms, with_secrets=with_secrets))
        except ValueError as why:
            unused.append(f"key {name}: {why}")
            continue
        if id is not None:
            ids.add(id)
    if not keys:
        raise ValueError(f"it has no key for tokens ({told(unused) or 'it is empty'})")
    return KeySet(keys, unused=unused)


def told(sentences: Sequence[str]) -> str:
    """Return some sentences as one, the first few of them if they are many."""
    more = len(sentences) - _TOLD
    return "; ".join((*sentences[:_TOLD], *([f"and {more} more"] if more > 0 else [])))


def _members(jwk: Any) -> dict[str, Any]:
    if not isinstance(jwk, dict):
        raise ValueError("it is no object")
    if not isinstance(jwk.get("kid", ""), str):
        raise ValueError("its kid is no text")
    return jwk


def _parse_key(
    id: str | None, jwk: dict[str, Any], algorithms: Iterable[str], *, with_secrets: bool
) -> Key:
    """Read one key of a set. Raises ValueError with a sentence why it is not used."""
    if jwk.get("use", "sig") != "sig":
        raise ValueError("its use is not sig")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise ValueError("its key_ops have no verify")
    possible = _possible_algorithms(jwk, with_secrets=with_secrets)
    if "alg" in jwk:
        if jwk["alg"] not in possible:
            raise ValueError("its alg is none that is known for its type")
        possible = (jwk["alg"],)
    allowed = [name for name in algorithms if name in possible]
    if not allowed:
        raise ValueError(f"AUTH_ALGORITHMS have no {' or '.join(possible)}")
    prepared = {}
    for name in allowed:
        method = jwt.get_algorithm_by_name(name)
        try:
            key = method.prepare_key(method.from_jwk(jwk))
        except _UNREADABLE:
            raise ValueError("it cannot be read") from None
        if method.check_key_length(key) is None:
            prepared[name] = method, key
    if not prepared:
        raise ValueError(f"it is too short for {' and '.join(allowed)}")
    return Key(id, prepared)


def _possible_algorithms(jwk: dict[str, Any], *, with_secrets: bool) -> tuple[str, ...]:
    kind = jwk.get("kty")
    if kind == "oct":
        if not with_secrets:
            raise ValueError("it is a shared secret, which is taken from AUTH_KEYS_FILE only")
        return _HMAC
    if any(name in jwk for name in _PRIVATE):
        raise ValueError("it is a private key, which only who signs tokens may have")
    if kind == "RSA":
        return _RSA
    curve = jwk.get("crv")
    if kind not in ("EC", "OKP"):
        raise ValueError("its kty is not RSA, EC, OKP or oct")
    if not isinstance(curve, str) or (kind, curve) not in _OF_CURVE:
        raise ValueError("its crv is none that is known")
    return _OF_CURVE[kind, curve]


def _shown(id: str | None) -> str:
    if id is None:
        return "one without kid"
    return ascii(id if len(id) <= 40 else f"{id[:40]}…")
