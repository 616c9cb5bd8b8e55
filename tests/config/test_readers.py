"""The readers of settings: which texts each takes, and what it makes of them."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from ..support.settings import SECRET, refusal, value_of


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
