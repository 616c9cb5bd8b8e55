"""`sanic-chat pub` and `sanic-chat sub`, with a real server."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from uuid import uuid4

import pytest

from ..support.clients import running_server
from ..support.command import run, run_here, start
from ..support.harness import DEADLINE, RedisProcess, ServerProcess, wait_until


@pytest.fixture(scope="module")
def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(REDIS_URL=shared_redis.url, CHAT_MAX_MESSAGE_BYTES="4096") as server:
        yield server


@pytest.fixture
def url(server: ServerProcess) -> str:
    return f"http://127.0.0.1:{server.port}"


@pytest.fixture
def rooms() -> list[str]:
    return [f"room-{uuid4()}" for _ in range(2)]


def members(server: ServerProcess, room: str) -> int:
    return sum(e["members"] for e in server.stats()["largest_rooms"] if e["room"] == room)


def subscribed(
    server: ServerProcess, url: str, *arguments: str, rooms: list[str]
) -> subprocess.Popen[str]:
    process = start("sub", *arguments, *rooms, CHAT_URL=url)
    wait_until(lambda: all(members(server, room) for room in rooms), "it is in all rooms")
    return process


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=DEADLINE)
    return process.returncode, output, errors


def test_from_one_to_the_other(server: ServerProcess, url: str, rooms: list[str]) -> None:
    """Text and JSON, to several rooms; nothing of it moves a terminal or is markup."""
    listener = subscribed(server, url, "--count", "3", rooms=rooms)
    texts = ["hello [red]", "\x1b]0;title\x07"]
    assert run("pub", rooms[0], *texts, CHAT_URL=url) == (0, "", "")
    assert run("pub", rooms[1], '{"a": [1, null]}', "--json", "--url", url) == (0, "", "")
    code, output, errors = ended(listener)
    assert (code, errors) == (0, "")
    first, second, third = output.splitlines()
    assert first.endswith(": hello [red]")
    assert second.endswith(r": \x1b]0;title\x07")
    assert third.endswith(': {"a": [1, null]}')
    assert [line.split()[1] for line in (first, second, third)] == [rooms[0], rooms[0], rooms[1]]
    assert "\x1b" not in output


def test_lines_and_json_for_pipes(server: ServerProcess, url: str, rooms: list[str]) -> None:
    """Each line of standard input is a message; each message a JSON object on a line."""
    listener = subscribed(server, url, "--json", "--count", "3", rooms=rooms[:1])
    assert run("pub", rooms[0], text="one\n\ntwo 😀\n", CHAT_URL=url) == (0, "", "")
    code, output, _ = ended(listener)
    messages = [json.loads(line) for line in output.splitlines()]
    assert code == 0
    assert [message["data"] for message in messages] == ["one", "", "two 😀"]
    assert [*messages[0]] == ["id", "type", "room", "from", "data", "timestamp"]
    assert output.isascii()


def test_ctrl_c(server: ServerProcess, url: str, rooms: list[str]) -> None:
    """It is how one ends, and no error."""
    listener = subscribed(server, url, rooms=rooms)
    listener.send_signal(signal.SIGINT)
    assert ended(listener) == (0, "", "")


def test_events(server: ServerProcess, url: str, rooms: list[str]) -> None:
    """With --events the server's own are shown, and do not count."""
    listener = subscribed(server, url, "--events", "--json", "--count", "1", rooms=rooms[:1])
    run("pub", rooms[0], "hello", CHAT_URL=url)
    _, output, _ = ended(listener)
    welcome, message = map(json.loads, output.splitlines())
    assert welcome["data"]["event"] == "welcome"
    assert message["data"] == "hello"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["pub", "a*b", "x"], 1, "bad_room"),
        (["sub", "--presence"], 2, "--presence needs a room"),
        (["sub", "lobby", "a  b"], 1, "bad_room"),
        (["pub", "lobby", "{", "--json"], 2, "is no JSON"),
        (["pub", "lobby", "x" * 5000], 1, "1009"),
        (["pub", "lobby", "x", "--prefix", "/elsewhere"], 1, "not_found"),
        (["pub"], 2, "ROOM"),
    ],
    ids=lambda value: " ".join(value)[:20] if isinstance(value, list) else "",
)
def test_what_goes_wrong(url: str, arguments: list[str], code: int, told: str) -> None:
    """In a sentence on standard error, with the exit code that says whose fault it is."""
    ended_with, output, errors = run_here(*arguments, CHAT_URL=url)
    assert (ended_with, output) == (code, "")
    assert told in errors
    assert "Traceback" not in errors


def test_as_a_backend(
    server: ServerProcess, url: str, shared_redis: RedisProcess, rooms: list[str]
) -> None:
    """It needs Redis, and no server."""
    listener = subscribed(server, url, "--json", "--count", "1", rooms=rooms[:1])
    arguments = ("pub", "--backend", rooms[0], "[1]", "--json")
    assert run(*arguments, REDIS_URL=shared_redis.url) == (0, "", "")
    message = json.loads(ended(listener)[1])
    assert (message["data"], message["from"]) == ([1], "server")


@pytest.mark.parametrize(
    ("room", "redis_url", "code", "told"),
    [
        ("a*b", "redis://127.0.0.1:1", 1, "bad_room"),
        ("lobby", "", 2, "REDIS_URL is not set"),
        ("lobby", "redis://127.0.0.1:1", 3, "was not published"),
    ],
)
def test_no_backend(room: str, redis_url: str, code: int, told: str) -> None:
    ended_with, output, errors = run_here("pub", "--backend", room, "x", REDIS_URL=redis_url)
    assert (ended_with, output) == (code, "")
    assert told in errors
    assert "Traceback" not in errors


def test_nobody_there() -> None:
    code, _, errors = run_here("pub", "lobby", "x", CHAT_URL="http://127.0.0.1:1")
    assert code == 3
    assert "is not there" in errors
    assert "Traceback" not in errors
