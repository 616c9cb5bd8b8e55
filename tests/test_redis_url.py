"""REDIS_URL: what it says, what is wrong in one, and what is never shown of it."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from typing import Any

import pytest
from redis.asyncio.connection import parse_url

from sanic_chat.errors import ConfigError
from sanic_chat.redis_url import RedisURL, TLSOptions

from .support.harness import ROOT, without_settings

URLS: list[tuple[str, dict[str, object]]] = [
    ("redis://h", {"host": "h"}),
    ("redis://h/", {"host": "h"}),
    ("redis://h:1/2", {"host": "h", "port": 1, "db": 2}),
    ("redis://h:65535/15/", {"host": "h", "port": 65535, "db": 15}),
    ("REDIS://h?db=3", {"host": "h", "db": 3}),
    ("redis://h/3?db=3", {"host": "h", "db": 3}),
    ("redis://[::1]:7/0", {"host": "::1", "port": 7}),
    ("redis://u@h", {"host": "h", "username": "u"}),
    ("redis://u:@h", {"host": "h", "username": "u"}),
    ("redis://:p@h", {"host": "h", "password": "p"}),
    ("redis://a%40b:p%2F%3F%23%25+@h", {"host": "h", "username": "a@b", "password": "p/?#%+"}),
    ("redis://u:p@ss:w@h", {"host": "h", "username": "u", "password": "p@ss:w"}),
    ("unix:///run/redis.sock", {"path": "/run/redis.sock"}),
    ("unix:///run/a%3Fb%23c@d%25?db=1", {"path": "/run/a?b#c@d%", "db": 1}),
    ("unix://u:p@/s", {"path": "/s", "username": "u", "password": "p"}),
    ("rediss://h", {"host": "h", "tls": TLSOptions()}),
    (
        "rediss://h?ssl_ca_certs=/a%26b&ssl_cert_reqs=NONE&ssl_min_version=TLSv1.3",
        {
            "host": "h",
            "tls": TLSOptions(
                ca_certs="/a&b", cert_reqs=ssl.CERT_NONE, min_version=ssl.TLSVersion.TLSv1_3
            ),
        },
    ),
    (
        "rediss://h?ssl_certfile=c&ssl_keyfile=k&ssl_password=x%40y%2525&ssl_check_hostname=False",
        {
            "host": "h",
            "tls": TLSOptions(certfile="c", keyfile="k", password="x@y%25", check_hostname=False),
        },
    ),
]
"""URLs, and the fields that are not left at their defaults."""


@pytest.mark.parametrize(("text", "fields"), URLS)
def test_what_a_url_says(text: str, fields: dict[str, object]) -> None:
    """User, password, host and options are percent-decoded; what is not there has its default."""
    assert RedisURL.read(text) == RedisURL(**fields)


@pytest.mark.parametrize("text", [text.partition("?")[0] for text, _ in URLS])
def test_it_says_the_same_to_redis_py(text: str) -> None:
    """Who gives a URL to both reaches the same Redis, as the same user."""
    said: dict[str, Any] = {**parse_url(text)}
    said.pop("connection_class", None)
    url = RedisURL.read(text)
    assert url == RedisURL(**said, tls=url.tls)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("localhost:6379", "it does not begin with redis://"),
        ("http://u:SECRET@h", "it does not begin with redis://"),
        ("redis://", "it has no host"),
        ("redis://:SECRET@", "it has no host"),
        ("redis:h", "it has no host"),
        ("redis://[u:SECRET", "its host is none"),
        ("redis://h:port", "its port is no number from 1 to 65535"),
        ("redis://h:70000", "its port is no number"),
        ("redis://h:0", "its port is no number"),
        ("redis://u:12/SECRET@h/0", "are written %2F %3F %23 %40"),
        ("redis://u:12?SECRET@h/0", "are written %2F %3F %23 %40"),
        ("redis://u:12?SECRET=1@h/0", "its option that is not shown is unknown"),
        ("redis://u:12#SECRET@h/0", "are written %2F %3F %23 %40"),
        ("redis://u:SEC/RET@h", "are written %2F %3F %23 %40"),
        ("redis://h/chat", "its path '/chat' is no number of a database"),
        ("redis://h/1/2", "its path '/1/2' is no number of a database"),
        ("redis://h//1", "its path '//1' is no number of a database"),
        ("redis://h/-1", "its path '/-1' is no number of a database"),
        ("redis://h/١", "its path '/١' is no number of a database"),
        ("redis://h?db=x", "its option 'db' is no number of a database"),
        ("redis://h/1?db=2", "it names two databases"),
        ("redis://h?timeout=5", "its option 'timeout' is unknown; options are db, ssl_ca_certs, "),
        ("redis://h?db=1&db=2", "its option 'db' is there twice"),
        ("redis://h?ssl_ca_certs=/a", "its option 'ssl_ca_certs' needs rediss://"),
        ("rediss://h?ssl_cert_reqs=maybe", "'ssl_cert_reqs' is none of required, optional, none"),
        ("rediss://h?ssl_keyfile=/k", "its option 'ssl_keyfile' needs 'ssl_certfile'"),
        ("redis://h\n/1", "it has a line break"),
        ("unix://", "an absolute path, as in unix:///run/redis.sock"),
        ("unix:///", "an absolute path, as in unix:///run/redis.sock"),
        ("unix://run/redis.sock", "an absolute path, as in unix:///run/redis.sock"),
        ("unix:run/redis.sock", "an absolute path, as in unix:///run/redis.sock"),
        ("unix:///run/", "an absolute path, as in unix:///run/redis.sock"),
        ("unix:///" + "x" * 107, "at most 107 bytes"),
        ("unix:///%00", "at most 107 bytes"),
    ],
)
def test_wrong_urls(text: str, reason: str) -> None:
    """It is refused, not guessed at, with what is wrong, and without what may be a password."""
    with pytest.raises(ConfigError) as raised:
        RedisURL.read(text)
    assert reason in str(raised.value)
    assert str(raised.value).startswith("REDIS_URL cannot be used: ")
    assert "SEC" not in str(raised.value)
    assert "RET" not in str(raised.value)


def test_passwords_are_not_shown() -> None:
    """What a program prints of a URL has no password in it."""
    url = RedisURL.read("rediss://u:SECRET@h/1?ssl_password=SECRET")
    assert str(url) == "rediss://h:6379"
    assert "SECRET" not in repr(url)


def test_a_server_does_without_redis_py() -> None:
    """A process that reads REDIS_URL, and serves by it, does not pay for redis-py."""
    program = "import sys, server; server.app; sys.exit('redis' in sys.modules)"
    environment = {**without_settings(os.environ), "REDIS_URL": "redis://127.0.0.1"}
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=True)
