"""`sanic-chat stats`: the cluster at a glance, and what is no stats."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import pytest

from ..support.answering import answering
from ..support.clients import running_server
from ..support.command import run, run_here, start
from ..support.harness import DEADLINE, RedisProcess, ServerProcess, wait_until


@pytest.fixture(scope="module")
def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(
        REDIS_URL=shared_redis.url, CHAT_REDIS_PREFIX="cli-stats", workers=2
    ) as server:
        wait_until(lambda: server.stats()["totals"]["pods"] == 2, "both pods are told of")
        yield server


async def test_once(server: ServerProcess) -> None:
    """As JSON the server's own answer; else a table of all pods."""
    url = f"http://127.0.0.1:{server.port}"
    async with server.connect("lobby"):
        wait_until(lambda: server.stats()["totals"]["connections"] == 1, "it is counted")
        code, output, errors = run("stats", "--json", "--url", url)
        assert (code, errors) == (0, "")
        stats = json.loads(output)
        assert stats["totals"]["connections"] == 1
        code, output, errors = run("stats", CHAT_URL=url)
    assert (code, errors) == (0, "")
    for pod in stats["pods"]:
        assert pod["pod_id"][:8] in output
    assert "messages in" in output
    assert "1 in lobby" in output


def test_watch(server: ServerProcess) -> None:
    """On a terminal it goes on until Ctrl-C, which is no error."""
    ours, theirs = os.openpty()
    with start(
        "stats", "--watch", stdout=theirs, CHAT_URL=f"http://127.0.0.1:{server.port}", TERM="xterm"
    ) as process:
        os.close(theirs)
        seen = b""
        while seen.count(b"messages in") < 2:  # drawn anew
            seen += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        with suppress(OSError):  # which is how a terminal ends
            while os.read(ours, 4096):
                pass
        _, errors = process.communicate(timeout=DEADLINE)
    os.close(ours)
    assert (process.returncode, errors) == (0, "")


def test_watch_in_a_pipe(server: ServerProcess) -> None:
    """There each look is written at once, below the one before."""
    url = f"http://127.0.0.1:{server.port}"
    with start("stats", "--watch", stdout=subprocess.PIPE, CHAT_URL=url) as process:
        assert process.stdout is not None
        looks = 0
        while looks < 2:
            looks += b"messages in" in os.read(process.stdout.fileno(), 65536)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, errors) == (0, "")


def test_lines_for_pipes(server: ServerProcess) -> None:
    """With --watch and --json each answer is a line, until Ctrl-C."""
    with start("stats", "--watch", "--json", CHAT_URL=f"http://127.0.0.1:{server.port}") as process:
        assert process.stdout is not None
        for _ in range(2):
            assert json.loads(process.stdout.readline())["totals"]["pods"] == 2
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, errors) == (0, "")


EVIL = "[red]x[/red][/]\x1b]0;title\x07"


def test_what_a_server_says_is_no_markup() -> None:
    """Nothing in its answer moves a terminal, colours anything, or breaks the table."""
    evil = {
        "totals": {EVIL: EVIL, "connections": 1, "messages_dropped": {EVIL: 1}},
        "pods": [{"pod_id": EVIL, EVIL: EVIL}],
        "largest_rooms": [{"room": EVIL, "members": 1}],
        "complete": True,
    }
    with answering(200, json.dumps(evil).encode()) as server:
        code, output, errors = run("stats", "--url", server.url, COLUMNS="300", FORCE_COLOR="1")
    assert (code, errors) == (0, "")
    assert "\x1b]" not in output
    assert output.count(r"[red]x[/red][/]\x1b]0;title\x07") == 6


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (404, b"not found \x1b[2J", r"answers 404: not found \x1b[2J"),
        (
            401,
            b'{"code":"unauthorized","message":"No"}',
            "No. Its secret is taken from CHAT_API_KEY",
        ),
        (200, b"<html>", "answers no JSON"),
        (200, b"[1]", "something else than stats"),
        (200, b'{"totals": []}', "something else than stats"),
        (200, b'{"totals": {}, "pods": [1]}', "something else than stats"),
    ],
)
def test_another_server(status: int, body: bytes, told: str) -> None:
    with answering(status, body) as server:
        code, output, errors = run_here("stats", "--url", server.url)
    assert (code, output) == (1, "")
    assert told in errors


def test_nobody_there() -> None:
    code, output, errors = run_here("stats", "--url", "http://127.0.0.1:1")
    assert (code, output) == (3, "")
    assert "is not there" in errors
