"""Settings: defaults, bounds, and that secrets stay secret."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sanic_chat.config.settings import Config

from ..support.settings import FIELD_OF, PEM, ROOMY, SECRET, refusal, value_of

DEFAULTS: dict[str, Any] = {
    "CHAT_API_PREFIX": "/api/chat-api",
    "CHAT_BACKLOG": 4096,
    "CHAT_ENV_FILE": None,
    "REDIS_URL": None,
    "CHAT_REDIS_PREFIX": "realtime",
    "CHAT_REDIS_TIMEOUT": 5.0,
    "CHAT_PROOF_INTERVAL": 1.0,
    "CHAT_SUBSCRIBE_TIMEOUT": 1.0,
    "CHAT_UNSUBSCRIBE_DELAY": 5.0,
    "CHAT_PUBLISH_QUEUE_MESSAGES": 10_000,
    "CHAT_PUBLISH_QUEUE_BYTES": 8 * 2**20,
    "CHAT_PUBLISH_QUEUE_SECONDS": 10.0,
    "CHAT_MAX_CONNECTIONS": 0,
    "CHAT_HANDSHAKE_TIMEOUT": 5.0,
    "CHAT_MAX_HEADER_BYTES": 16 * 2**10,
    "CHAT_MAX_MESSAGE_BYTES": 64 * 2**10,
    "CHAT_MAX_MESSAGE_FRAGMENTS": 128,
    "CHAT_SEND_QUEUE_MESSAGES": 256,
    "CHAT_SEND_QUEUE_BYTES": 2**20,
    "CHAT_SEND_QUEUE_TOTAL_BYTES": 64 * 2**20,
    "CHAT_SLOW_CONSUMER": "disconnect",
    "CHAT_BACKPRESSURE_BYTES": 16 * 2**20,
    "CHAT_ROOMS_PER_SESSION": 128,
    "CHAT_SESSIONS_PER_USER": 0,
    "CHAT_GLOBAL_PUBLISH": "everyone",
    "CHAT_PERSONAL_ROOMS": "server",
    "CHAT_SUBPROTOCOLS": (),
    "CHAT_HEARTBEAT_TIMEOUT": 60.0,
    "CHAT_DRAIN_TIMEOUT": 5.0,
    "CHAT_DRAIN_WINDOW": 3.0,
    "CHAT_DRAIN_GRACE": 0.0,
    "CHAT_RETRY_AFTER": 2,
    "CHAT_STATS_INTERVAL": 1.0,
    "CHAT_STATS_ROOMS": 10,
    "CHAT_ALLOWED_ORIGINS": (),
    "AUTH_ENABLED": False,
    "AUTH_SECRET": None,
    "AUTH_PUBLIC_KEY": None,
    "AUTH_KEYS_FILE": None,
    "AUTH_JWKS_URL": None,
    "AUTH_ALGORITHMS": ("HS256",),
    "AUTH_LEEWAY": 30.0,
    "AUTH_AUDIENCE": (),
    "AUTH_ISSUER": (),
    "AUTH_USER_CLAIM": "sub",
    "AUTH_EXPIRY": "close",
    "AUTH_COOKIE": None,
    "CHAT_API_KEYS": (),
    "CHAT_ADMIN_LISTEN": None,
    "CHAT_OPEN": (),
    "CHAT_LOG_FORMAT": "text",
    "CHAT_LOG_LEVEL": "info",
    "CHAT_LIFECYCLE": False,
    "CHAT_LOG_CLIENTS": False,
    "CHAT_TRUSTED_PROXIES": (),
    "CHAT_RESTART_LIMIT": 10,
    "CHAT_HANG_TIMEOUT": 30,
}

# Variable: the values it may have at its bounds, and beyond them. In seconds and whole numbers.
BOUNDS = {
    "CHAT_BACKLOG": (("1", "65535"), ("0", "65536")),
    "CHAT_REDIS_TIMEOUT": (("0.1", "60"), ("0.09", "60.1")),
    "CHAT_PROOF_INTERVAL": (("0.1", "30"), ("0", "30.1")),
    "CHAT_SUBSCRIBE_TIMEOUT": (("0", "30"), ("-0.1", "31")),
    "CHAT_UNSUBSCRIBE_DELAY": (("0", "3600"), ("-1", "3601")),
    "CHAT_PUBLISH_QUEUE_MESSAGES": (("0", "10000000"), ("-1", "10000001")),
    "CHAT_PUBLISH_QUEUE_BYTES": (("0", str(2**40)), ("-1", str(2**40 + 1))),
    "CHAT_PUBLISH_QUEUE_SECONDS": (("0", "3600"), ("-1", "3601")),
    "CHAT_MAX_CONNECTIONS": (("0", "10000000"), ("-1", "10000001")),
    "CHAT_HANDSHAKE_TIMEOUT": (("0.5", "60"), ("0.4", "61")),
    "CHAT_MAX_HEADER_BYTES": (("1024", "65536"), ("1023", "65537")),
    "CHAT_MAX_MESSAGE_BYTES": (("1024", str(2**26)), ("1023", str(2**26 + 1))),
    "CHAT_MAX_MESSAGE_FRAGMENTS": (("1", "1000000"), ("0", "1000001")),
    "CHAT_SEND_QUEUE_MESSAGES": (("1", "1000000"), ("0", "1000001")),
    "CHAT_SEND_QUEUE_BYTES": (("65536", str(2**40)), ("65535", str(2**40 + 1))),
    "CHAT_SEND_QUEUE_TOTAL_BYTES": (("65536", str(2**40)), ("65535", str(2**40 + 1))),
    "CHAT_BACKPRESSURE_BYTES": (("65536", str(2**30)), ("65535", str(2**30 + 1))),
    "CHAT_ROOMS_PER_SESSION": (("1", "100000"), ("0", "100001")),
    "CHAT_SESSIONS_PER_USER": (("0", "10000"), ("-1", "10001")),
    "CHAT_HEARTBEAT_TIMEOUT": (("1", "86400"), ("0.5", "86401")),
    "CHAT_DRAIN_TIMEOUT": (("0.1", "120"), ("0", "120.5")),
    "CHAT_DRAIN_WINDOW": (("0", "120"), ("-0.1", "120.5")),
    "CHAT_DRAIN_GRACE": (("0", "60"), ("-0.1", "60.1")),
    "CHAT_RETRY_AFTER": (("1", "3600"), ("0", "3601")),
    "CHAT_STATS_INTERVAL": (("0.1", "5"), ("0", "5.1")),
    "CHAT_STATS_ROOMS": (("0", "100"), ("-1", "101")),
    "AUTH_LEEWAY": (("0", "600"), ("-1", "601")),
    "CHAT_RESTART_LIMIT": (("0", "1000"), ("-1", "1001")),
    "CHAT_HANG_TIMEOUT": (("0", "3600"), ("-1", "3601")),
}
SECONDS = {variable for variable, default in DEFAULTS.items() if isinstance(default, float)}

FITTING = {
    "CHAT_MAX_MESSAGE_BYTES": ROOMY,
    **{variable: {"CHAT_MAX_MESSAGE_BYTES": "1024"} for variable in ROOMY},
    "CHAT_PUBLISH_QUEUE_BYTES": {"CHAT_PUBLISH_QUEUE_MESSAGES": "0"},
}
"""What else must be set for a setting to be at its bounds."""


class TestDefaults:
    def test_every_default(self):
        """An empty environment gives the defaults of the contract, for every setting there is."""
        config = Config.from_environment({})
        values = {variable: getattr(config, name) for variable, name in FIELD_OF.items()}
        assert values.pop("POD_ID")
        assert values == DEFAULTS

    @pytest.mark.parametrize("variable", FIELD_OF)
    @pytest.mark.parametrize("text", ["", "  \t"], ids=["empty", "blank"])
    def test_an_empty_variable_is_not_set(self, variable: str, text: str):
        """A variable that is empty counts as not set."""
        assert value_of(variable, text) == getattr(Config(), FIELD_OF[variable])

    def test_the_process_environment(self, monkeypatch: pytest.MonkeyPatch):
        """Without an argument the process's own environment is read."""
        monkeypatch.setenv("CHAT_RETRY_AFTER", "7")
        assert Config.from_environment().retry_after == 7

    def test_other_variables_do_not_matter(self):
        """What is no setting is ignored."""
        environment = {"PATH": "/bin", "CHAT_NOTHING": "x", "chat_backlog": "1"}
        assert Config.from_environment(environment) == Config()

    def test_the_host_name_is_the_pod_prefix(self, monkeypatch: pytest.MonkeyPatch):
        """Without POD_ID the host name, cut and cleaned, is the prefix."""
        monkeypatch.setattr("socket.gethostname", lambda: "höst name.example" + "x" * 100)
        assert Config().pod_prefix == ("h-st-name.example" + "x" * 100)[:64]
        monkeypatch.setattr("socket.gethostname", lambda: "")
        assert Config().pod_prefix == "pod"

    def test_it_does_not_change(self):
        """A config cannot be changed by accident."""
        with pytest.raises(AttributeError):
            Config().backlog = 1  # type: ignore[misc]


