"""Tokens: which are taken, which are refused, and that none shows up in an error."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from sanic_chat.auth import Authenticator
from sanic_chat.errors import ConfigError, UpgradeRefused
from sanic_chat.message import MAX_SENDER_CHARACTERS

SECRET = "a shared secret of more than sixty-four bytes, as HS512 wants it to be"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEYS = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
}
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def public_pem(key: PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def private_pem(key: PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def part(value: object) -> str:
    """A header or payload in base64url, whatever it holds."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def sign(claims: object, header: object = None) -> str:
    """A token with a good HS256 signature over any header and any claims."""
    signed = f"{part({'alg': 'HS256', 'typ': 'JWT'} if header is None else header)}.{part(claims)}"
    return f"{signed}.{part(hmac.digest(SECRET.encode(), signed.encode(), hashlib.sha256))}"


@pytest.fixture
def authenticator() -> Authenticator:
    return Authenticator(key=SECRET, algorithms=["HS256", "HS512"])


def refusal(authenticator: Authenticator, token: str) -> UpgradeRefused:
    """The refusal of a token, which must be a 401 that does not tell the token."""
    with pytest.raises(UpgradeRefused) as raised:
        authenticator.client_id(authorization=f"Bearer {token}", token=None)
    refused = raised.value
    assert refused.status == 401
    assert refused.headers == {"WWW-Authenticate": "Bearer"}
    assert refused.__cause__ is None
    for piece in (token, *token.split(".")):
        assert len(piece) < 8 or piece not in f"{refused!r} {refused.message}"
    return refused


class TestGoodTokens:
    @pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
    def test_shared_secret(self, algorithm: str):
        """A token signed with the shared secret gives its `sub`."""
        token = jwt.encode({"sub": "anna"}, SECRET, algorithm)
        authenticator = Authenticator(key=SECRET, algorithms=[algorithm])
        assert authenticator.client_id(authorization=None, token=token) == "anna"

    @pytest.mark.parametrize(
        ("algorithm", "key"),
        [
            *(pytest.param(name, RSA_KEY, id=name) for name in ("RS256", "RS512", "PS256")),
            *(pytest.param(name, key, id=name) for name, key in EC_KEYS.items()),
            pytest.param("EdDSA", ED_KEY, id="EdDSA"),
        ],
    )
    def test_public_key(self, algorithm: str, key: PrivateKey):
        """A token signed with a private key is checked with its public key."""
        token = jwt.encode({"sub": "anna"}, private_pem(key), algorithm)
        authenticator = Authenticator(key=public_pem(key), algorithms=[algorithm])
        assert authenticator.client_id(authorization=None, token=token) == "anna"

    def test_several_algorithms(self, authenticator: Authenticator):
        """Each of several allowed algorithms is taken."""
        for algorithm in ("HS256", "HS512"):
            token = jwt.encode({"sub": "anna"}, SECRET, algorithm)
            assert authenticator.client_id(authorization=None, token=token) == "anna"

    @pytest.mark.parametrize("header", ["Bearer {}", "bearer {}", "BEARER  {} "])
    def test_authorization_header(self, authenticator: Authenticator, header: str):
        """The header's scheme may be written in any case and with more space."""
        text = header.format(sign({"sub": "anna"}))
        assert authenticator.client_id(authorization=text, token=None) == "anna"

    def test_the_header_goes_before_the_query(self, authenticator: Authenticator):
        """With a token in both places the header's counts."""
        header, query = sign({"sub": "anna"}), sign({"sub": "bert"})
        assert authenticator.client_id(authorization=f"Bearer {header}", token=query) == "anna"

    @pytest.mark.parametrize(
        "claims",
        [
            pytest.param({"exp": time.time() + 3600}, id="not yet expired"),
            pytest.param({"nbf": time.time() - 60, "iat": time.time() - 60}, id="valid since"),
            pytest.param({"aud": "somebody", "iss": "us"}, id="audience and issuer"),
        ],
    )
    def test_other_claims(self, authenticator: Authenticator, claims: dict[str, Any]):
        """Other claims do not matter as long as the token is valid now."""
        token = sign({"sub": "anna", **claims})
        assert authenticator.client_id(authorization=None, token=token) == "anna"

    @pytest.mark.parametrize("sub", ["x", "x" * MAX_SENDER_CHARACTERS, "Ünal 😀", 'a"b\n'])
    def test_any_text_is_a_sub(self, authenticator: Authenticator, sub: str):
        """A `sub` of 1 to 256 characters is the client ID as it stands."""
        assert authenticator.client_id(authorization=None, token=sign({"sub": sub})) == sub


