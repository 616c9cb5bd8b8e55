"""The server that commands speak to: its URL, and the options that name it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import click

from ..config.env_file import ENV_FILE, with_env_file
from ..errors import ConfigError
from .output import WRONG_USAGE, fail

DEFAULT_URL = "http://127.0.0.1:8000"
C = TypeVar("C", bound=Callable[..., Any])


class Server(NamedTuple):
    """The address of a server."""

    http: str
    """Its URL with http or https, with the prefix of its routes and without a slash at the end."""

    @property
    def ws(self) -> str:
        """The same with ws or wss."""
        return "ws" + self.http.removeprefix("http")


def server_options(command: C) -> C:
    """Add `--url` and `--prefix`, which become one argument of `server_of`."""
    command = click.option(
        "--url", metavar="URL", help=f"The server. [CHAT_URL; default: {DEFAULT_URL}]"
    )(command)
    return click.option(
        "--prefix",
        metavar="PATH",
        help="The path of its routes. [CHAT_API_PREFIX; default: /api/chat-api]",
    )(command)


def redis_option(command: C) -> C:
    """Add `--redis`, which is an argument of `set_redis`."""
    return click.option(
        "--redis", metavar="URL", help="Where Redis is, without a password. [REDIS_URL]"
    )(command)


def env_file_option(command: C) -> C:
    """Add `--env-file`, which precedes CHAT_ENV_FILE and is no argument."""

    def use(_: click.Context, __: click.Parameter, path: str | None) -> None:
        if path is not None:
            os.environ[ENV_FILE] = path

    return click.option(
        "--env-file",
        metavar="FILE",
        callback=use,
        expose_value=False,
        help=f"The server's file with settings. [{ENV_FILE}]",
    )(command)


def set_redis(url: str) -> None:
    """Have an option's URL precede the environment's. Exits with 2 if it is none, or is secret."""
    # Only here: what reads it loads ssl.
    from ..redis_url import RedisURL

    try:
        read = RedisURL.read(url)
    except ConfigError as error:
        fail(str(error), WRONG_USAGE)
    if read.password or (read.tls is not None and read.tls.password):
        fail("A password of Redis belongs into REDIS_URL or REDIS_URL_FILE", WRONG_USAGE)
    os.environ["REDIS_URL"] = url
    os.environ.pop("REDIS_URL_FILE", None)


def server_of(url: str | None, prefix: str | None) -> Server:
    """The server that options or environment name. Exits with 2 if that is no URL."""
    url = url or os.environ.get("CHAT_URL", "").strip() or DEFAULT_URL
    if prefix is None:
        environment: Mapping[str, str] = os.environ
        with suppress(ConfigError):  # a file that cannot be read is told by who is asked about it
            environment = with_env_file(os.environ)
        prefix = environment.get("CHAT_API_PREFIX", "").strip() or "/api/chat-api"
    try:
        parts = urlsplit(url)
        scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
        if scheme not in ("http", "https") or parts.port == 0 or re.search(r"[\s\0-\x1f]", url):
            raise ValueError
        if not (parts.hostname or "").encode("idna"):
            raise ValueError
    except ValueError:
        fail(f"{_shown(url)} is no URL of a server; allowed is one like {DEFAULT_URL}", WRONG_USAGE)
    if parts.username or parts.password or parts.query:
        fail("A server's URL holds no user, password or query; a token is CHAT_TOKEN", WRONG_USAGE)
    path = parts.path.rstrip("/") or prefix.rstrip("/")
    return Server(f"{scheme}://{parts.netloc}{path}")


def _shown(url: str) -> str:
    """A wrong URL without what may be a password."""
    return repr(url if "@" not in url else f"…@{url.rpartition('@')[2]}")


def authorization(*variables: str) -> dict[str, str]:
    """The header that tells who we are: with the first of the variables that is set, if any.

    Exits with 2 if that is nothing that a header may have.
    """
    for variable in variables:
        if secret := os.environ.get(variable, "").strip():
            if not re.fullmatch("[!-~]+", secret):
                fail(f"{variable} has a character that no token and no key has", WRONG_USAGE)
            return {"Authorization": f"Bearer {secret}"}
    return {}
