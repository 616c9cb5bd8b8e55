"""Settings that have to fit together: what is refused, although each is allowed by itself."""

from __future__ import annotations

import pytest

from sanic_chat.config.settings import Config
from sanic_chat.protocol.envelope import envelope_head
from sanic_chat.protocol.message import (
    MAX_SENDER_CHARACTERS,
    MESSAGE_OVERHEAD_BYTES,
    encode_fields,
    json_text,
)
from sanic_chat.protocol.personal_room import personal_room
from sanic_chat.protocol.room_name import MAX_ROOM_NAME_CHARACTERS
from sanic_chat.session.send_queue import ENTRY_BYTES
from sanic_chat.websocket.frames import text_frame

from ..support.settings import PEM, ROOMY, SECRET, refusal


class TestMessageSize:
    @pytest.mark.parametrize("variable", ROOMY)
    def test_a_queue_that_is_too_small_for_a_message(self, variable: str):
        """A message size that a queue cannot take is refused, with what the queue would need."""
        size = 2**25
        needed = size + MESSAGE_OVERHEAD_BYTES
        environment = {**ROOMY, "CHAT_MAX_MESSAGE_BYTES": str(size)}
        assert Config.from_environment({**environment, variable: str(needed)})
        error = refusal({**environment, variable: str(needed - 1)})
        assert error == (
            f"{variable} is {needed - 1}, too little for a message of CHAT_MAX_MESSAGE_BYTES, "
            f"which is {size}; allowed are {needed} and more"
        )

    @pytest.mark.parametrize(
        "variable", ["CHAT_PUBLISH_QUEUE_BYTES", "CHAT_PUBLISH_QUEUE_MESSAGES"]
    )
    def test_a_queue_that_is_off(self, variable: str):
        """A publish queue of nothing holds nothing, and is too small for nothing."""
        environment = {"CHAT_PUBLISH_QUEUE_BYTES": "1", variable: "0"}
        assert Config.from_environment(environment)

    def test_what_a_message_may_have_more_than_its_client_sent(self):
        """The longest names and IDs, escaped, with a frame's head and a queue's entry, fit."""
        user = "\U00020000" * MAX_SENDER_CHARACTERS
        in_a_room = ("\x01" * MAX_SENDER_CHARACTERS, "\U00020000" * MAX_ROOM_NAME_CHARACTERS)
        in_anothers = ("\x01" * MAX_SENDER_CHARACTERS, personal_room(user))
        ways = (in_a_room, (user, personal_room(user)), in_anothers)
        overhead = max(self.overhead(*way) for way in ways)
        assert MESSAGE_OVERHEAD_BYTES / 2 < overhead <= MESSAGE_OVERHEAD_BYTES

    @staticmethod
    def overhead(user: str, name: str) -> int:
        sender, room = json_text(user), json_text(name)
        sent = b'{"data":1}'
        head = envelope_head("p" * 64 + "-01234567")
        members = encode_fields(
            b"0" * 36, b"notification", room, sender, b"1", b"2026-02-05T00:00:00.000000000+00:00"
        )
        return len(text_frame(head + members)) + ENTRY_BYTES - len(sent)


class TestAuth:
    @pytest.mark.parametrize(
        ("environment", "words"),
        [
            pytest.param({}, ["AUTH_SECRET, AUTH_PUBLIC_KEY,", "none of them is"], id="no key"),
            pytest.param(
                {"AUTH_SECRET": SECRET, "AUTH_PUBLIC_KEY": PEM},
                ["must be set; AUTH_SECRET and AUTH_PUBLIC_KEY are"],
                id="two keys",
            ),
            pytest.param(
                {"AUTH_KEYS_FILE": "geheim", "AUTH_JWKS_URL": "https://example.com/"},
                ["must be set; AUTH_KEYS_FILE and AUTH_JWKS_URL are"],
                id="two sets of keys",
            ),
            pytest.param({"AUTH_SECRET": SECRET[1:]}, ["AUTH_SECRET has 31 bytes"], id="short"),
            pytest.param(
                {"AUTH_SECRET": SECRET, "AUTH_ALGORITHMS": "HS256,RS256"},
                ["AUTH_ALGORITHMS is 'HS256,RS256'", "AUTH_SECRET", "HS256, HS384, HS512"],
                id="RS256 with a secret",
            ),
            pytest.param(
                {"AUTH_PUBLIC_KEY": PEM, "AUTH_ALGORITHMS": "HS256"},
                ["AUTH_ALGORITHMS is 'HS256'", "AUTH_PUBLIC_KEY", "ES256"],
                id="HS256 with a public key",
            ),
            pytest.param(
                {"AUTH_JWKS_URL": "https://example.com/", "AUTH_ALGORITHMS": "RS256,HS256"},
                ["AUTH_ALGORITHMS is 'RS256,HS256'", "AUTH_JWKS_URL", "ES256"],
                id="HS256 with a URL",
            ),
        ],
    )
    def test_combinations_that_are_refused(self, environment: dict[str, str], words: list[str]):
        """Auth that is on needs exactly one key, long enough, and algorithms that fit it."""
        error = refusal({"AUTH_ENABLED": "on", **environment})
        for word in words:
            assert word in error
        assert not any(
            value[:31] in error for name, value in environment.items() if "ALG" not in name
        )

    @pytest.mark.parametrize(
        ("environment", "algorithms"),
        [
            ({"AUTH_SECRET": SECRET}, "HS256"),
            ({"AUTH_PUBLIC_KEY": PEM}, "RS256"),
            ({"AUTH_KEYS_FILE": "x"}, "HS256 RS256 ES256 ES384 ES512 EdDSA"),
            ({"AUTH_KEYS_FILE": "x", "AUTH_ALGORITHMS": "HS512,RS256"}, "HS512 RS256"),
            ({"AUTH_JWKS_URL": "https://example.com/"}, "RS256 ES256 ES384 ES512 EdDSA"),
        ],
    )
    def test_algorithms_that_are_usual(self, environment: dict[str, str], algorithms: str):
        """Without AUTH_ALGORITHMS one is taken for each type of key that there may be."""
        config = Config.from_environment({"AUTH_ENABLED": "on", **environment})
        assert [*config.auth_algorithms] == algorithms.split()

    def test_without_auth_nothing_is_demanded(self):
        """While auth is off, its other settings are kept but not checked against each other."""
        config = Config.from_environment({"AUTH_SECRET": "short", "AUTH_PUBLIC_KEY": PEM})
        assert not config.auth_enabled

    def test_a_secret_of_32_bytes_in_fewer_characters(self):
        """The secret's length counts in bytes."""
        environment = {"AUTH_ENABLED": "1", "AUTH_SECRET": "é" * 16}
        assert Config.from_environment(environment).auth_secret == "é" * 16

    @pytest.mark.parametrize("origins", ["*", "null", "https://h,NULL", "file://"])
    def test_a_cookie_for_every_page(self, origins: str):
        """A cookie that any page could use, in a sandboxed frame too, keeps it from starting."""
        text = refusal({"AUTH_COOKIE": "session", "CHAT_ALLOWED_ORIGINS": origins})
        found = origins.rpartition(",")[2].lower()
        assert f"AUTH_COOKIE is 'session' and CHAT_ALLOWED_ORIGINS has {found}" in text
        Config.from_environment({"CHAT_ALLOWED_ORIGINS": origins})
        Config.from_environment({"AUTH_COOKIE": "session", "CHAT_ALLOWED_ORIGINS": "http://h"})
