"""Keys of the HTTP API: how they are written, and that nobody learns of one by trying."""

from __future__ import annotations

import hmac

import pytest

from sanic_chat.protocol import api_keys
from sanic_chat.protocol.api_keys import find_key, read_key

SECRETS = ["0123456789abcdef" * 2, "A" * 32, "._~+/=-" * 73]
KEYS = [read_key(f"key-{number}:read:{secret}") for number, secret in enumerate(SECRETS)]


def test_a_key() -> None:
    """It has a name, scopes, and of its secret only what nobody can read it from."""
    key = read_key(f" web.1_x-y : read + publish : {SECRETS[0]} ")
    assert (key.name, key.scopes) == ("web.1_x-y", {"read", "publish"})
    assert key.digest == read_key(f"other:admin:{SECRETS[0]}").digest
    assert SECRETS[0] not in repr(key)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no two colons"),
        ("web:read", "has no two colons"),
        (f":read:{SECRETS[0]}", "has a name that is none"),
        (f"a b:read:{SECRETS[0]}", "has a name that is none"),
        (f"{'x' * 65}:read:{SECRETS[0]}", "has a name that is none"),
        (f"web::{SECRETS[0]}", "(web) has a scope that there is not"),
        (f"web:read+:{SECRETS[0]}", "(web) has a scope that there is not"),
        (f"web:read+write:{SECRETS[0]}", "(web) has a scope that there is not"),
        (f"web:Read:{SECRETS[0]}", "(web) has a scope that there is not"),
        ("web:read:", "(web) has a secret of 0 characters"),
        (f"web:read:{SECRETS[0][1:]}", "(web) has a secret of 31 characters"),
        (f"web:read:{'x' * 513}", "(web) has a secret of 513 characters"),
        (f"web:read:{SECRETS[0]}:x", "(web) has a secret with a character that it may not have"),
        (f"web:read:{SECRETS[0]}é", "(web) has a secret with a character that it may not have"),
    ],
)
def test_what_is_no_key(text: str, why: str) -> None:
    """It is said what is wrong, without the secret."""
    with pytest.raises(ValueError, match="has") as raised:
        read_key(text)
    assert str(raised.value) == why


@pytest.mark.parametrize("number", range(3))
def test_a_key_is_found(number: int) -> None:
    """By its secret, however the scheme is written."""
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert find_key(KEYS, f"{scheme} {SECRETS[number]}") == KEYS[number]


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        SECRETS[0],
        f"Basic {SECRETS[0]}",
        f"Bearer {SECRETS[0]}x",
        f"Bearer {SECRETS[0][:-1]}",
        f"Bearer {SECRETS[0].upper()}",
        f"Bearer {SECRETS[0]} {SECRETS[1]}",
        "Bearer \udcff\udcfe",
    ],
)
def test_no_key_is_found(header: str | None) -> None:
    assert find_key(KEYS, header) is None


@pytest.mark.parametrize("header", [None, "Bearer x", *(f"Bearer {one}" for one in SECRETS)])
def test_a_wrong_key_takes_as_long(monkeypatch: pytest.MonkeyPatch, header: str | None) -> None:
    """Whatever is given is compared with every key, in constant time, and with nothing else."""
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), other))
        return hmac.compare_digest(one, other)

    class Hmac:
        compare_digest = staticmethod(compare)

    monkeypatch.setattr(api_keys, "hmac", Hmac)
    find_key(KEYS, header)
    assert compared == [(32, key.digest) for key in KEYS]
