"""`sanic-chat doctor`: what it prints, and the code that it ends with."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from sanic_chat import __version__

from ..support.clients import RedisProxy, resp, running_server
from ..support.command import run, start
from ..support.examined import CODES, doctor
from ..support.harness import (
    DEADLINE,
    ROOT,
    RedisProcess,
    ServerProcess,
    free_port,
    wait_until,
    without_settings,
)

MACHINE = [f"--ignore={code}" for code in ("descriptors", "backlog", "cores", "loop_lag")]
"""What may rightly warn on the machine that the tests run on."""


@pytest.fixture(scope="module")
def server(own_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(REDIS_URL=own_redis.url) as server:
        yield server


def test_all_is_well(server: ServerProcess, own_redis: RedisProcess) -> None:
    """As JSON every finding, all with the same keys; as a table what was measured."""
    url = f"http://127.0.0.1:{server.port}"
    code, found = doctor("--url", url, *MACHINE, REDIS_URL=own_redis.url)
    assert code == 0
    assert {one["status"] for one in found.values()} == {"well", "unknown"}
    assert found["pods_version"]["measured"] == f"{__version__} on the only pod"
    keys = {"code", "status", "measured", "limit", "why", "mend"}
    assert all(one.keys() == keys for one in found.values())
    code, output, errors = run(
        "doctor", "--redis", own_redis.url, *MACHINE, CHAT_URL=url, COLUMNS="160"
    )
    assert (code, errors) == (0, "")
    assert re.search(
        r"^well +pods_ready +1 of 1 ready +all that do not drain", output, re.MULTILINE
    )
    assert "not measured: url_idle\n" in output
    assert output.endswith("22 well, 4 unknown\n")


def test_something_to_look_at(server: ServerProcess, own_redis: RedisProcess) -> None:
    """A warning ends with 1: its limit, its reason and what mends it are told."""
    with Redis(port=own_redis.port) as admin:
        admin.config_set("timeout", 1)
        try:
            code, output, _ = run("doctor", *MACHINE, REDIS_URL=own_redis.url, COLUMNS="160")
        finally:
            admin.config_set("timeout", 0)
    assert code == 1
    assert re.search(r"^warning +redis_timeout +timeout 1 ", output, re.MULTILINE)
    assert "\nredis_timeout: Redis ends connections between two pings, and pods" in output
    assert '\n  redis-cli -u "$REDIS_URL" CONFIG SET timeout 0\n' in output
    assert "1 warning" in output.splitlines()[-1]


def test_something_that_does_not_work() -> None:
    """A failure ends with 2."""
    nobody = f"redis://127.0.0.1:{free_port()}"
    code, output, errors = run("doctor", REDIS_URL=nobody)
    assert (code, errors) == (2, "")
    assert re.search("^failure +redis_reachable ", output, re.MULTILINE)
    assert re.search(
        "^not measured: .*pods_ready.*\n  Redis cannot be asked: ", output, re.MULTILINE
    )
    code, found = doctor("--ignore", "redis_reachable", *MACHINE, REDIS_URL=nobody)
    assert (code, "redis_reachable" in found) == (0, False)


def by_default(port: int, **environment: str) -> str:
    """What is printed if nobody names a server, and the default one is at another port."""
    program = (
        "from sanic_chat.cli import main, server\n"
        f"server.DEFAULT_URL = 'http://127.0.0.1:{port}'\n"
        f"main.sanic_chat({['doctor', *MACHINE]})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**without_settings(os.environ), "COLUMNS": "160", **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_server_that_nobody_named(server: ServerProcess, own_redis: RedisProcess) -> None:
    """Without a REDIS_URL it is that of the default URL; if none is there, one line says so."""
    assert re.search(r"^well +url_upgrade +101 ", by_default(server.port), re.MULTILINE)
    output = by_default(port := free_port())
    assert "url_" not in output.partition("not measured: ")[0]
    assert output.count(f"  no server listens at http://127.0.0.1:{port}/api/chat-api: --url") == 1
    output = by_default(server.port, REDIS_URL=own_redis.url)
    assert "\n  no server was asked (--url)\n" in output


@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [
        (["--ignore", "everything"], {}, "There is no check everything; there are settings, "),
        (["--redis", "redis://:geheim@x"], {}, "REDIS_URL_FILE"),
        (["--redis", "rediss://x?ssl_certfile=c&ssl_password=geheim"], {}, "REDIS_URL_FILE"),
        (["--redis", "http://x"], {}, "REDIS_URL cannot be used"),
        (["--url", "chat.test"], {}, "no URL of a server"),
        (["--idle", "5"], {}, "--idle needs --url"),
        (["--idle", "x"], {"CHAT_URL": "http://x"}, "--idle"),
    ],
)
def test_wrong_usage(arguments: list[str], environment: dict[str, str], told: str) -> None:
    code, output, errors = run("doctor", *arguments, **environment)
    assert (code, output) == (2, "")
    assert told in errors
    assert "geheim" not in errors
    assert "Traceback" not in errors


def test_wrong_settings(tmp_path: Path) -> None:
    """They are a finding, and the rest is looked at with the defaults."""
    code, found = doctor(CHAT_HEARTBEAT_TIMEOUT="soon", AUTH_ENABLED="1")
    assert (code, [*found]) == (2, CODES)
    assert found["settings"]["status"] == "failure"
    code, found = doctor(*MACHINE, "--cert", str(tmp_path / "missing.pem"))
    assert (code, found["certificate_files"]["status"]) == (2, "failure")


def test_what_others_wrote(own_redis: RedisProcess) -> None:
    """Whatever Redis or a server says moves no terminal, and is no markup."""
    evil = b"6.\x1b]0;title\x07[red]x[/red][/]"
    hello = [b"server", b"\x1b]0;", b"version", evil, b"mode", b"standalone", b"role", b"master"]
    with RedisProxy(own_redis.port) as proxy:
        proxy.misbehaviour = lambda command: resp(hello) if command == "HELLO" else None
        _, output, errors = run(
            "doctor", REDIS_URL=f"redis://127.0.0.1:{proxy.port}", COLUMNS="200"
        )
    assert errors == ""
    assert "\x1b" not in output
    assert r"6.\x1b]0;title\x07[red]x[/red][/]" in output


def test_a_redis_that_hangs(redis: RedisProcess) -> None:
    """It is a failure after a few seconds, and holds up no other check."""
    redis.signal(signal.SIGSTOP)
    code, found = doctor(REDIS_URL=redis.url)
    redis.signal(signal.SIGCONT)
    assert (code, found["redis_reachable"]["status"]) == (2, "failure")
    assert found["event_loop"]["status"] == "well"


def test_ctrl_c(server: ServerProcess) -> None:
    """It ends what takes long, without a traceback."""
    url = f"http://127.0.0.1:{server.port}"
    with start("doctor", "--url", url, "--idle", "600") as running:
        wait_until(
            lambda: any("doctor-" in one["room"] for one in server.stats()["largest_rooms"]),
            "a connection is held",
        )
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=DEADLINE)
    assert (running.returncode, errors) == (130, "")
