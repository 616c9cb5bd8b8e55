"""Tokens and the keys of a JWK set: which key checks which token."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest

from sanic_chat.auth.auth import MAX_TRIED_KEYS, Authenticator
from sanic_chat.auth.key_refresh import Keys
from sanic_chat.auth.keys import parse_key_set
from sanic_chat.errors import TryAgainLater

from ..support.keys import RSA_KEY, SECRET, PrivateKey, jwk_of, new_key, public_pem, set_of
from ..support.keys import sign as sign_with
from ..support.tokens import authenticator_of, part, refusal

FIRST, SECOND = new_key(), new_key()


@pytest.fixture
def keys() -> Keys:
    return Keys(
        parse_key_set(
            set_of(
                jwk_of(FIRST, kid="first"),
                jwk_of(SECOND, kid="second"),
                jwk_of(RSA_KEY, kid="rsa"),
                jwk_of(SECRET, kid="secret", alg="HS256"),
            ),
            ["ES256", "RS256", "HS256", "HS512"],
            with_secrets=True,
        )
    )


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [
        (FIRST, "ES256", "first"),
        (SECOND, "ES256", "second"),
        (SECOND, "ES256", None),
        (RSA_KEY, "RS256", "rsa"),
        (RSA_KEY, "RS256", None),
        (SECRET, "HS256", "secret"),
        (SECRET, "HS256", None),
    ],
)
def test_its_own_key(keys: Keys, key: PrivateKey | str, algorithm: str, kid: str | None):
    """A token is checked with the key it names, or with any that its algorithm is for."""
    token = sign_with(key, algorithm, **({} if kid is None else {"kid": kid}))
    verified = Authenticator(keys).verify(token)
    assert (verified.claims["sub"], verified.algorithm) == ("anna", algorithm)
    assert kid in (None, verified.key.id)


@pytest.mark.parametrize(
    ("key", "algorithm", "header", "told"),
    [
        pytest.param(FIRST, "ES256", {"kid": "second"}, "another key made it", id="another's"),
        pytest.param(new_key(), "ES256", {}, "another key made it", id="nobody's"),
        pytest.param(FIRST, "ES256", {"kid": "third"}, "not known here", id="unknown"),
        pytest.param(FIRST, "ES256", {"kid": ""}, "not known here", id="empty"),
        pytest.param(FIRST, "ES256", {"kid": "x" * 8000}, "not known here", id="long"),
        pytest.param(FIRST, "ES256", {"kid": "rsa"}, "that of its key", id="RSA's"),
        pytest.param(SECRET, "HS256", {"kid": "rsa"}, "that of its key", id="a secret for RSA"),
        pytest.param(SECRET, "HS512", {"kid": "secret"}, "not allowed", id="not its alg"),
        pytest.param(RSA_KEY, "PS256", {"kid": "rsa"}, "not allowed", id="not allowed"),
        pytest.param(
            new_key(), "ES256", {"jwk": "OWN", "kid": "first"}, "another key made it", id="jwk"
        ),
        pytest.param(
            new_key(),
            "ES256",
            {"jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/", "x5c": ["eA=="]},
            "another key made it",
            id="jku and x5u",
        ),
    ],
)
def test_no_key_of_its_own(
    keys: Keys,
    key: PrivateKey | str,
    algorithm: str,
    header: dict[str, Any],
    told: str,
):
    """A token is refused that no key has signed with its own algorithm."""
    if "jwk" in header:
        header = {**header, "jwk": jwk_of(key)}
    assert told in refusal(Authenticator(keys), sign_with(key, algorithm, **header)).message


@pytest.mark.parametrize("kid", [{}, {"kid": "rsa"}])
def test_a_public_key_is_no_shared_secret(keys: Keys, kid: dict[str, str]):
    """Nor is what a JWK set holds of it."""
    signed = f"{part({'alg': 'HS256', **kid})}.{part({'sub': 'admin'})}"
    jwk = jwk_of(RSA_KEY)
    for secret in (public_pem(RSA_KEY), json.dumps(jwk), jwk["n"]):
        signature = part(hmac.digest(secret.encode(), signed.encode(), hashlib.sha256))
        refusal(Authenticator(keys), f"{signed}.{signature}")


def test_too_many_to_try():
    """Of many keys a token has to name one: nobody makes a server try them all."""
    many = [new_key() for _ in range(MAX_TRIED_KEYS + 1)]
    jwks = [jwk_of(key, kid=str(number)) for number, key in enumerate(many)]
    for count in (MAX_TRIED_KEYS, MAX_TRIED_KEYS + 1):
        found = parse_key_set(set_of(*jwks[:count]), ["ES256"], with_secrets=False)
        authenticator = Authenticator(Keys(found))
        token = sign_with(many[count - 1], "ES256")
        if count == MAX_TRIED_KEYS:
            assert authenticator.identify(token).user == "anna"
        else:
            assert "must name its key" in refusal(authenticator, token).message
    token = sign_with(many[-1], "ES256", kid=str(MAX_TRIED_KEYS))
    assert authenticator.identify(token).user == "anna"


def test_the_only_key_has_any_name():
    """A key that is a setting has no name, and is meant by every one."""
    assert (
        authenticator_of(SECRET, ["HS256"]).identify(sign_with(SECRET, "HS256", kid="any")).user
        == "anna"
    )


def test_no_keys_yet():
    """Who comes before the keys may come again."""
    with pytest.raises(TryAgainLater) as raised:
        Authenticator(Keys(None), retry_after=7).identify(sign_with(SECRET, "HS256"))
    assert (raised.value.code, raised.value.headers["Retry-After"]) == ("no_keys", "7")
