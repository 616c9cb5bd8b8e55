"""Keys of a real server: rotated while it runs, from a file or a web server that may be gone."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sanic_chat.auth.auth import Authenticator
from sanic_chat.auth.key_refresh import Keys
from sanic_chat.auth.keys import parse_key_set

from ..support.clients import RawClient
from ..support.harness import (
    DEADLINE,
    ROOT,
    SLOW,
    RedisProcess,
    ServerProcess,
    StartServer,
    eventually,
    free_port,
    receive,
    wait_until,
)
from ..support.keys import (
    SECRET,
    KeyServer,
    hang,
    jwk_of,
    new_key,
    running_key_server,
    set_of,
    sign,
)
from ..support.markdown import Page
from ..support.settings import why_it_does_not_start

A, B, C = (new_key() for _ in range(3))
JWK_A, JWK_B = (jwk_of(key, kid=name) for key, name in ((A, "a"), (B, "b")))
TOKEN_A, TOKEN_B = (sign(key, "ES256", kid=name) for key, name in ((A, "a"), (B, "b")))
HANGING_NAMES = (sys.executable, "-m", "sanic", "tests.support.hanging_names:app")


@pytest.fixture
def key_server() -> Iterator[KeyServer]:
    with running_key_server(JWK_A) as server:
        yield server


async def answer_to(server: ServerProcess, token: str) -> tuple[int, str]:
    """Status and body for a handshake with a token."""
    async with RawClient(server) as client:
        status, _, body = await client.request(Authorization=f"Bearer {token}")
    return status, body.decode()


def status_for(server: ServerProcess, token: str) -> int:
    return asyncio.run(answer_to(server, token))[0]


def reason_of(server: ServerProcess) -> str | None:
    """Why /ready says no; None: it says yes."""
    answer = server.get("/ready")
    return None if answer.is_success else answer.json()["code"]


def replace(path: Path, text: bytes) -> None:
    """Change a file at once, as docs/auth.md has it."""
    new = path.with_suffix(".new")
    new.write_bytes(text)
    os.replace(new, path)


async def test_rotation_by_url(
    start_server: StartServer, shared_redis: RedisProcess, key_server: KeyServer
) -> None:
    """A key that is published later counts after the first token that names it."""
    server = start_server(
        "--single-process",
        REDIS_URL=shared_redis.url,
        AUTH_ENABLED="1",
        AUTH_JWKS_URL=key_server.url,
    )
    assert (await answer_to(server, TOKEN_A))[0] == 101
    key_server.body = set_of(
        JWK_B, jwk_of(SECRET, kid="s"), {**JWK_A, "use": "enc"}, jwk_of(C, kid="b")
    )
    status, told = await answer_to(server, TOKEN_B)
    assert status == 401
    assert "The token's key (kid) is not known here, or not yet" in told
    await eventually(lambda: "the keys are 1 ('b' for ES256)" in server.log, "it has new keys")
    assert (await answer_to(server, TOKEN_B))[0] == 101
    for token in (
        TOKEN_A,
        sign(SECRET, "HS256", kid="s"),
        sign(C, "ES256", kid="b"),
        sign(C, "ES256", kid="c", jku=key_server.url, jwk=jwk_of(C)),
    ):
        assert (await answer_to(server, token))[0] == 401
    assert len(key_server.requests) == 2, "the first, and one for all unknown keys of a minute"
    for why in ("key 's': it is a shared", "key 'a': its use", "key 'b': another key"):
        assert why in server.log
    assert server.pod()["keys"] == {"age_seconds": pytest.approx(0, abs=DEADLINE), "failures": 0}


@pytest.mark.parametrize("silent", ["web server", "name server"])
async def test_a_flood_of_unknown_keys(
    start_server: StartServer, shared_redis: RedisProcess, key_server: KeyServer, silent: str
) -> None:
    """It costs one fetch; while that hangs, clients are served, and a stop does not wait for it."""
    url = key_server.url.replace("127.0.0.1", "localhost")
    server = start_server(
        "--single-process",
        command=HANGING_NAMES if silent == "name server" else (),
        REDIS_URL=shared_redis.url,
        AUTH_ENABLED="1",
        AUTH_JWKS_URL=url,
    )
    key_server.misbehave = hang

    async def flood() -> None:
        for number in range(50):
            status, _ = await answer_to(server, sign(C, "ES256", kid=str(number)))
            assert status == 401

    longest = 0.0
    async with server.connect("lobby", headers={"Authorization": f"Bearer {TOKEN_A}"}) as client:
        floods = asyncio.gather(*(flood() for _ in range(4)))
        while not floods.done():
            began = time.monotonic()
            await client.send('{"type":"system","data":{"action":"ping"}}')
            assert (await receive(client))["data"]["event"] == "pong"
            longest = max(longest, time.monotonic() - began)
        await floods
    assert longest < 2, "less than what any fetch takes"
    assert (await answer_to(server, TOKEN_A))[0] == 101
    assert len(key_server.requests) == (2 if silent == "web server" else 1)
    assert server.log.count("Tokens name a key") == 1
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < DEADLINE / 2


async def test_no_web_server_at_first(
    start_server: StartServer, shared_redis: RedisProcess
) -> None:
    """The server starts, is not ready, and refuses nobody for good; soon after it has keys."""
    port = free_port()
    server = start_server(
        "--single-process",
        REDIS_URL=shared_redis.url,
        AUTH_ENABLED="1",
        AUTH_JWKS_URL=f"http://127.0.0.1:{port}/keys?secret=geheim",
    )
    assert await asyncio.to_thread(reason_of, server) == "no_keys"
    assert server.get("/health").is_success
    async with RawClient(server) as client:
        status, headers, body = await client.request(Authorization=f"Bearer {TOKEN_A}")
    assert (status, headers["retry-after"]) == (503, "2")
    assert b'"no_keys"' in body
    assert server.pod()["keys"]["age_seconds"] is None
    assert server.pod()["keys"]["failures"] > 0
    assert f"AUTH_JWKS_URL http://127.0.0.1:{port}/keys cannot be used, and there are" in server.log
    with running_key_server(JWK_A, port=port):
        await eventually(
            lambda: asyncio.to_thread(lambda: reason_of(server) is None), "it is ready"
        )
        assert (await answer_to(server, TOKEN_A))[0] == 101
    assert "can be used again" in server.log
    assert "geheim" not in server.log


def test_rotation_by_file(
    start_server: StartServer, shared_redis: RedisProcess, tmp_path: Path
) -> None:
    """New keys count within 10 s, on every worker; a broken file changes nothing, but for who
    starts meanwhile: that one has no keys, and gets them when the file is mended. A reload, which
    would end who has keys, is refused."""
    path = tmp_path / "keys.json"
    replace(path, set_of(JWK_A, {"kid": "x"}))
    server = start_server(
        workers=2, REDIS_URL=shared_redis.url, AUTH_ENABLED="1", AUTH_KEYS_FILE=str(path)
    )
    assert server.log.count("not used is key 'x'") == 2, "each worker tells of its own"

    replace(path, set_of(JWK_A, jwk_of(SECRET, kid="s")))
    began = time.monotonic()
    wait_until(lambda: server.log.count("; 's' for HS256)") == 2, "both have the new key")
    assert time.monotonic() - began < 10 * SLOW
    for token in (sign(SECRET, "HS256", kid="s"), TOKEN_A):
        assert {status_for(server, token) for _ in range(8)} == {101}

    replace(path, b'{"keys": [')
    wait_until(lambda: server.log.count("the keys stay as they were") == 2, "it is said")
    server.signal(signal.SIGHUP)
    wait_until(lambda: "gives no keys: it is no JSON; allowed is" in server.log, "a refused reload")
    assert "The reload is refused, and the workers go on as before" in server.log
    os.kill(server.worker_pids[0], signal.SIGKILL)
    wait_until(lambda: len(server.worker_pids) == 3, "another worker")
    assert "cannot be used, and there are no keys: it is no JSON" in server.log
    found: set[int] = set()
    wait_until(lambda: found.add(status_for(server, TOKEN_A)) or len(found) > 1, "both answer")
    assert found == {101, 503}

    replace(path, set_of(JWK_B))
    wait_until(lambda: server.log.count("the keys are 1 ('b'") == 2, "the file is mended")
    assert server.log.count("can be used again") == 2
    for token, status in ((TOKEN_B, 101), (TOKEN_A, 401)):
        assert {status_for(server, token) for _ in range(8)} == {status}


def test_the_example(tmp_path: Path) -> None:
    """The program of docs/auth.md makes a set of secrets, of which each counts."""
    names = ("old", "new")
    for name in names:
        (tmp_path / name).write_text(f"{name} {SECRET}\n")
    program = Page(ROOT / "docs" / "auth.md").code_blocks("python")[1]
    made = subprocess.run(
        [sys.executable, "-c", program, *names],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=DEADLINE,
    )
    authenticator = Authenticator(Keys(parse_key_set(made.stdout, ["HS256"], with_secrets=True)))
    for name in names:
        for header in ({}, {"kid": name}):
            token = sign(f"{name} {SECRET}", "HS256", **header)
            assert authenticator.verify(token).key.id == name


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"AUTH_KEYS_FILE": "/none"}, "AUTH_KEYS_FILE '/none' gives no keys: No such file or"),
        ({"AUTH_KEYS_FILE": "BROKEN"}, "gives no keys: it is no JSON; allowed is a JWK set"),
        (
            {"AUTH_KEYS_FILE": "BROKEN", "AUTH_SECRET": SECRET},
            "must be set; AUTH_SECRET and AUTH_KEYS_FILE are",
        ),
        ({"AUTH_JWKS_URL": "http://example.com/keys"}, "allowed is an https:// URL"),
    ],
)
def test_does_not_start(
    in_process: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    settings: dict[str, str],
    told: str,
) -> None:
    """What is wrong at the start is said in a sentence."""
    broken = tmp_path / "broken.json"
    broken.write_bytes(b"{")
    settings = {name: text.replace("BROKEN", str(broken)) for name, text in settings.items()}
    assert told in why_it_does_not_start(monkeypatch, AUTH_ENABLED="1", **settings)