class TestRefusedTokens:
    def test_expired(self, authenticator: Authenticator):
        """An expired token has a code of its own, so that a client knows to get a new one."""
        refused = refusal(authenticator, sign({"sub": "anna", "exp": time.time() - 60}))
        assert refused.code == "token_expired"

    def test_forged_and_expired(self, authenticator: Authenticator):
        """A forged token is not told to be expired."""
        token = jwt.encode({"sub": "anna", "exp": 1}, SECRET[::-1], "HS256")
        assert refusal(authenticator, token).code == "unauthorized"

    @pytest.mark.parametrize(
        "claims",
        [
            pytest.param({}, id="no sub"),
            pytest.param({"sub": None}, id="sub null"),
            pytest.param({"sub": ""}, id="sub empty"),
            pytest.param({"sub": 7}, id="sub a number"),
            pytest.param({"sub": ["anna"]}, id="sub a list"),
            pytest.param({"sub": {"a": 1}}, id="sub an object"),
            pytest.param({"sub": "x" * (MAX_SENDER_CHARACTERS + 1)}, id="sub too long"),
            pytest.param({"sub": "a\ud800"}, id="sub with half a surrogate pair"),
            pytest.param({"sub": "anna", "nbf": time.time() + 3600}, id="not yet valid"),
            pytest.param({"sub": "anna", "exp": "soon"}, id="exp a word"),
            pytest.param({"sub": "anna", "exp": []}, id="exp a list"),
            pytest.param({"sub": "anna", "exp": {}}, id="exp an object"),
            pytest.param({"sub": "anna", "nbf": []}, id="nbf a list"),
            pytest.param({"sub": "anna", "iat": []}, id="iat a list"),
            pytest.param(["sub", "anna"], id="claims a list"),
            pytest.param(b"anna", id="claims no JSON"),
            pytest.param(b'{"sub":"\xff"}', id="claims no UTF-8"),
            pytest.param(b'{"sub":"anna","exp":1e400}', id="exp infinite"),
            pytest.param(b'{"sub":"anna","exp":NaN}', id="exp NaN"),
            pytest.param(b'{"a":' * 100_000, id="claims nested too deeply"),
        ],
    )
    def test_claims(self, authenticator: Authenticator, claims: object):
        """A well-signed token without a usable `sub`, or with odd times, is a 401."""
        assert refusal(authenticator, sign(claims)).code == "unauthorized"

    @pytest.mark.parametrize(
        "header",
        [
            pytest.param({"alg": "none"}, id="none"),
            pytest.param({"alg": "None"}, id="None"),
            pytest.param({"alg": "HS384"}, id="not in the list"),
            pytest.param({"alg": "hs256"}, id="another case"),
            pytest.param({"alg": "RS256"}, id="RS256"),
            pytest.param({"typ": "JWT"}, id="missing"),
            pytest.param({"alg": None}, id="null"),
            pytest.param({"alg": 256}, id="a number"),
            pytest.param({"alg": ["HS256"]}, id="a list"),
            pytest.param({"alg": {"a": 1}}, id="an object"),
        ],
    )
    def test_algorithms(self, authenticator: Authenticator, header: dict[str, Any]):
        """Only an algorithm of the list is taken, however well the token is signed."""
        assert "HS256, HS512" in refusal(authenticator, sign({"sub": "anna"}, header)).message

    def test_none_without_a_signature(self, authenticator: Authenticator):
        """The unsigned token of RFC 7519 section 6 is refused."""
        refusal(authenticator, f"{part({'alg': 'none'})}.{part({'sub': 'admin'})}.")

    def test_a_public_key_is_no_shared_secret(self):
        """A token that is HMAC-signed with the public key does not pass for an RSA one."""
        pem = public_pem(RSA_KEY)
        signed = f"{part({'alg': 'HS256'})}.{part({'sub': 'admin'})}"
        signature = part(hmac.digest(pem.encode(), signed.encode(), hashlib.sha256))
        refusal(Authenticator(key=pem, algorithms=["RS256"]), f"{signed}.{signature}")

    def test_another_key(self):
        """A token of somebody else's key is refused."""
        other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        token = jwt.encode({"sub": "admin"}, private_pem(other), "RS256")
        refusal(Authenticator(key=public_pem(RSA_KEY), algorithms=["RS256"]), token)

    def test_changed_claims(self, authenticator: Authenticator):
        """A signature does not hold for other claims."""
        header, _, signature = sign({"sub": "anna"}).split(".")
        refusal(authenticator, f"{header}.{part({'sub': 'admin'})}.{signature}")

    @pytest.mark.parametrize(
        "token",
        [
            pytest.param("secret-text", id="one part"),
            pytest.param("secret.text", id="two parts"),
            pytest.param("....", id="dots"),
            pytest.param("secret.text.here", id="no base64"),
            pytest.param("sécrèt.text.here", id="no ASCII"),
            pytest.param("secret\ud800.text.here", id="lone surrogate"),
            pytest.param(f"{part([1])}.{part({})}.x", id="header a list"),
            pytest.param(f"{part(b'{')}.{part({})}.x", id="header no JSON"),
            pytest.param(f"{part(b'[' * 100_000)}.{part({})}.x", id="header nested too deeply"),
            pytest.param(sign({"sub": "a"}, {"alg": "HS256", "kid": 7}), id="kid a number"),
            pytest.param(sign({"sub": "a"}, {"alg": "HS256", "b64": False}), id="detached"),
            pytest.param(sign({"sub": "a"}, {"alg": "HS256", "crit": ["x"]}), id="critical header"),
            pytest.param(sign({"sub": "a"}, {"alg": "HS256", "crit": 7}), id="crit a number"),
            pytest.param("x" * 100_000, id="long"),
        ],
    )
    def test_malformed(self, authenticator: Authenticator, token: str):
        """What is no token is a 401 too, never another error."""
        assert refusal(authenticator, token).code == "unauthorized"

    @pytest.mark.parametrize(
        ("authorization", "token"),
        [
            pytest.param(None, None, id="nothing"),
            pytest.param(None, "", id="empty query"),
            pytest.param("", None, id="empty header"),
            pytest.param("Bearer", None, id="scheme alone"),
            pytest.param("Bearer ", None, id="scheme and space"),
            pytest.param("Basic YW5uYTpzZWNyZXQ=", None, id="Basic"),
            pytest.param("Basic YW5uYTpzZWNyZXQ=", sign({"sub": "anna"}), id="Basic and query"),
            pytest.param(sign({"sub": "anna"}), None, id="token without scheme"),
        ],
    )
    def test_no_token(
        self, authenticator: Authenticator, authorization: str | None, token: str | None
    ):
        """Without a bearer token the answer is a 401 that says what is needed."""
        with pytest.raises(UpgradeRefused, match="Bearer") as raised:
            authenticator.client_id(authorization=authorization, token=token)
        assert (raised.value.status, raised.value.code) == (401, "unauthorized")
        assert "YW5uYTpzZWNyZXQ=" not in raised.value.message


