"""Tokens of any shape: each is somebody's, or refused with a sentence, and that at once."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sanic_chat.auth.auth import Authenticator
from sanic_chat.auth.key_refresh import Keys
from sanic_chat.auth.keys import parse_key_set
from sanic_chat.errors import UpgradeRefused
from sanic_chat.protocol.info import MAX_INFO_BYTES

from ..support.clients import RawClient, running_server
from ..support.harness import RedisProcess, ServerProcess
from ..support.keys import RSA_KEY, SECRET, jwk_of, new_key, set_of, sign

STALL_SECONDS = 0.5
"""More than any token may take, on the slowest of machines."""

AUTHENTICATOR = Authenticator(
    Keys(
        parse_key_set(
            set_of(
                jwk_of(SECRET, kid="secret", alg="HS256"),
                jwk_of(new_key(), kid="ec"),
                jwk_of(RSA_KEY, kid="rsa"),
                jwk_of(SECRET[::-1]),
            ),
            ["HS256", "ES256", "RS256", "PS256"],
            with_secrets=True,
        )
    ),
    audiences=["chat"],
    issuers=["us"],
)

WORDS = ("HS256", "none", "secret", "ec", "rsa", "JWT", "anna", "server", "chat", "us", "b64", "*")
JSON: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(WORDS)
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([10**308, -(10**400), 2**63, 1e308, -0.0, "\ud800", "\x00", "x" * 5000])
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*WORDS, "room", "match", "allow"]), inner, max_size=4)
    ),
    max_leaves=8,
)
INFOS = st.dictionaries(
    st.sampled_from(["name", "age", "constructor"]), st.text(max_size=90) | st.integers()
) | st.dictionaries(
    st.sampled_from(["name", "__proto__", "<img onerror>", "a" * 300]) | st.text(max_size=3), JSON
)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["alg", "kid", "typ", "cty", "crit", "b64", "zip", "enc", "jwk", "jku", "x5u", "x5c", "x5t"]
    ),
    JSON,
    max_size=5,
).map(lambda header: {"alg": "HS256", **header})
GOOD = {"sub": "anna", "aud": "chat", "iss": "us"}
CLAIMS = st.dictionaries(
    st.sampled_from(["sub", "aud", "iss", "exp", "nbf", "iat", "rooms", "join", "jti", "info"]),
    JSON,
    max_size=5,
).map(lambda claims: {**GOOD, **claims})
CLAIMS |= INFOS.map(lambda info: {**GOOD, "info": info})
DEEP = b"[" * 12_000, b'{"a":' * 3000, b'{"alg":"HS256","kid":' * 500


def part(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def signed(header: bytes, claims: bytes) -> str:
    text = f"{part(header)}.{part(claims)}"
    return f"{text}.{part(hmac.digest(SECRET.encode(), text.encode(), hashlib.sha256))}"


def assert_judged(token: str) -> None:
    """It is an identity, or a 401 with a sentence, and takes no time that others would feel.

    PyJWT says that it is signed, too.
    """
    began = time.process_time()
    try:
        identity = AUTHENTICATOR.identify(token)
    except UpgradeRefused as refusal:
        seen = refusal
    else:
        claims = jwt.PyJWS().decode(token, SECRET, ["HS256"])
        assert identity.user == json.loads(claims)["sub"]
        if identity.info is not None:
            assert json.loads(identity.info) == json.loads(claims)["info"]
            assert len(identity.info) <= MAX_INFO_BYTES
        seen = None
    assert time.process_time() - began < STALL_SECONDS
    if seen is not None:
        assert (seen.status, seen.code in ("unauthorized", "token_expired")) == (401, True)
        assert seen.message.startswith("The token")
        assert len(seen.message) < 500
        seen.message.encode()
        assert seen.__cause__ is None


@given(HEADERS, CLAIMS)
@example({"alg": "HS256", "kid": "ec"}, GOOD)
@example({"alg": "RS256", "kid": "secret"}, GOOD)
@example({"alg": "HS256", "b64": False, "crit": ["b64"]}, GOOD)
@example({"alg": ["HS256"], "kid": None}, GOOD)
def test_any_header_and_claims(header: dict[str, Any], claims: dict[str, Any]) -> None:
    """Whatever the JSON of a token holds, signed as it should be."""
    assert_judged(signed(json.dumps(header).encode(), json.dumps(claims).encode()))


@pytest.mark.parametrize("deep", DEEP, ids=["lists", "objects", "header"])
def test_deep_ones(deep: bytes) -> None:
    """What is nested thousands of times, as header, claims or a claim."""
    good = json.dumps(GOOD).encode()
    for claims in (deep, b'{"sub":' + deep, b"[" * 6000 + b"]" * 6000):
        assert_judged(signed(b'{"alg":"HS256"}', claims))
        assert_judged(signed(claims, good))
    for claim in ("rooms", "join", "aud", "iss", "exp", "sub"):
        nested = b"[" * 900 + b"]" * 900
        assert_judged(
            signed(b'{"alg":"HS256"}', good[:-1] + b', "%b": %b}' % (claim.encode(), nested))
        )


@pytest.mark.parametrize("digits", [300, 4300, 9000])
def test_huge_numbers(digits: int) -> None:
    """Of which Python would make integers in a time that grows with their square."""
    good = json.dumps(GOOD).encode()
    for claim in (b"exp", b"nbf", b"sub", b"rooms", b"join"):
        claims = good[:-1] + b', "%b": %b}' % (claim, b"9" * digits)
        assert_judged(signed(b'{"alg":"HS256"}', claims))
    assert_judged(signed(b'{"alg":"HS256","kid":%b}' % (b"9" * digits), good))


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda data: data.decode("latin-1")))
def test_any_text(text: str) -> None:
    assert_judged(text)
    assert_judged(f"{text}.{text}.{text}")


@given(st.data())
def test_one_that_was_changed(data: st.DataObject) -> None:
    """Any piece of a good token may be another, missing or there twice."""
    token = signed(b'{"alg":"HS256","kid":"secret"}', json.dumps(GOOD).encode())
    start = data.draw(st.integers(0, len(token)))
    end = data.draw(st.integers(start, min(len(token), start + 8)))
    piece = data.draw(st.text("AQgw019-_=.+/ \n\x00é", max_size=6))
    assert_judged(token[:start] + piece + token[end:])


@pytest.fixture(scope="module")
def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(REDIS_URL=shared_redis.url, AUTH_ENABLED="1", AUTH_SECRET=SECRET) as server:
        yield server


async def test_on_a_real_server(server: ServerProcess) -> None:
    """Over every place of a token, the odd ones are 401, in JSON, and nothing else happens."""
    good = json.dumps(GOOD).encode()
    odd = [
        *(signed(deep[:6000], good) for deep in DEEP),
        *(signed(b'{"alg":"HS256"}', deep[:6000]) for deep in DEEP),
        signed(b'{"alg":"HS256","kid":%b}' % (b"9" * 5000), good),
        signed(b'{"alg":"HS256","crit":["exp"]}', good),
        signed(b'{"alg":"HS256","b64":false}', good),
        signed(b'{"alg":"none"}', good),
        signed(b'{"alg":"HS256"}', b'{"sub":"\\ud800"}'),
        signed(b'{"alg":"HS256"}', b'{"sub":"anna","exp":1e999}'),
        sign(RSA_KEY, "RS256"),
        "=.=.=",
        "A" * 9000,
    ]
    for token in odd:
        for place in (
            {"Authorization": f"Bearer {token}"},
            {"Sec_WebSocket_Protocol": f"bearer.{token}"},
            {},
        ):
            path = "/ws" if place else f"/ws?token={token}"
            async with RawClient(server) as client:
                status, _, body = await client.request(path, **place)
            assert status == 401, (token[:40], place)
            assert json.loads(body)["code"] == "unauthorized"
    async with RawClient(server) as client:
        status, _, _ = await client.request(Authorization=f"Bearer {sign(SECRET, 'HS256')}")
    assert status == 101
    assert "Traceback" not in server.log
