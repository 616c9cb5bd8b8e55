"""The settings that a reload brings: whose environment they are, and when."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sanic_chat.config.env_file import use_env_file
from sanic_chat.config.settings import Config
from sanic_chat.errors import ConfigError
from sanic_chat.serving.new_settings import SettingsReader, read_nothing_but

from ..support.harness import RedisProcess
from ..support.tls import self_signed_certificate

NAMES = ["CHAT_RETRY_AFTER", "CHAT_STATS_ROOMS", "CHAT_MAX_CONNECTIONS"]


class Server:
    """A main process with an environment file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.accepted: list[tuple[Config, list[str]]] = []
        self.write()
        use_env_file()
        self.reader = SettingsReader(
            "redis://127.0.0.1",
            has_embedded_redis=False,
            accept=lambda *both: self.accepted.append(both),
        )

    def write(self, *lines: str) -> None:
        self._path.write_text("\n".join(["REDIS_URL=redis://127.0.0.1", *lines]))

    @property
    def environment(self) -> dict[str, str]:
        return {name: os.environ[name] for name in NAMES if name in os.environ}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    for name in [name for name in os.environ if name.startswith(("CHAT_", "AUTH_", "REDIS_"))]:
        del os.environ[name]
    os.environ["CHAT_ENV_FILE"] = str(tmp_path / "chat.env")
    return Server(tmp_path / "chat.env")


def test_the_environment_changes_when_it_is_applied(server: Server) -> None:
    """Not by reading; and what others set meanwhile stays."""
    server.write("CHAT_RETRY_AFTER=5")
    new = server.reader.read(None)
    assert server.environment == {}
    assert new.environment["CHAT_RETRY_AFTER"] == "5"
    os.environ["SOMEBODY"] = "else"
    new.apply()
    assert server.environment == {"CHAT_RETRY_AFTER": "5"}
    assert os.environ["SOMEBODY"] == "else"
    assert server.accepted == []
    new.accepted()
    [(config, doubts)] = server.accepted
    assert (config.retry_after, doubts) == (5, [])


def test_the_same_again_after_a_failure(server: Server) -> None:
    """What is undone late, right before the next settings are applied, takes nothing from them."""
    server.write("CHAT_RETRY_AFTER=5", "CHAT_STATS_ROOMS=5")
    failed = server.reader.read(None)
    failed.apply()
    again = server.reader.read(None)
    failed.undo()
    again.apply()
    assert server.environment == {"CHAT_RETRY_AFTER": "5", "CHAT_STATS_ROOMS": "5"}
    again.accepted()
    server.write("CHAT_MAX_CONNECTIONS=5")
    other = server.reader.read(None)
    other.apply()
    assert server.environment == {"CHAT_MAX_CONNECTIONS": "5"}
    other.undo()
    assert server.environment == {"CHAT_RETRY_AFTER": "5", "CHAT_STATS_ROOMS": "5"}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("CHAT_RETRY_AFTER=x", "CHAT_RETRY_AFTER is 'x'"),
        ("REDIS_URL=rediss://h?ssl_ca_certs=/nowhere", "REDIS_URL cannot be used"),
        ("REDIS_URL_FILE=/nowhere", "are both set"),
        (
            "REDIS_URL=redis://127.0.0.1:1",
            "REDIS_URL is another one, and redis://127.0.0.1:1 cannot be used",
        ),
    ],
)
def test_what_is_wrong(server: Server, line: str, why: str) -> None:
    server.write(line)
    with pytest.raises(ConfigError, match=why):
        server.reader.read(None)
    assert server.environment == {}


def test_another_redis(server: Server, shared_redis: RedisProcess) -> None:
    """One that can be used is taken, and asked for no more."""
    server.write(f"REDIS_URL={shared_redis.url}")
    new = server.reader.read(None)
    new.accepted()
    [(config, _)] = server.accepted
    assert config.redis_url == shared_redis.url
    server.write("REDIS_URL=redis://127.0.0.1")
    with pytest.raises(ConfigError, match="is another one"):
        server.reader.read(None)


def test_certificates(server: Server, tmp_path: Path) -> None:
    """They are checked whoever makes the settings."""
    certificate = self_signed_certificate(tmp_path)
    tls = {"cert": str(certificate.pem), "key": str(certificate.key)}
    server.reader.read(tls)
    read_nothing_but(tls).apply()
    certificate.pem.write_text("none")
    for read in (server.reader.read, read_nothing_but):
        with pytest.raises(ConfigError, match="holds no certificate"):
            read(tls)
