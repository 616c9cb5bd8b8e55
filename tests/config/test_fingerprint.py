"""The fingerprint of settings: alike or not, and nothing of a secret in it."""

from __future__ import annotations

import re

import pytest

from sanic_chat.config.fingerprint import fingerprint
from sanic_chat.config.settings import Config

SECRET = "a secret that is long enough, and not shown"


def of(**environment: str) -> str:
    return fingerprint(Config.from_environment(environment))


def test_equal_settings_are_alike() -> None:
    """Whether they are written down or are the defaults; it is short, and always the same."""
    assert of() == of(CHAT_BACKLOG="4096") == of(CHAT_BACKLOG=" 4096 ")
    assert re.fullmatch("[0-9a-f]{8}", of())


@pytest.mark.parametrize(
    "environment",
    [
        {"CHAT_BACKLOG": "4095"},
        {"CHAT_REDIS_PREFIX": "staging"},
        {"CHAT_TRUSTED_PROXIES": "10.0.0.0/8"},
        {"AUTH_ISSUER": "here"},
        {"AUTH_ENABLED": "1", "AUTH_SECRET": SECRET},
    ],
    ids=lambda environment: next(iter(environment)),
)
def test_other_settings_are_not(environment: dict[str, str]) -> None:
    assert of(**environment) != of()


def test_what_does_not_count() -> None:
    """A secret, which nobody can guess then; and the name of one host."""
    auth = {"AUTH_ENABLED": "1"}
    assert of(**auth, AUTH_SECRET=SECRET) == of(**auth, AUTH_SECRET=SECRET[::-1])
    assert of(REDIS_URL="redis://:geheim@a") == of(REDIS_URL="redis://b") == of()
    assert of(POD_ID="web-1") == of(POD_ID="web-2")
