"""REDIS_URL: the address of Redis, the user, and the TLS to speak.

    redis://user:password@host:6379/0
    rediss://host:6380/0?ssl_ca_certs=/etc/redis/ca.pem
    unix:///run/redis.sock?db=0

It says what it says to redis-py; what redis-py would guess at, ignore or show is refused. No error
shows any part of a URL that may belong to a password.

May live here: how a URL is read, and what is wrong in one. Must not open files or sockets.
"""

from __future__ import annotations

import os
import re
import ssl
import sys
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from .errors import ConfigError

MAX_SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103
"""The kernel's bound for the path of a Unix socket."""

_ALLOWED = (
    "a URL like redis://user:password@host:6379/0, rediss://host:6379/0 or unix:///path/to.sock"
)
_NO_PATH = "unix:// is to be followed by an absolute path, as in unix:///run/redis.sock"
_ENCODE = "in a user name or password / ? # @ are written %2F %3F %23 %40"


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSOptions:
    """The `ssl_…` options of a URL, named as in redis-py."""

    ca_certs: str | None = None
    ca_path: str | None = None
    ca_data: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    password: str | None = field(default=None, repr=False)
    """The password of the key file."""
    cert_reqs: ssl.VerifyMode = ssl.CERT_REQUIRED
    check_hostname: bool = True
    min_version: ssl.TLSVersion | None = None
    ciphers: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisURL:
    """The parts of a valid URL; `RedisURL.read(text)` makes one."""

    host: str = ""
    port: int = 6379
    path: str | None = None
    """The path of a Unix socket, which replaces host and port."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    tls: TLSOptions | None = None

    @classmethod
    def read(cls, text: str) -> RedisURL:
        """Read a URL. Raises ConfigError, whose sentence says what is wrong and what is allowed."""
        return _read(text)

    def without_secrets(self, refusal: str) -> str:
        """Make an error reply fit for logs: it may repeat what was sent."""
        refusal = refusal.partition(", with args beginning with")[0]
        return refusal if not self.password else refusal.replace(self.password, "***")

    def __str__(self) -> str:
        """The address without user and password, fit for logs."""
        if self.path is not None:
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"redis{'' if self.tls is None else 's'}://{host}:{self.port}"


_OPTIONS = ("db", *(f"ssl_{option.name}" for option in fields(TLSOptions)))
_VALUES: dict[str, dict[str, Any]] = {
    "ssl_cert_reqs": {
        "required": ssl.CERT_REQUIRED,
        "optional": ssl.CERT_OPTIONAL,
        "none": ssl.CERT_NONE,
    },
    "ssl_check_hostname": dict.fromkeys(("true", "1", "yes"), True)
    | dict.fromkeys(("false", "0", "no"), False),
    "ssl_min_version": {"tlsv1.2": ssl.TLSVersion.TLSv1_2, "tlsv1.3": ssl.TLSVersion.TLSv1_3},
}
"""The values of options that do not take any text, in lower case, with their meaning."""


def _wrong(what: str) -> ConfigError:
    return ConfigError(f"REDIS_URL cannot be used: {what}; allowed is {_ALLOWED}")


def _read(text: str) -> RedisURL:
    if re.search(r"[\x00-\x1f\x7f]", text):  # of which urlsplit leaves some out
        raise _wrong("it has a line break or another control character in it")
    try:
        parts = urlsplit(text)
    except ValueError:
        raise _wrong(f"its host is none ({_ENCODE})") from None
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise _wrong("it does not begin with redis://, rediss:// or unix://")
    if parts.fragment:
        raise _wrong(f"it has a # in it ({_ENCODE})")
    address = _address(parts)
    options = _options(parts.query)
    db = options.pop("db", None)
    if db is not None and not re.fullmatch("[0-9]{1,9}", db):
        raise _wrong("its option 'db' is no number of a database")
    if db is not None and address.setdefault("db", int(db)) != int(db):
        raise _wrong("it names two databases")
    if options and parts.scheme != "rediss":
        raise _wrong(f"its option {next(iter(options))!r} needs rediss://")
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        raise _wrong("its option 'ssl_keyfile' needs 'ssl_certfile'")
    tls = {name.removeprefix("ssl_"): value for name, value in options.items()}
    return RedisURL(**address, tls=TLSOptions(**tls) if parts.scheme == "rediss" else None)


def _address(parts: SplitResult) -> dict[str, Any]:
    """The parts of a URL before its options, by the names of the fields of `RedisURL`."""
    is_path = parts.scheme == "unix"
    if is_path and parts.netloc.rpartition("@")[2]:
        raise _wrong(_NO_PATH)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise _wrong(f"its port is no number from 1 to 65535 ({_ENCODE})")
    texts = {
        "username": parts.username,
        "password": parts.password,
        "path" if is_path else "host": parts.path if is_path else parts.hostname,
    }
    address: dict[str, Any] = {name: unquote(text) for name, text in texts.items() if text}
    if is_path:
        path = address.get("path", "")
        if not path.startswith("/") or path.endswith("/"):
            raise _wrong(_NO_PATH)
        if "\0" in path or len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
            raise _wrong(f"the path of a Unix socket has at most {MAX_SOCKET_PATH_BYTES} bytes")
        return address
    if "host" not in address:
        raise _wrong("it has no host")
    if "@" in parts.path:
        raise _wrong(f"there is an @ behind its host ({_ENCODE})")
    if not re.fullmatch("(/[0-9]{0,9}/?)?", parts.path):
        raise _wrong(f"its path {parts.path[:60]!r} is no number of a database")
    if port:
        address["port"] = port
    if db := parts.path.strip("/"):
        address["db"] = int(db)
    return address


def _options(query: str) -> dict[str, Any]:
    try:
        pairs = parse_qsl(query, strict_parsing=True) if query else []
    except ValueError:
        raise _wrong(f"its options are not like name=value&name=value ({_ENCODE})") from None
    options: dict[str, Any] = {}
    for name, value in pairs:
        shown = repr(name) if re.fullmatch(r"[a-z_]{1,40}", name) else "that is not shown"
        if name not in _OPTIONS:
            raise _wrong(f"its option {shown} is unknown; options are {', '.join(_OPTIONS)}")
        if name in options:
            raise _wrong(f"its option {shown} is there twice")
        values = _VALUES.get(name, {value.lower(): value})
        if value.lower() not in values:
            raise _wrong(f"its option {shown} is none of {', '.join(values)}")
        options[name] = values[value.lower()]
    return options
