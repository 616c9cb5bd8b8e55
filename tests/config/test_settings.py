"""Settings: defaults, what is allowed, and that secrets stay secret."""

from __future__ import annotations

from dataclasses import fields, replace
from ipaddress import ip_network
from typing import Any

import pytest

from sanic_chat.config.settings import Config

from ..support.settings import PEM, ROOMY, SECRET, refusal

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
FIELD_OF = {setting.metadata["variable"]: setting.name for setting in fields(Config)}

FITTING = {
    "CHAT_MAX_MESSAGE_BYTES": ROOMY,
    **{variable: {"CHAT_MAX_MESSAGE_BYTES": "1024"} for variable in ROOMY},
    "CHAT_PUBLISH_QUEUE_BYTES": {"CHAT_PUBLISH_QUEUE_MESSAGES": "0"},
}
"""What else must be set for a setting to be at its bounds."""


def value_of(variable: str, text: str, **environment: str) -> Any:
    """What a setting becomes."""
    config = Config.from_environment({variable: text, **environment})
    return getattr(config, FIELD_OF[variable])


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
            ("CHAT_REDIS_PREFIX", "Chat_v2-staging", "Chat_v2-staging"),
            ("CHAT_REDIS_PREFIX", "x" * 32, "x" * 32),
            ("REDIS_URL", "redis://localhost", "redis://localhost"),
            ("REDIS_URL", "rediss://u:p@h.example:6380/3", "rediss://u:p@h.example:6380/3"),
            ("REDIS_URL", "redis://[::1]:6379/0", "redis://[::1]:6379/0"),
            ("REDIS_URL", "unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
            *(
                ("AUTH_JWKS_URL", url, url)
                for url in (
                    "https://id.example.com/keys?tenant=1",
                    "https://[2001:db8::1]:8443/",
                    "http://127.0.0.1:8080/keys",
                    "http://127.9.9.9/",
                    "http://[::1]/keys",
                    "http://localhost/keys",
                )
            ),
            ("CHAT_ALLOWED_ORIGINS", "*", ("*",)),
            ("CHAT_ALLOWED_ORIGINS", "null", ("null",)),
            ("CHAT_ALLOWED_ORIGINS", "File://,https://a.example", ("file://", "https://a.example")),
            (
                "CHAT_ALLOWED_ORIGINS",
                "https://Chat.Example.com:443 , http://localhost:3000,capacitor://localhost",
                ("https://chat.example.com", "http://localhost:3000", "capacitor://localhost"),
            ),
            ("CHAT_SLOW_CONSUMER", "disconnect", "disconnect"),
            ("CHAT_SLOW_CONSUMER", "drop_oldest", "drop_oldest"),
            ("CHAT_LOG_FORMAT", "json", "json"),
            ("CHAT_LOG_LEVEL", "warning", "warning"),
            ("CHAT_LIFECYCLE", "1", True),
            ("CHAT_LOG_CLIENTS", "1", True),
            (
                "CHAT_TRUSTED_PROXIES",
                "10.0.0.7/8, fd00::/8,127.0.0.1 ,unix",
                (
                    ip_network("10.0.0.0/8"),
                    ip_network("fd00::/8"),
                    ip_network("127.0.0.1/32"),
                    "unix",
                ),
            ),
            *(("AUTH_ENABLED", word, False) for word in ("0", "false", "No", "OFF")),
            ("AUTH_ALGORITHMS", "HS512", ("HS512",)),
            ("AUTH_USER_CLAIM", "https://claims.example/user", "https://claims.example/user"),
            ("AUTH_EXPIRY", "ignore", "ignore"),
            ("AUTH_COOKIE", "__Host-session", "__Host-session"),
            ("CHAT_GLOBAL_PUBLISH", "server", "server"),
            ("CHAT_PERSONAL_ROOMS", "off", "off"),
            ("CHAT_SUBPROTOCOLS", "chat.v1, json", ("chat.v1", "json")),
            ("CHAT_ADMIN_LISTEN", "127.0.0.1:1", "127.0.0.1:1"),
            ("CHAT_ADMIN_LISTEN", "[fe80::1%eth0]:65535", "[fe80::1%eth0]:65535"),
            ("CHAT_ADMIN_LISTEN", "admin.internal:9000", "admin.internal:9000"),
            ("CHAT_OPEN", "stats", ("stats",)),
            ("CHAT_OPEN", "metrics , stats", ("metrics", "stats")),
            ("AUTH_AUDIENCE", "chat", ("chat",)),
            ("AUTH_AUDIENCE", "https://a.example/x , chat", ("https://a.example/x", "chat")),
            ("AUTH_ISSUER", "https://issuer.example/", ("https://issuer.example/",)),
            ("REDIS_URL", "'redis://h?db=1'", "redis://h?db=1"),
            ("CHAT_SLOW_CONSUMER", '"disconnect"', "disconnect"),
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
                ("CHAT_REDIS_PREFIX", text, "1 to 32 ASCII letters, digits, _ and -")
                for text in ("realtime:", "realtime:room", "a b", "a\nb", "é", "x" * 33, "*", "a.b")
            ),
            *(
                ("AUTH_JWKS_URL", text, "an https:// URL, or an http:// one of 127.0.0.1")
                for text in (
                    "keys.json",
                    "id.example.com/keys",
                    "file:///etc/passwd",
                    "ftp://127.0.0.1/",
                    "http://id.example.com/keys",
                    "http://10.0.0.1/keys",
                    "http://0.0.0.0/keys",
                    "http://127.0.0.1.example.com/",
                    "http://localhost.example.com/",
                    "http://127.1/",
                    "https://user@id.example.com/keys",
                    "https://u:p@id.example.com/keys",
                    "http://127.0.0.1@id.example.com/keys",
                    "https://",
                    "https:///keys",
                    "https://id.example.com:0/",
                    "https://id.example.com:x/",
                    "https://id.example.com:99999/",
                    "https://id.example.com/#keys",
                    "https://id.example.com/a b",
                    "https://id.example.com/\r\nX: y",
                    "https://exämple.com/",
                    "https://[::1/",
                )
            ),
            *(
                (variable, text, "1 to 128 letters, digits and")
                for variable in ("AUTH_COOKIE", "CHAT_SUBPROTOCOLS")
                for text in ("a b", "a;b", "a=b", "a,,b", "é", "x" * 129)
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
            *(
                ("CHAT_ADMIN_LISTEN", text, "an address and a port, like 127.0.0.1:9000")
                for text in (
                    "9000",
                    ":9000",
                    "::1:9000",
                    "127.0.0.1",
                    "a:0",
                    "a:65536",
                    "a:x",
                    "a b:1",
                )
            ),
            *(
                ("CHAT_OPEN", text, "some of stats, metrics, with commas between them")
                for text in ("all", "stats,", "stats metrics")
            ),
            *(("AUTH_ENABLED", text, "yes, on") for text in ("2", "ja", "enabled")),
            *(
                ("AUTH_ALGORITHMS", text, "EdDSA, HS256")
                for text in ("none", "HS256,", "hs256", "HS256;HS512", "HS256,XX", ",")
            ),
            *(
                ("CHAT_TRUSTED_PROXIES", text, "a comma-separated list of networks like 10.0.0.0/8")
                for text in ("*", "proxy.example", "10.0.0.0/33", "10.0.0.1,", "10.0.0.1:80")
            ),
            *(
                (variable, text, "a comma-separated list without empty parts")
                for variable in ("AUTH_AUDIENCE", "AUTH_ISSUER")
                for text in (",", "a,", "a,,b")
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
        assert error.startswith("REDIS_URL cannot be used: ")
        assert "; allowed is a URL like " in error
        assert "p4ssw0rd" not in error


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


class TestApiKeys:
    OTHER = SECRET[::-1]

    @pytest.mark.parametrize("between", [",", "\n", " ,\r\n\n, "])
    def test_several(self, between: str):
        """They stand in one line with commas, or one in each line of a file."""
        text = f"web:publish+read:{SECRET}{between}web:admin:{self.OTHER}\n"
        first, second = value_of("CHAT_API_KEYS", text)
        assert (first.name, first.scopes) == ("web", {"publish", "read"})
        assert (second.name, second.scopes) == ("web", {"admin"})
        assert first.digest != second.digest

    @pytest.mark.parametrize(
        ("text", "where"),
        [
            (",", ""),
            ("web", ", whose key 1 has no two colons"),
            (
                f"a:read:{SECRET},,b:write:{OTHER}",
                ", whose key 2 (b) has a scope that there is not",
            ),
            (f"a:read:{SECRET},b:read:x", ", whose key 2 (b) has a secret of 1 characters"),
            (f"a:read:{SECRET}\nb:admin:{SECRET}", ", whose key 2 has the secret of another"),
            (
                ",".join(f"key-{number}:read:{SECRET}{number}" for number in range(101)),
                ", with more than 100 keys",
            ),
        ],
    )
    def test_bad_keys(self, text: str, where: str):
        """They are refused, with what is wrong with which of them and what is allowed, unseen."""
        error = refusal({"CHAT_API_KEYS": text})
        assert error.startswith(
            f"CHAT_API_KEYS is a value that is not shown{where}; allowed is name:scope+scope:secret"
        )
        assert SECRET not in error
        assert self.OTHER not in error


class TestSecrecy:
    def test_repr(self):
        """What `repr` shows has no secret in it, and no Redis URL."""
        url = "redis://u:p4ssw0rd@h"
        config = Config.from_environment({"AUTH_SECRET": SECRET, "REDIS_URL": url})
        config = replace(config, auth_public_key="the public key")
        for text in (repr(config), str(config), f"{config}"):
            assert "backlog=4096" in text
            assert not any(secret in text for secret in (SECRET, "p4ssw0rd", "the public key"))
