"""The reader of tokens and the rules of access, as the settings say."""

from __future__ import annotations

import subprocess
import sys

import jwt
import pytest

from sanic_chat.config.settings import Config
from sanic_chat.errors import ConfigError
from sanic_chat.protocol.personal_room import personal_room
from sanic_chat.tokens import make_access, make_authenticator

from .support.harness import ROOT

SECRET = "a secret of at least thirty-two bytes"


def test_nobody_reads_tokens_unless_that_is_set() -> None:
    assert make_authenticator(Config()) is None


def test_a_token_is_read_as_the_settings_say() -> None:
    """The claim that names the user, and the key, are those of the settings."""
    config = Config(auth_enabled=True, auth_secret=SECRET, auth_user_claim="name")
    authenticator = make_authenticator(config)
    assert authenticator is not None
    claims = authenticator.verify(jwt.encode({"name": "anna"}, SECRET, "HS256")).claims
    assert authenticator.identity_of(claims).user == "anna"


def test_a_key_that_is_none_is_refused() -> None:
    config = Config(auth_enabled=True, auth_public_key="x", auth_algorithms=("ES256",))
    with pytest.raises(ConfigError):
        make_authenticator(config)


@pytest.mark.parametrize(
    ("settings", "everybody", "personal", "others"),
    [
        ({"personal_rooms": "everyone"}, True, True, True),
        ({"global_publish": "server", "personal_rooms": "off"}, False, False, False),
        ({"personal_rooms": "server"}, True, True, False),
    ],
)
def test_access(settings: dict[str, str], everybody: bool, personal: bool, others: bool) -> None:
    """Who may speak to everybody, and whether there are personal rooms, and who speaks there."""
    access = make_access(Config(**settings))  # type: ignore[arg-type]
    assert (access.global_publish, access.personal_rooms) == (everybody, personal)
    room = personal_room("anna")
    assert access.may("publish", room, user="bert", identity=None) is others


def test_it_loads_no_server() -> None:
    """Commands that make and explain tokens do not wait for that."""
    program = "import sanic_chat.cli.token, sanic_chat.tokens, sys; print(*sys.modules)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert not {*done.stdout.split()} & {"sanic", "asyncio", "hiredis", "sanic_chat.worker"}
