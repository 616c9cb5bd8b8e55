"""Tokens: which are taken, which are refused, and that none shows up in an error."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanic_chat.auth.auth import MAX_HEADER_BYTES, Authenticator
from sanic_chat.errors import UpgradeRefused
from sanic_chat.protocol.identity import Identity
from sanic_chat.protocol.info import INFO_RULE
from sanic_chat.protocol.message import MAX_SENDER_CHARACTERS
from sanic_chat.protocol.room_name import ROOM_NAME_RULE

from ..support.keys import (
    EC_KEYS,
    ED_KEY,
    RSA_KEY,
    SECRET,
    PrivateKey,
    new_key,
    private_pem,
    public_pem,
)
from ..support.tokens import authenticator_of, part, refusal, sign


@pytest.fixture
def authenticator() -> Authenticator:
    return authenticator_of(SECRET, ["HS256", "HS512"])


class TestGoodTokens:
    @pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
    def test_shared_secret(self, algorithm: str):
        """A token signed with the shared secret gives its `sub`."""
        token = jwt.encode({"sub": "anna"}, SECRET, algorithm)
        authenticator = authenticator_of(SECRET, [algorithm])
        assert authenticator.identify(token).user == "anna"

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
        authenticator = authenticator_of(public_pem(key), [algorithm])
        assert authenticator.identify(token).user == "anna"

    def test_several_algorithms(self, authenticator: Authenticator):
        """Each of several allowed algorithms is taken."""
        for algorithm in ("HS256", "HS512"):
            token = jwt.encode({"sub": "anna"}, SECRET, algorithm)
            assert authenticator.identify(token).user == "anna"

    @pytest.mark.parametrize(
        "claims",
        [
            pytest.param({"exp": time.time() + 3600}, id="not yet expired"),
            pytest.param({"exp": time.time() + 3600.5}, id="with a fraction"),
            pytest.param({"nbf": time.time() - 60, "iat": time.time() - 60}, id="valid since"),
            pytest.param({"exp": None, "nbf": None, "iat": None}, id="null"),
            pytest.param({"aud": "somebody", "iss": "us"}, id="audience and issuer"),
        ],
    )
    def test_other_claims(self, authenticator: Authenticator, claims: dict[str, Any]):
        """Other claims do not matter as long as the token is valid now."""
        token = sign({"sub": "anna", **claims})
        assert authenticator.identify(token).user == "anna"

    @pytest.mark.parametrize("sub", ["x", "x" * MAX_SENDER_CHARACTERS, "Ünal 😀", 'a"b\n'])
    def test_any_text_is_a_sub(self, authenticator: Authenticator, sub: str):
        """A `sub` of 1 to 256 characters is the client ID as it stands."""
        assert authenticator.identify(sign({"sub": sub})).user == sub


class TestLeeway:
    """Clocks differ: with a leeway of 30 s a token is taken 30 s too late, and 30 s too early."""

    CLOSE, FAR = 20, 45  # clear of the bound, however slow the machine

    @pytest.fixture
    def authenticator(self) -> Authenticator:
        return authenticator_of(SECRET, ["HS256"], leeway=30)

    @pytest.mark.parametrize(("claim", "sign_of"), [("exp", -1), ("nbf", 1), ("iat", 1)])
    def test_within(self, authenticator: Authenticator, claim: str, sign_of: int):
        """A moment that has just passed, or is just to come, does not matter."""
        token = sign({"sub": "anna", claim: time.time() + sign_of * self.CLOSE})
        assert authenticator.identify(token).user == "anna"

    def test_expired(self, authenticator: Authenticator):
        """Beyond it the token has expired, and the sentence says since when."""
        refused = refusal(authenticator, sign({"sub": "anna", "exp": time.time() - self.FAR}))
        assert refused.code == "token_expired"
        assert re.fullmatch(r"The token has expired, \d\d s ago", refused.message)

    @pytest.mark.parametrize("claim", ["nbf", "iat"])
    def test_not_yet_valid(self, authenticator: Authenticator, claim: str):
        """Beyond it the token is not valid yet, and the sentence says by which claim."""
        refused = refusal(authenticator, sign({"sub": "anna", claim: time.time() + self.FAR}))
        assert refused.code == "unauthorized"
        assert re.fullmatch(
            rf"The token is not valid yet: its {claim} is \d\d s ahead", refused.message
        )


class TestParties:
    @pytest.mark.parametrize(
        ("claims", "is_good"),
        [
            ({"aud": "chat"}, True),
            ({"aud": "web"}, True),
            ({"aud": ["mail", "chat"]}, True),
            ({"aud": "mail"}, False),
            ({"aud": "Chat"}, False),
            ({"aud": ["mail", 7, None, ["chat"]]}, False),
            ({"aud": []}, False),
            ({"aud": {"chat": 1}}, False),
            ({"aud": None}, False),
            ({}, False),
        ],
    )
    def test_audience(self, claims: dict[str, Any], is_good: bool):
        """With audiences a token must name one of them, alone or in a list."""
        authenticator = authenticator_of(SECRET, ["HS256"], audiences=["chat", "web"])
        token = sign({"sub": "anna", **claims})
        if is_good:
            assert authenticator.identify(token).user == "anna"
        else:
            assert "aud" in refusal(authenticator, token).message

    @pytest.mark.parametrize(
        ("claims", "is_good"),
        [
            ({"iss": "https://a.example/"}, True),
            ({"iss": "b"}, True),
            ({"iss": "https://a.example"}, False),
            ({"iss": ["b"]}, False),
            ({"iss": {}}, False),
            ({}, False),
        ],
    )
    def test_issuer(self, claims: dict[str, Any], is_good: bool):
        """With issuers a token must come from one of them, by its exact name."""
        authenticator = authenticator_of(SECRET, ["HS256"], issuers=["https://a.example/", "b"])
        token = sign({"sub": "anna", **claims})
        if is_good:
            assert authenticator.identify(token).user == "anna"
        else:
            assert "iss" in refusal(authenticator, token).message


class TestClaims:
    def test_the_user(self):
        """Any claim may say who the user is, and it is taken byte for byte."""
        authenticator = authenticator_of(SECRET, ["HS256"], user_claim="email")
        token = sign({"sub": "7", "email": "Cafe\u0301@example.org"})
        assert authenticator.identify(token).user == "Cafe\u0301@example.org"
        assert "no email" in refusal(authenticator, sign({"sub": "7"})).message

    def test_what_else_is_kept(self, authenticator: Authenticator):
        """Rights, rooms, end and info.

        A token without them allows all, joins nothing, never ends and shows nothing.
        """
        end = int(time.time()) + 60
        rules = [{"room": "a", "allow": ["join"]}]
        identity = authenticator.identify(
            sign(
                {
                    "sub": "a",
                    "rooms": rules,
                    "join": ["b", "cafe\u0301", "b"],
                    "exp": end,
                    "iat": end - 90.5,
                    "info": {"name": "Anna"},
                }
            )
        )
        assert identity.info == b'{"name":"Anna"}'
        assert (identity.rooms, identity.expires_at) == (("b", "caf\u00e9"), end)
        assert identity.issued_at == end - 90.5
        assert identity.permissions is not None
        assert identity.permissions.allows("join", "a")
        assert not identity.permissions.allows("publish", "a")
        plain = authenticator.identify(sign({"sub": "a"}))
        assert plain == Identity("a")

    @pytest.mark.parametrize("join", [None, "a", {"a": 1}, [7], [None], [["a"]], [""], ["a"] * 129])
    def test_no_list_of_rooms(self, authenticator: Authenticator, join: object):
        assert (
            "The token's join" in refusal(authenticator, sign({"sub": "a", "join": join})).message
        )

    @given(
        st.dictionaries(
            st.sampled_from(["sub", "rooms", "join", "info", "exp", "nbf", "iat", "aud", "iss"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(
                        st.sampled_from(["room", "match", "allow", "global"]), inner, max_size=3
                    )
                ),
                max_leaves=6,
            ),
        )
    )
    def test_any_claims(self, claims: dict[str, object]):
        """They are an identity, or a 401 with a sentence; nothing else comes out of them."""
        authenticator, token = authenticator_of(SECRET, ["HS256"]), sign(claims)
        try:
            identity = authenticator.identify(token)
        except UpgradeRefused:
            assert len(refusal(authenticator, token).message) < 500
        else:
            assert identity.user == claims["sub"]


class TestRefusedTokens:
    @pytest.mark.parametrize(
        ("claims", "sentence"),
        [
            ({}, "The token has no sub, which is to say who the client is"),
            ({"sub": 7}, "The token's sub must be text of 1 to 256 characters"),
            ({"sub": "server"}, "The token's sub is 'server', which is the name of no user"),
            ({"sub": "me"}, "The token's sub is 'me', which is the name of no user"),
            (
                {"sub": "a", "rooms": [{}]},
                "The token's rooms cannot be read: a rule has one of room, match and global - at "
                "`$[0]`; a rule is like "
                '{"room": "lobby", "allow": ["join", "publish", "presence"]}',
            ),
            (
                {"sub": "a", "join": "lobby"},
                "The token's join must be a list of at most 128 rooms",
            ),
            (
                {"sub": "a", "join": ["a  b"]},
                f"The token's join names what is no room: {ROOM_NAME_RULE}",
            ),
            ({"sub": "a", "info": {"__proto__": 1}}, f"The token's info must be {INFO_RULE}"),
            ({"sub": "a", "info": None}, f"The token's info must be {INFO_RULE}"),
            ({"exp": "soon"}, "The token's exp must be a number of seconds since 1970"),
            ({"nbf": True}, "The token's nbf must be a number of seconds since 1970"),
            ([], "The token's claims are no JSON object"),
        ],
    )
    def test_what_was_wrong(self, authenticator: Authenticator, claims: object, sentence: str):
        """Who has a token that was signed with the key is told what is wrong in it."""
        assert refusal(authenticator, sign(claims)).message == sentence

    @pytest.mark.parametrize("claims", [{}, {"sub": "server"}, {"sub": "a", "exp": 1}])
    def test_a_forged_token_is_told_nothing_else(
        self, authenticator: Authenticator, claims: dict[str, Any]
    ):
        """What is wrong in a token's claims is not told to who has no key."""
        refused = refusal(authenticator, jwt.encode(claims, SECRET[::-1], "HS256"))
        assert refused.message == "The token's signature does not fit: another key made it"

    @pytest.mark.parametrize("name", ["Server", "servers", " server"])
    def test_names_like_the_servers(self, authenticator: Authenticator, name: str):
        """Only the very name that the server's own messages have is taken."""
        token = sign({"sub": name})
        assert authenticator.identify(token).user == name

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
            pytest.param({"sub": "anna", "exp": "9999999999"}, id="exp a number as text"),
            pytest.param({"sub": "anna", "exp": True}, id="exp true"),
            pytest.param({"sub": "anna", "exp": 10**400}, id="exp beyond all numbers"),
            pytest.param({"sub": "server"}, id="sub server"),
            pytest.param({"sub": "anna", "nbf": []}, id="nbf a list"),
            pytest.param({"sub": "anna", "iat": []}, id="iat a list"),
            pytest.param(["sub", "anna"], id="claims a list"),
            pytest.param(b"anna", id="claims no JSON"),
            pytest.param(b'{"sub":"\xff"}', id="claims no UTF-8"),
            pytest.param(b'{"sub":"anna","exp":1e400}', id="exp infinite"),
            pytest.param(b'{"sub":"anna","exp":NaN}', id="exp NaN"),
            pytest.param(b'{"sub":"anna","info":{"a":NaN}}', id="NaN in info"),
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

    def test_a_long_header(self, authenticator: Authenticator):
        """A header beyond its bound is not even parsed: anybody can send one, signed or not."""
        start = b'{"alg":"HS256","x":"'
        longest = start + b"x" * (MAX_HEADER_BYTES - len(start) - 2) + b'"}'
        assert authenticator.identify(sign({"sub": "anna"}, longest)).user == "anna"
        for header in (longest + b" ", b"[" * (MAX_HEADER_BYTES + 1)):
            sentence = refusal(authenticator, sign({"sub": "anna"}, header)).message
            assert sentence == "The token's header may have 8192 bytes"

    def test_none_without_a_signature(self, authenticator: Authenticator):
        """The unsigned token of RFC 7519 section 6 is refused."""
        refusal(authenticator, f"{part({'alg': 'none'})}.{part({'sub': 'admin'})}.")

    def test_a_public_key_is_no_shared_secret(self):
        """A token that is HMAC-signed with the public key does not pass for an RSA one."""
        pem = public_pem(RSA_KEY)
        signed = f"{part({'alg': 'HS256'})}.{part({'sub': 'admin'})}"
        signature = part(hmac.digest(pem.encode(), signed.encode(), hashlib.sha256))
        refusal(authenticator_of(pem, ["RS256"]), f"{signed}.{signature}")

    def test_another_key(self):
        """A token of somebody else's key is refused."""
        token = jwt.encode({"sub": "admin"}, private_pem(new_key()), "ES256")
        refusal(authenticator_of(public_pem(new_key()), ["ES256"]), token)

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