class TestNumbers:
    @pytest.mark.parametrize(
        ("variable", "text"),
        [(variable, text) for variable, (good, _) in BOUNDS.items() for text in good],
    )
    def test_bounds(self, variable: str, text: str):
        """A number at its bound is taken, as the type its default has."""
        value = value_of(variable, f" {text} ", **FITTING.get(variable, {}))
        assert value == float(text)
        assert type(value) is type(DEFAULTS[variable])

    @pytest.mark.parametrize(
        ("variable", "text"),
        [
            (variable, text)
            for variable, (_, bad) in BOUNDS.items()
            for text in (*bad, "x", "nan", "inf", "-inf", "1 2", "5s", "0x10", "1,5")
        ],
    )
    def test_beyond(self, variable: str, text: str):
        """Any other value is refused; the error has the variable, the value and the bounds."""
        error = refusal({variable: text})
        low, high = (f"{float(bound):g}" for bound in BOUNDS[variable][0])
        assert error.startswith(f"{variable} is {text!r}; allowed is a ")
        allowed = error.partition("allowed is a ")[2]
        if variable in SECONDS:
            assert allowed == f"number of seconds from {low} to {high}"
        else:
            assert allowed == "whole number from {} to {}".format(*BOUNDS[variable][0])

    @pytest.mark.parametrize("variable", sorted(BOUNDS.keys() - SECONDS))
    def test_a_fraction_is_no_whole_number(self, variable: str):
        """A count with a fraction is refused, not rounded."""
        assert "whole number" in refusal({variable: "10.5"})

    def test_every_number_is_tested(self):
        """Each setting with a number has its bounds in the tables of this file."""
        numbers = {name for name, value in DEFAULTS.items() if type(value) in (int, float)}
        assert set(BOUNDS) == numbers


