"""Tokens that are signed by hand, and how they are refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from sanic_chat.auth.auth import Authenticator
from sanic_chat.auth.key_refresh import keys_of_setting
from sanic_chat.errors import UpgradeRefused

from .keys import SECRET


def authenticator_of(key: str, algorithms: list[str], **rules: Any) -> Authenticator:
    """One that checks with a secret, or with a public key in PEM."""
    return Authenticator(keys_of_setting(key, algorithms), **rules)


def part(value: object) -> str:
    """A header or payload in base64url, whatever it holds."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def sign(claims: object, header: object = None) -> str:
    """A token with a good HS256 signature over any header and any claims."""
    signed = f"{part({'alg': 'HS256', 'typ': 'JWT'} if header is None else header)}.{part(claims)}"
    return f"{signed}.{part(hmac.digest(SECRET.encode(), signed.encode(), hashlib.sha256))}"


def refusal(authenticator: Authenticator, token: str) -> UpgradeRefused:
    """The refusal of a token, which must be a 401 that does not tell the token."""
    with pytest.raises(UpgradeRefused) as raised:
        authenticator.identify(token)
    refused = raised.value
    assert refused.status == 401
    assert refused.headers == {"WWW-Authenticate": "Bearer"}
    assert refused.__cause__ is None
    for piece in (token, *token.split(".")):
        assert len(piece) < 8 or piece not in f"{refused!r} {refused.message}"
    return refused
