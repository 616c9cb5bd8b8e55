"""Keys: what of a JWK set is used, and what each key is for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from hypothesis import given
from hypothesis import strategies as st

from sanic_chat.auth.keys import MAX_SET_BYTES, KeySet, key_of_setting, parse_key_set
from sanic_chat.errors import ConfigError

from ..support.keys import (
    EC_KEYS,
    ED_KEY,
    RSA_KEY,
    SECRET,
    SHORT_RSA_KEY,
    PrivateKey,
    jwk_of,
    new_key,
    private_pem,
    public_pem,
    set_of,
)

ALL = [
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512"),
]
GOOD = jwk_of(new_key(), kid="good")
ODD = jwk_of(new_key(), kid="odd")


def parsed(*jwks: Any, algorithms: list[str] = ALL, with_secrets: bool = True) -> KeySet:
    return parse_key_set(set_of(*jwks), algorithms, with_secrets=with_secrets)


class TestWhatAKeyIsFor:
    @pytest.mark.parametrize(
        ("jwk", "algorithms"),
        [
            pytest.param(jwk_of(RSA_KEY), ALL[:6], id="RSA"),
            pytest.param(jwk_of(RSA_KEY, alg="PS384"), ["PS384"], id="RSA with alg"),
            pytest.param(jwk_of(EC_KEYS["ES256"]), ["ES256"], id="P-256"),
            pytest.param(jwk_of(EC_KEYS["ES384"]), ["ES384"], id="P-384"),
            pytest.param(jwk_of(EC_KEYS["ES512"], alg="ES512"), ["ES512"], id="P-521"),
            pytest.param(jwk_of(ED_KEY), ["EdDSA"], id="Ed25519"),
            pytest.param(jwk_of(ed448.Ed448PrivateKey.generate()), ["EdDSA"], id="Ed448"),  # type: ignore[arg-type]
            pytest.param(jwk_of("s" * 32), ["HS256"], id="a secret of 32 bytes"),
            pytest.param(jwk_of("s" * 48), ["HS256", "HS384"], id="a secret of 48 bytes"),
            pytest.param(jwk_of("s" * 64, alg="HS512"), ["HS512"], id="a secret with alg"),
            pytest.param(jwk_of(RSA_KEY, use="sig", key_ops=["verify"]), ALL[:6], id="use"),
            pytest.param(jwk_of(RSA_KEY, key_ops=None), ALL[:6], id="without key_ops"),
            pytest.param(jwk_of(RSA_KEY, x5u="http://x", x5c=["x"], more={}), ALL[:6], id="more"),
        ],
    )
    def test_by_itself(self, jwk: dict[str, Any], algorithms: list[str]):
        """Its alg decides, or its type and curve."""
        [key] = parsed(jwk).keys
        assert [*key.algorithms] == algorithms

    def test_among_those_that_are_allowed(self):
        """Whatever a key might be for, only what the settings allow counts, in their order."""
        [key] = parsed(jwk_of(RSA_KEY), algorithms=["PS256", "RS256", "ES256"]).keys
        assert key.algorithms == ("PS256", "RS256")


class TestKeysThatAreNotUsed:
    @pytest.mark.parametrize(
        ("jwk", "why"),
        [
            pytest.param("key", "key number 2: it is no object", id="no object"),
            pytest.param(None, "it is no object", id="null"),
            pytest.param({}, "its kty is not RSA, EC, OKP or oct", id="empty"),
            pytest.param({**ODD, "kty": "dsa"}, "its kty is not", id="unknown kty"),
            pytest.param({**ODD, "kty": 7}, "its kty is not", id="kty a number"),
            pytest.param({**ODD, "kid": 7}, "its kid is no text", id="kid a number"),
            pytest.param({**ODD, "kid": None}, "its kid is no text", id="kid null"),
            pytest.param({**ODD, "use": "enc"}, "its use is not sig", id="use enc"),
            pytest.param({**ODD, "use": ["sig"]}, "its use is not sig", id="use a list"),
            pytest.param({**ODD, "key_ops": ["encrypt"]}, "no verify", id="key_ops"),
            pytest.param({**ODD, "key_ops": "verify"}, "no verify", id="key_ops a text"),
            pytest.param({**ODD, "kid": "good"}, "another key has the same kid", id="same kid"),
            pytest.param({**ODD, "crv": "P-1"}, "its crv is none", id="unknown crv"),
            pytest.param({**ODD, "crv": ["P-256"]}, "its crv is none", id="crv a list"),
            pytest.param({**ODD, "crv": "secp256k1"}, "its crv is none", id="a coin's crv"),
            pytest.param({**ODD, "crv": "P-384"}, "it cannot be read", id="another crv"),
            pytest.param({**ODD, "x": "AAAA"}, "it cannot be read", id="x too short"),
            pytest.param({**ODD, "x": ODD["y"]}, "it cannot be read", id="not on its curve"),
            pytest.param({**ODD, "y": 7}, "it cannot be read", id="y a number"),
            pytest.param({**ODD, "alg": "ES384"}, "its alg is none", id="alg of another curve"),
            pytest.param({**ODD, "alg": "HS256"}, "its alg is none", id="alg of a secret"),
            pytest.param({**ODD, "alg": "none"}, "its alg is none", id="alg none"),
            pytest.param({**ODD, "alg": None}, "its alg is none", id="alg null"),
            pytest.param({**ODD, "d": "AAAA"}, "it is a private key", id="private"),
            pytest.param(jwk_of(SHORT_RSA_KEY), "too short for RS256 and RS384", id="short RSA"),
            pytest.param({"kty": "RSA", "n": "AAAA", "e": "AQAB"}, "cannot be read", id="tiny RSA"),
            pytest.param({"kty": "RSA", "n": "AAAA", "e": "AQ"}, "cannot be read", id="e of 1"),
            pytest.param({"kty": "RSA", "n": "AAAA"}, "it cannot be read", id="RSA without e"),
            pytest.param({"kty": "OKP", "crv": "Ed25519", "x": "AA"}, "cannot be read", id="OKP"),
            pytest.param({"kty": "OKP", "crv": "X25519", "x": "AA"}, "its crv is", id="X25519"),
            pytest.param(jwk_of("s" * 31), "too short for HS256 and HS384", id="short secret"),
            pytest.param(jwk_of("s" * 63, alg="HS512"), "too short for HS512", id="short HS512"),
            pytest.param({"kty": "oct", "k": ""}, "it cannot be read", id="empty secret"),
            pytest.param({"kty": "oct"}, "it cannot be read", id="no secret"),
            pytest.param(jwk_of(public_pem(RSA_KEY)), "it cannot be read", id="PEM as secret"),
            pytest.param({"kid": "\x1b\ud800\n" * 99}, "its kty is", id="odd kid"),
        ],
    )
    def test_each(self, jwk: Any, why: str):
        """What is no key for tokens is left out, and told; the others are there."""
        found = parsed(GOOD, jwk)
        assert [key.id for key in found.keys] == ["good"]
        [sentence] = found.unused
        assert why in sentence
        assert sentence.isprintable()
        assert len(sentence) < 300
        if "same kid" not in why:
            with pytest.raises(ValueError, match="it has no key for tokens"):
                parsed(jwk)

    def test_what_the_settings_do_not_allow(self):
        """It is told which algorithms are missing there."""
        found = parsed(GOOD, jwk_of(EC_KEYS["ES384"], kid="a"), algorithms=["ES256"])
        assert found.unused == ("key 'a': AUTH_ALGORITHMS have no ES384",)

    def test_secrets_from_elsewhere(self):
        """A shared secret is not taken from where others may read it."""
        found = parsed(GOOD, jwk_of(SECRET, kid="a"), with_secrets=False)
        assert found.unused == (
            "key 'a': it is a shared secret, which is taken from AUTH_KEYS_FILE only",
        )

    @pytest.mark.parametrize("key", [RSA_KEY, EC_KEYS["ES256"], ED_KEY])
    def test_private_keys(self, key: PrivateKey):
        """Who checks tokens has no private keys, and does not use them."""
        private = {**jwk_of(key), "d": jwk_of("d" * 32)["k"]}
        assert "private" in parsed(GOOD, private).unused[0]

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            (b"", "it is no JSON"),
            (b'{"keys":', "it is no JSON"),
            (b"\xff\xfe\xff", "it is no JSON"),
            (b'{"a":' * 40_000, "it is no JSON"),
            (b"[" * 200_000, "it is no JSON"),
            (b'{"keys": ' + b"9" * 9999 + b"}", "it is no JSON"),
            (b"[]", "it is no JWK set"),
            (b"{}", "it is no JWK set"),
            (b'{"keys": {}}', "it is no JWK set"),
            (json.dumps(GOOD).encode(), "it is no JWK set"),
            (b'{"keys": []}', r"it has no key for tokens \(it is empty\)"),
            (b'{"keys": [1, 2, 3, 4, 5, 6, 7]}', "key number 5: it is no object; and 2 more"),
            (b" " * (MAX_SET_BYTES + 1), "there are more than 262144 bytes"),
        ],
        ids=lambda value: str(value)[:12],
    )
    def test_no_set(self, text: bytes, why: str):
        with pytest.raises(ValueError, match=why) as raised:
            parse_key_set(text, ALL, with_secrets=True)
        assert len(str(raised.value)) < 300

    def test_what_it_is_called(self):
        """The log tells the keys by their IDs."""
        assert str(parsed(GOOD, jwk_of(RSA_KEY), algorithms=["ES256", "RS256"])) == (
            "2 ('good' for ES256; one without kid for RS256)"
        )

    @given(
        st.lists(
            st.dictionaries(
                st.sampled_from(["kty", "crv", "kid", "use", "alg", "x", "y", "n", "e", "k", "d"]),
                st.sampled_from(
                    [
                        *("RSA", "EC", "OKP", "oct", "P-256", "P-521", "Ed25519", "sig", "enc"),
                        *("RS256", "ES512", "HS256", "AQAB", "AAAA", "=", "é", GOOD["x"]),
                        *(GOOD["y"], jwk_of(RSA_KEY)["n"], "s" * 99),
                    ]
                )
                | st.none()
                | st.integers()
                | st.text(max_size=3)
                | st.lists(st.text(max_size=2), max_size=2),
            ),
            max_size=3,
        )
    )
    def test_any_set(self, jwks: list[dict[str, Any]]):
        """Each of its keys can be used, or is told to be left out."""
        found = parsed(GOOD, *jwks)
        assert len(found.keys) + len(found.unused) == len(jwks) + 1
        for key in found.keys:
            for algorithm in key.algorithms:
                assert not key.has_signed(algorithm, b"text", b"signature")

    @given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
    def test_any_bytes(self, text: bytes):
        with pytest.raises(ValueError, match="it "):
            parse_key_set(text, ALL, with_secrets=True)


class TestKeyOfASetting:
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
            key_of_setting(key, algorithms)
        assert key not in str(raised.value)
        assert raised.value.__cause__ is None

    @pytest.mark.parametrize(
        ("key", "algorithm"), [(RSA_KEY, "RS256"), (EC_KEYS["ES256"], "ES256"), (ED_KEY, "EdDSA")]
    )
    def test_a_private_key(self, key: PrivateKey, algorithm: str):
        """It is refused: it could sign tokens, and is at a place where nobody has to."""
        with pytest.raises(ConfigError, match="AUTH_PUBLIC_KEY is a private key") as raised:
            key_of_setting(private_pem(key), [algorithm])
        assert "BEGIN" not in str(raised.value)


def test_a_huge_rsa_key() -> None:
    """One beyond what OpenSSL uses has signed nothing, and fails nobody."""
    numbers = rsa.RSAPublicNumbers(65537, (1 << 30_000) - 1)
    assert numbers.public_key().key_size == 30_000
    jwk = jwk_of(RSA_KEY, n="_" * 5000)
    [key] = parsed(jwk, algorithms=["RS256"]).keys
    assert not key.has_signed("RS256", b"text", b"x" * 3750)


def test_curves() -> None:
    """Each curve of the standard has its own algorithm, and no other has any."""
    curve = ec.generate_private_key(ec.SECP256K1())
    assert "its crv is none" in parsed(GOOD, jwk_of(curve, kid="k")).unused[0]
