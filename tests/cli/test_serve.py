"""`sanic-chat serve`: the server, with every setting as an option."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from sanic_chat.config.settings import Config

from ..support.command import COMMAND, run, run_here
from ..support.harness import RedisProcess, StartServer, receive
from ..support.keys import jwk_of, new_key, running_key_server, set_of
from ..support.tls import self_signed_certificate


def test_every_setting_is_an_option() -> None:
    """With its text and its variable; a secret is none."""
    code, output, _ = run("serve", "--help")
    assert code == 0
    told = " ".join(output.split())
    for setting in fields(Config):
        is_option = not setting.metadata["secret"] or setting.name == "redis_url"
        assert (f"[{setting.metadata['variable']}]" in told) == is_option
        if is_option:
            assert " ".join(setting.metadata["doc"].split())[:40] in told
    assert "--auth-secret " not in told
    assert "--heartbeat-timeout VALUE" in told


async def test_it_serves(start_server: StartServer, shared_redis: RedisProcess) -> None:
    """Options are settings, and precede variables; workers are as many as asked for."""
    server = start_server(
        "--redis", shared_redis.url, "--heartbeat-timeout", "47",
        command=(*COMMAND, "serve"), workers=2, CHAT_HEARTBEAT_TIMEOUT="11",
    )  # fmt: skip
    assert len(server.worker_pids) == 2
    async with server.connect("lobby", events="system") as client:
        welcome = await receive(client)
    assert welcome["data"]["heartbeat_seconds"] == 47
    server.stop()
    assert server.process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [
        (["--backlog", "0"], {}, "CHAT_BACKLOG is '0'; allowed is"),
        ([], {"CHAT_BACKLOG": "x"}, "CHAT_BACKLOG is 'x'; allowed is"),
        (["--redis", "http://x"], {}, "REDIS_URL"),
        (["--redis", "redis://:geheim@127.0.0.1"], {}, "REDIS_URL_FILE"),
        (["--cert", "x.pem"], {}, "--cert and --key belong together"),
        (["--cert", "/none.pem", "--key", "/none.key"], {}, "The certificate /none.pem cannot be"),
        (["--redis", "rediss://x?ssl_certfile=c&ssl_password=geheim"], {}, "REDIS_URL_FILE"),
        ([], {"AUTH_ENABLED": "1"}, "AUTH_SECRET"),
        ([], {"AUTH_ENABLED": "1", "AUTH_PUBLIC_KEY": "geheim"}, "a public key is allowed in PEM"),
        (["--auth-keys-file", "/none"], {"AUTH_ENABLED": "1"}, "AUTH_KEYS_FILE '/none' gives no"),
    ],
)
def test_what_is_wrong(arguments: list[str], environment: dict[str, str], told: str) -> None:
    """It is said in a sentence, before anything starts, with and without --check."""
    for check in ([], ["--check"]):
        code, output, errors = run_here("serve", *arguments, *check, **environment)
        assert (code, output) == (2, "")
        assert told in errors
        assert "geheim" not in errors
        assert "Traceback" not in errors


def test_check(tmp_path: Path) -> None:
    """Settings that are in order end with 0, nothing is started; what looks wrong is told."""
    code, output, errors = run("serve", "--check", "--redis", f"unix://{tmp_path}/redis.sock")
    assert (code, output, errors) == (0, "The settings are in order\n", "")
    code, _, errors = run("serve", "--check", CHAT_BACKLOGS="5")
    assert code == 0
    assert "do you mean CHAT_BACKLOG?" in errors


def test_check_of_a_certificate(tmp_path: Path) -> None:
    """That clients will refuse it is told, and no reason not to start."""
    nameless = self_signed_certificate(tmp_path, named=False)
    files = ("--cert", str(nameless.pem), "--key", str(nameless.key))
    code, output, errors = run("serve", "--check", *files)
    assert (code, output) == (0, "The settings are in order\n")
    assert "warning: The certificate" in errors
    assert "has no subjectAltName" in errors


def test_check_of_keys(tmp_path: Path) -> None:
    """Keys that are not used are told; so is a URL that gives none, which is tried."""
    path = tmp_path / "keys.json"
    path.write_bytes(set_of(jwk_of(new_key()), {"kid": "odd"}))
    code, _, errors = run_here("serve", "--check", AUTH_ENABLED="1", AUTH_KEYS_FILE=str(path))
    assert code == 0
    assert "not used is key 'odd': its kty is" in errors
    with running_key_server(jwk_of(new_key())) as server:
        settings = {"AUTH_ENABLED": "1", "AUTH_JWKS_URL": server.url, "AUTH_AUDIENCE": "chat"}
        assert run_here("serve", "--check", **settings) == (0, "The settings are in order\n", "")
    code, output, errors = run_here("serve", "--check", **settings)
    assert (code, output) == (0, "The settings are in order\n")
    assert f"warning: AUTH_JWKS_URL {server.url} gives no keys:" in errors