class TestAuth:
    def test_a_secret(self):
        """A secret alone means HS256."""
        config = Config.from_environment({"AUTH_ENABLED": "1", "AUTH_SECRET": SECRET})
        assert (config.auth_secret, config.auth_algorithms) == (SECRET, ("HS256",))

    def test_a_public_key(self):
        r"""A public key alone means RS256, and its line breaks may be written as \n."""
        escaped = PEM.replace("\n", "\\n")
        config = Config.from_environment({"AUTH_ENABLED": "1", "AUTH_PUBLIC_KEY": escaped})
        assert config.auth_algorithms == ("RS256",)
        assert config.auth_public_key == PEM

    @pytest.mark.parametrize("secret", [rf"{SECRET}\n", f"'{SECRET}'", rf'"{SECRET}\\"'])
    def test_a_secret_is_taken_as_it_stands(self, secret: str):
        """Backslashes and quotes are part of a secret."""
        assert value_of("AUTH_SECRET", secret) == secret


class TestSecrecy:
    def test_repr(self):
        """What `repr` shows has no secret in it, and no Redis URL."""
        url = "redis://u:p4ssw0rd@h"
        config = Config.from_environment({"AUTH_SECRET": SECRET, "REDIS_URL": url})
        config = replace(config, auth_public_key="the public key")
        for text in (repr(config), str(config), f"{config}"):
            assert "backlog=4096" in text
            assert not any(secret in text for secret in (SECRET, "p4ssw0rd", "the public key"))
