"""Settings: defaults, what is allowed, and that secrets stay secret."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import Any

import pytest

from sanic_chat.config import Config
from sanic_chat.errors import ConfigError

from .harness import ROOT

SECRET = "0123456789abcdef0123456789ABCDEF"
PEM = r"-----BEGIN PUBLIC KEY-----\nMIIBIjANBg\n-----END PUBLIC KEY-----"

DEFAULTS: dict[str, Any] = {
    "CHAT_API_PREFIX": "/api/chat-api",
    "CHAT_BACKLOG": 4096,
    "REDIS_URL": None,
    "CHAT_REDIS_TIMEOUT": 5.0,
    "CHAT_PROOF_INTERVAL": 1.0,
    "CHAT_SUBSCRIBE_TIMEOUT": 1.0,
    "CHAT_UNSUBSCRIBE_DELAY": 5.0,
    "CHAT_PUBLISH_QUEUE_MESSAGES": 10_000,
    "CHAT_PUBLISH_QUEUE_BYTES": 8 * 2**20,
    "CHAT_PUBLISH_QUEUE_SECONDS": 10.0,
    "CHAT_MAX_CONNECTIONS": 0,
    "CHAT_HANDSHAKE_TIMEOUT": 5.0,
    "CHAT_MAX_MESSAGE_BYTES": 64 * 2**10,
    "CHAT_MAX_MESSAGE_FRAGMENTS": 128,
    "CHAT_SEND_QUEUE_MESSAGES": 256,
    "CHAT_SEND_QUEUE_BYTES": 2**20,
    "CHAT_SEND_QUEUE_TOTAL_BYTES": 64 * 2**20,
    "CHAT_SLOW_CONSUMER": "disconnect",
    "CHAT_BACKPRESSURE_BYTES": 16 * 2**20,
    "CHAT_ROOMS_PER_SESSION": 64,
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
    "AUTH_ALGORITHMS": ("HS256",),
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
    "CHAT_MAX_MESSAGE_BYTES": (("1024", str(2**26)), ("1023", str(2**26 + 1))),
    "CHAT_MAX_MESSAGE_FRAGMENTS": (("1", "1000000"), ("0", "1000001")),
    "CHAT_SEND_QUEUE_MESSAGES": (("1", "1000000"), ("0", "1000001")),
    "CHAT_SEND_QUEUE_BYTES": (("65536", str(2**40)), ("65535", str(2**40 + 1))),
    "CHAT_SEND_QUEUE_TOTAL_BYTES": (("65536", str(2**40)), ("65535", str(2**40 + 1))),
    "CHAT_BACKPRESSURE_BYTES": (("65536", str(2**30)), ("65535", str(2**30 + 1))),
    "CHAT_ROOMS_PER_SESSION": (("1", "100000"), ("0", "100001")),
    "CHAT_HEARTBEAT_TIMEOUT": (("1", "86400"), ("0.5", "86401")),
    "CHAT_DRAIN_TIMEOUT": (("0.1", "8"), ("0", "8.5")),
    "CHAT_DRAIN_WINDOW": (("0", "8"), ("-0.1", "8.5")),
    "CHAT_DRAIN_GRACE": (("0", "3"), ("-0.1", "3.1")),
    "CHAT_RETRY_AFTER": (("1", "3600"), ("0", "3601")),
    "CHAT_STATS_INTERVAL": (("0.1", "5"), ("0", "5.1")),
    "CHAT_STATS_ROOMS": (("0", "100"), ("-1", "101")),
    "CHAT_RESTART_LIMIT": (("0", "1000"), ("-1", "1001")),
    "CHAT_HANG_TIMEOUT": (("0", "3600"), ("-1", "3601")),
}
SECONDS = {variable for variable, default in DEFAULTS.items() if isinstance(default, float)}
FIELD_OF = {setting.metadata["variable"]: setting.name for setting in fields(Config)}


def value_of(variable: str, text: str, **environment: str) -> Any:
    """What a setting becomes."""
    config = Config.from_environment({variable: text, **environment})
    return getattr(config, FIELD_OF[variable])


def refusal(environment: dict[str, str]) -> str:
    """The text of the ConfigError for an environment."""
    with pytest.raises(ConfigError) as raised:
        Config.from_environment(environment)
    assert raised.value.__cause__ is None
    return str(raised.value)


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
        value = value_of(variable, f" {text} ")
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

    def test_a_drain_that_is_too_long(self):
        """Grace and timeout of a drain are bounded together, whichever of them is set."""
        assert value_of("CHAT_DRAIN_GRACE", "3", CHAT_DRAIN_TIMEOUT="5") == 3
        error = refusal({"CHAT_DRAIN_GRACE": "3", "CHAT_DRAIN_TIMEOUT": "5.5"})
        assert error == (
            "CHAT_DRAIN_GRACE and CHAT_DRAIN_TIMEOUT are 3 and 5.5; allowed are 8 seconds together"
        )


class TestTexts:
    @pytest.mark.parametrize(
        ("variable", "text", "value"),
        [
            ("CHAT_API_PREFIX", "/", ""),
            ("CHAT_API_PREFIX", "/v1", "/v1"),
            ("CHAT_API_PREFIX", "/a/b.c/~d_e-f", "/a/b.c/~d_e-f"),
            ("POD_ID", "1e5", "1e5"),
            ("POD_ID", "A.b_c-1", "A.b_c-1"),
            ("POD_ID", "x" * 64, "x" * 64),
            ("REDIS_URL", "redis://localhost", "redis://localhost"),
            ("REDIS_URL", "rediss://u:p@h.example:6380/3?x=1", "rediss://u:p@h.example:6380/3?x=1"),
            ("REDIS_URL", "redis://[::1]:6379/0", "redis://[::1]:6379/0"),
            ("REDIS_URL", "unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
            ("CHAT_ALLOWED_ORIGINS", "*", ("*",)),
            ("CHAT_ALLOWED_ORIGINS", "null", ("null",)),
            (
                "CHAT_ALLOWED_ORIGINS",
                "https://Chat.Example.com:443 , http://localhost:3000,capacitor://localhost",
                ("https://chat.example.com", "http://localhost:3000", "capacitor://localhost"),
            ),
            ("CHAT_SLOW_CONSUMER", "disconnect", "disconnect"),
            ("CHAT_SLOW_CONSUMER", "drop_oldest", "drop_oldest"),
            *(("AUTH_ENABLED", word, False) for word in ("0", "false", "No", "OFF")),
            ("AUTH_ALGORITHMS", "HS512", ("HS512",)),
            ("AUTH_ALGORITHMS", "RS256, ES256 ,EdDSA", ("RS256", "ES256", "EdDSA")),
        ],
    )
    def test_good_values(self, variable: str, text: str, value: object):
        """Each text setting takes its values, and no kind of number is made of them."""
        assert value_of(variable, text) == value

    @pytest.mark.parametrize("word", ["1", "true", "YES", "On"])
    def test_the_switch(self, word: str):
        """AUTH_ENABLED understands the usual words in any case."""
        assert value_of("AUTH_ENABLED", word, AUTH_SECRET=SECRET) is True

    @pytest.mark.parametrize(
        ("variable", "text", "allowed"),
        [
            *(
                ("CHAT_API_PREFIX", text, "path segments like /api/chat-api")
                for text in ("api", "/api/", "//", "/a//b", "/a b", "/<x>", "/a?b", "/é", "/%41")
            ),
            *(
                ("POD_ID", text, "1 to 64 letters, digits and . _ -")
                for text in ("a b", "a:b", "a\nb", "é", "x" * 65, "*")
            ),
            *(
                ("CHAT_ALLOWED_ORIGINS", text, "a comma-separated list of origins like https://")
                for text in (
                    "chat.example.com",
                    "https://chat.example.com/",
                    "https://chat.example.com/page",
                    "https://*.example.com",
                    "https://chat.example.com,",
                    "https://a.example *",
                    "*,https://chat.example.com",
                    "https://b\u00fccher.example",
                    "https://u:p@chat.example.com",
                    "https://chat.example.com:70000",
                    "https://[::1",
                    "http://",
                )
            ),
            *(("AUTH_ENABLED", text, "yes, on") for text in ("2", "ja", "enabled")),
            *(
                ("AUTH_ALGORITHMS", text, "EdDSA, HS256")
                for text in ("none", "HS256,", "hs256", "HS256;HS512", "HS256,XX", ",")
            ),
        ],
    )
    def test_bad_values(self, variable: str, text: str, allowed: str):
        """Any other text is refused; the error has the variable, the text and what is allowed."""
        error = refusal({variable: text})
        assert error.startswith(f"{variable} is {text!r}; allowed is ")
        assert allowed in error

    @pytest.mark.parametrize(
        "url",
        [
            "localhost:6379",
            "http://u:p4ssw0rd@localhost",
            "redis://:p4ssw0rd@",
            "redis://u:p4ssw0rd@h:notaport",
            "redis://u:p4ssw0rd@h:70000",
            "redis://[u:p4ssw0rd",
            "unix://",
            "redis:",
        ],
    )
    def test_bad_urls(self, url: str):
        """A bad REDIS_URL is refused without being shown: it may hold a password."""
        error = refusal({"REDIS_URL": url})
        assert error.startswith("REDIS_URL is a value that is not shown; allowed is a URL like ")
        assert "p4ssw0rd" not in error


class TestAuth:
    def test_a_secret(self):
        """A secret alone means HS256."""
        config = Config.from_environment({"AUTH_ENABLED": "1", "AUTH_SECRET": SECRET})
        assert (config.auth_secret, config.auth_algorithms) == (SECRET, ("HS256",))

    def test_a_public_key(self):
        r"""A public key alone means RS256, and its line breaks may be written as \n."""
        config = Config.from_environment({"AUTH_ENABLED": "1", "AUTH_PUBLIC_KEY": PEM})
        assert config.auth_algorithms == ("RS256",)
        assert config.auth_public_key == PEM.replace("\\n", "\n")

    @pytest.mark.parametrize(
        ("environment", "words"),
        [
            pytest.param({}, ["AUTH_SECRET", "AUTH_PUBLIC_KEY", "neither"], id="neither"),
            pytest.param(
                {"AUTH_SECRET": SECRET, "AUTH_PUBLIC_KEY": PEM},
                ["AUTH_SECRET", "AUTH_PUBLIC_KEY", "both"],
                id="both",
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

    def test_without_auth_nothing_is_demanded(self):
        """While auth is off, its other settings are kept but not checked against each other."""
        config = Config.from_environment({"AUTH_SECRET": "short", "AUTH_PUBLIC_KEY": PEM})
        assert not config.auth_enabled

    def test_a_secret_of_32_bytes_in_fewer_characters(self):
        """The secret's length counts in bytes."""
        environment = {"AUTH_ENABLED": "1", "AUTH_SECRET": "é" * 16}
        assert Config.from_environment(environment).auth_secret == "é" * 16


class TestSecrecy:
    def test_repr(self):
        """What `repr` shows has no secret in it, and no Redis URL."""
        url = "redis://u:p4ssw0rd@h"
        config = Config.from_environment({"AUTH_SECRET": SECRET, "REDIS_URL": url})
        config = replace(config, auth_public_key="the public key")
        for text in (repr(config), str(config), f"{config}"):
            assert "backlog=4096" in text
            assert not any(secret in text for secret in (SECRET, "p4ssw0rd", "the public key"))


class TestDocumentation:
    def test_every_setting_says_what_it_means(self):
        """Every setting has a sentence for the user."""
        assert all(setting.metadata["doc"].endswith(".") for setting in fields(Config))

    def test_the_example_names_every_variable(self):
        """conf/.env.example has exactly the variables there are, each once, with its default."""
        example = ROOT / "conf" / ".env.example"
        if not example.exists():
            pytest.skip("conf/.env.example does not exist")
        lines = re.findall(r"^#?([A-Z_]+)=(.*)$", example.read_text(), re.MULTILINE)
        assert sorted(name for name, _ in lines) == sorted(FIELD_OF)
        given = Config.from_environment(dict(lines))
        assert given == Config()
