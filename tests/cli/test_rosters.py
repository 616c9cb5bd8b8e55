"""`sanic-chat sub --presence`: who is in a room, on the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import pytest

from sanic_chat.cli.rosters import Rosters, words

from ..support.clients import running_server
from ..support.command import run, start
from ..support.harness import ROOT, RedisProcess, ServerProcess
from ..support.keys import SECRET
from ..support.markdown import Page

ROSTER = {
    "event": "roster", "seq": 4, "users": 1, "sessions": 2, "exact": True, "complete": True,
    "members": [{"user": "anna"}],
}  # fmt: skip
CHANGED = {
    "event": "changed", "seq": 5, "users": 3, "sessions": 1,
    "joined": [{"user": "bert", "info": {"name": "Bert"}}],
    "updated": [{"user": "carl", "info": {"age": 7}}],
    "left": [{"user": "-x, +y", "reason": "lost"}],
}  # fmt: skip
UNNAMED = {"members": None, "exact": False}


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (ROSTER, '1 user, 2 sessions "anna"'),
        (ROSTER | UNNAMED | {"users": 250}, "about 250 users, 2 sessions"),
        (ROSTER | {"complete": False}, '1 user, 2 sessions, some may be missing "anna"'),
        (
            CHANGED,
            '3 users, 1 session +"bert" {"name": "Bert"} ~"carl" {"age": 7} -"-x, +y" (lost)',
        ),
        (CHANGED | dict.fromkeys(("joined", "updated", "left")), "3 users, 1 session"),
    ],
)
def test_words(event: dict[str, Any], told: str) -> None:
    """Names stand in quotes, so that none passes for two, or for one that has gone."""
    assert words(event) == told


def test_a_change_that_is_missed() -> None:
    """A roster of that room is asked for, and not twice within a moment."""
    asked: list[str] = []
    rosters = Rosters(asked.append)
    for room in ("a", "b"):
        rosters.take(room, ROSTER)
        rosters.take(room, CHANGED)
    assert asked == []
    rosters.take("a", CHANGED | {"seq": 7})
    rosters.take("a", CHANGED | {"seq": 8})
    assert asked == ["a"]
    rosters.take("a", ROSTER | {"seq": 8})
    rosters.take("a", CHANGED | {"seq": 9})
    rosters.take("b", CHANGED | {"seq": 6})
    assert asked == ["a"]


# -- with a server --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(REDIS_URL=shared_redis.url, AUTH_ENABLED="1", AUTH_SECRET=SECRET) as server:
        yield server


@contextmanager
def watching(server: ServerProcess, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """One who watches rooms, and ends by itself."""
    with start("sub", "--presence", *arguments, **settings(server, "anna")) as process:
        yield process
        assert process.wait() == 0


def settings(server: ServerProcess, user: str, **claims: Any) -> dict[str, str]:
    return {
        "CHAT_URL": f"http://127.0.0.1:{server.port}",
        "CHAT_TOKEN": jwt.encode({"sub": user, **claims}, SECRET, algorithm="HS256"),
    }


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().removesuffix("\n")


def test_who_comes_and_goes(server: ServerProcess) -> None:
    """A line for each roster and change, between those of messages; nothing moves a terminal."""
    rooms = [f"room-{uuid4()}" for _ in range(2)]
    with watching(server, "--count", "1", *rooms) as watcher:
        told = [line(watcher) for _ in rooms]
        assert sorted(" ".join(each.split(" ")[1:]) for each in told) == sorted(
            f'{room} 1 user, 1 session "anna"' for room in rooms
        )
        guest = settings(server, "\x1b[2J", info={"name": "\u202e"})
        with start("sub", rooms[1], **guest) as bert:
            assert line(watcher).endswith(
                rf'{rooms[1]} 2 users, 2 sessions +"\u001b[2J" {{"name": "\u202e"}}'
            )
            bert.send_signal(signal.SIGINT)
        assert line(watcher).endswith("2 users, 1 session")
        assert line(watcher).endswith(r'-"\u001b[2J" (left)')
        run("pub", rooms[1], "hello", **settings(server, "anna"))
        last = line(watcher)
        while "hello" not in last:
            last = line(watcher)


def test_json(server: ServerProcess) -> None:
    """Whole messages, one a line."""
    room = f"room-{uuid4()}"
    with watching(server, "--json", "--count", "1", room) as watcher:
        roster = json.loads(line(watcher))
        run("pub", room, "hello", **settings(server, "anna"))
        assert (roster["type"], roster["room"]) == ("presence", room)
        assert roster["data"]["members"] == [{"user": "anna"}]
        assert json.loads(watcher.communicate()[0].splitlines()[-1])["data"] == "hello"


def test_who_may_not_see(server: ServerProcess) -> None:
    """It ends with 1, and says so."""
    rules = [{"match": "*", "allow": ["join"]}]
    code, _, errors = run("sub", "--presence", "zoo", **settings(server, "anna", rooms=rules))
    assert code == 1
    assert errors == "Your token does not allow you to see who is in room 'zoo'\n"


def test_the_first_steps_with_tokens(shared_redis: RedisProcess) -> None:
    """What docs/auth.md shows: a server's settings, a client with a token, and what it prints."""
    page = Page(ROOT / "docs/auth.md")
    (export, _), client = (block.splitlines() for block in page.code_blocks("sh"))
    assert client[0] == export
    variables = dict(each.split("=", 1) for each in export.split()[1:])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (
        running_server(REDIS_URL=shared_redis.url, **variables) as server,
        subprocess.Popen(
            ["sh", "-euc", "\n".join([*client[:-1], f"exec {client[-1]}"])],
            env={"PATH": path, "CHAT_URL": f"http://127.0.0.1:{server.port}"},
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        told = line(process).partition(" ")[2]
        process.send_signal(signal.SIGINT)
    assert told
    assert f"2026-02-05T00:00:00.000Z {told}\n" in page.code_blocks("")