class TestKeys:
    @pytest.mark.parametrize(
        ("key", "algorithms"),
        [
            pytest.param("no PEM at all", ["RS256"], id="text as RSA"),
            pytest.param("no PEM at all", ["ES256"], id="text as EC"),
            pytest.param("no PEM at all", ["EdDSA"], id="text as Ed25519"),
            pytest.param(public_pem(RSA_KEY), ["ES256"], id="RSA as EC"),
            pytest.param(public_pem(EC_KEYS["ES256"]), ["RS256"], id="EC as RSA"),
            pytest.param(public_pem(RSA_KEY), ["RS256", "ES256"], id="RSA as both"),
            pytest.param(public_pem(RSA_KEY), ["HS256"], id="public key as secret"),
            pytest.param(public_pem(RSA_KEY)[:100], ["RS256"], id="cut PEM"),
            pytest.param(public_pem(EC_KEYS["ES256"]), ["ES512"], id="another curve"),
        ],
    )
    def test_a_key_that_does_not_fit(self, key: str, algorithms: list[str]):
        """A key that does not fit the algorithms is a ConfigError that does not show it."""
        with pytest.raises(ConfigError, match="AUTH_ALGORITHMS") as raised:
            Authenticator(key=key, algorithms=algorithms)
        assert key not in str(raised.value)
        assert raised.value.__cause__ is None
