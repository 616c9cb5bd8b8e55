"""`sanic-chat rooms`, `who`, `user`, `kick` and `drain`, with real servers."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from ..support.answering import answering
from ..support.backend import SECRET, SECRETS, WITH_API
from ..support.clients import on_pods, running_server
from ..support.command import run, run_here
from ..support.dialogue import answer_to
from ..support.harness import RedisProcess, ServerProcess, close_code, receive, wait_until


@pytest.fixture(scope="module")
def server(own_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(workers=2, REDIS_URL=own_redis.url, **WITH_API) as server:
        # Pods that have just started know each other after a second.
        wait_until(lambda: server.stats()["totals"]["pods"] == 2, "both pods are told of")
        yield server


@pytest.fixture
def environment(server: ServerProcess) -> dict[str, str]:
    return {"CHAT_URL": f"http://127.0.0.1:{server.port}", "CHAT_API_KEY": SECRETS["read"]}


def told(*arguments: str, **environment: str) -> Any:
    """What a command prints as JSON, at a good end."""
    code, output, errors = run_here(*arguments, "--json", **environment)
    assert (code, errors) == (0, "")
    assert output.isascii()
    return json.loads(output)


async def test_rooms_and_members(server, environment, room):
    """By name, on all pods, as lines or as one object."""
    async with on_pods(server, 2, f"{room}/a") as (one, other):
        await answer_to(one, "join", rooms=[f"{room}/é {number}" for number in range(3)])
        wait_until(
            lambda: told("who", f"{room}/a", **environment)["members"][1:], "both pods tell of it"
        )
        whole = told("rooms", f"{room}/", **environment)
        assert whole == {
            "rooms": [
                {"name": f"{room}/a", "sessions": 2},
                *({"name": f"{room}/é {number}", "sessions": 1} for number in range(3)),
            ],
            "complete": True,
            "missing": [],
        }
        code, output, errors = run("rooms", f"{room}/", **environment)
        assert (code, errors) == (0, "")
        lines = ["sessions room", f"       2 {room}/a", f"       1 {room}/é 0"]
        assert output.splitlines()[:3] == lines
        assert f"       2 {room}/a\n" in run("rooms", **environment)[1]

        members = told("who", f"{room}/a", **environment)["members"]
        assert [member["sessions"] for member in members] == [1, 1]
        code, output, errors = run("who", f"{room}/a", **environment)
        lines = ["sessions user", *(f"       1 {member['user']}" for member in members)]
        assert output.splitlines() == lines
    assert (other, told("who", f"{room}/b", **environment)["members"]) == (other, [])
    assert run("who", f"{room}/b", **environment) == (0, "sessions user\n", "")


async def test_a_user(server, environment, room):
    """Every session, with its rooms."""
    async with server.connect(room, events="system") as client:
        welcome = (await receive(client))["data"]
        user = welcome["user"]
        await answer_to(client, "join", rooms=["@me"])
        [session] = told("user", user, **environment)["sessions"]
        assert session["client_id"] == welcome["client_id"]
        code, output, errors = run("user", user, **environment)
        assert (code, errors) == (0, "")
        assert output == (
            f"{user} on {session['pod_id']} since {session['since']}: "
            f"{', '.join(session['rooms'])}\n"
        )
        assert sorted(session["rooms"]) == sorted([room, f"@{user}"])
    assert run("user", "nobody", **environment) == (0, "", "")


async def test_many_pages(server, environment, room):
    """All of them are told, each once."""
    names = [f"{room}/{number:04}" for number in range(1200)]
    clients = []
    try:
        for start in range(0, len(names), 100):
            client = await server.connect()
            clients.append(client)
            await answer_to(client, "join", rooms=names[start : start + 100])
        code, output, errors = run("rooms", f"{room}/", **environment)
        assert (code, errors) == (0, "")
        assert [line.split()[1] for line in output.splitlines()] == ["room", *names]
        rooms = told("rooms", f"{room}/", **environment)["rooms"]
        assert [one["name"] for one in rooms] == names
    finally:
        for client in clients:
            await client.close()


@pytest.mark.parametrize(
    ("arguments", "changed", "code", "said"),
    [
        (["rooms"], {"CHAT_API_KEY": ""}, 2, "CHAT_API_KEY is not set"),
        (["rooms"], {"CHAT_API_KEY": "a\nb"}, 2, "CHAT_API_KEY has a character"),
        (["rooms"], {"CHAT_API_KEY": "x" * 32}, 1, "unauthorized"),
        (["rooms"], {"CHAT_API_KEY": SECRETS["publish"]}, 1, "forbidden_scope"),
        (["who", "a*b"], {}, 1, "bad_room"),
        (["who", "a\x1bb"], {}, 1, r"a room name has"),
        (["user", ""], {}, 1, "bad_query"),
        (["user", "anna", "--prefix", "/elsewhere"], {}, 1, "The server has its API at"),
        (["who"], {}, 2, "ROOM"),
        (["rooms"], {"CHAT_URL": "http://127.0.0.1:1"}, 3, "is not there"),
    ],
)
def test_what_goes_wrong(
    environment: dict[str, str],
    arguments: list[str],
    changed: dict[str, str],
    code: int,
    said: str,
) -> None:
    """In a sentence on standard error, with the exit code that says whose fault it is."""
    ended_with, output, errors = run_here(*arguments, **{**environment, **changed})
    assert (ended_with, output) == (code, "")
    assert said in errors
    assert "Traceback" not in errors
    assert "\x1b" not in errors


def test_a_server_without_keys(own_redis: RedisProcess) -> None:
    """Its API is off, and it says what turns that on."""
    with running_server(REDIS_URL=own_redis.url, CHAT_REDIS_PREFIX="off") as server:
        url = f"http://127.0.0.1:{server.port}"
        code, _, errors = run("rooms", CHAT_URL=url, CHAT_API_KEY=SECRET)
    assert code == 1
    assert "answers 404: no_api_keys: The API is off" in errors
    assert "CHAT_API_KEYS" in errors
    assert "CHAT_ADMIN_LISTEN" not in errors


async def test_kick(server, environment):
    """Who is disconnected is told why; one session of a user may stay, or be the only one."""
    environment = {**environment, "CHAT_API_KEY": SECRET}
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(server.connect("@me", events="system"))
            for _ in range(2)
        ]
        one, other = [(await receive(client))["data"] for client in clients]
        arguments = ("--code", "4242", "--reason", "Out \u00e9", "--json")
        code, output, errors = run("kick", one["user"], *arguments, **environment)
        assert (code, errors) == (0, "")
        assert json.loads(output) == {"disconnected": 1, "complete": True, "missing": []}
        assert await close_code(clients[0]) == 4242
        assert clients[0].close_reason == "Out \u00e9"

        spared = ("kick", other["user"], "--except", other["client_id"])
        assert run(*spared, **environment) == (0, "0 disconnected\n", "")
        by_id = ("kick", "--client", other["client_id"])
        assert run(*by_id, **environment) == (0, "1 disconnected\n", "")
        assert 4000 <= (await close_code(clients[1]) or 0) < 5000


async def test_drain(redis):
    """Its clients are asked to come back elsewhere, and another worker takes its place."""
    with running_server(workers=2, REDIS_URL=redis.url, **WITH_API) as server:
        environment = {"CHAT_URL": f"http://127.0.0.1:{server.port}", "CHAT_API_KEY": SECRET}
        wait_until(lambda: "no_such_pod" in drained("nobody", environment), "all pods are known")
        clients = await server.connect_to_pods(2, "lobby")
        (pod_id, client), (_, other) = clients.items()
        assert run("drain", pod_id, **environment) == (0, f"{pod_id} drains\n", "")
        assert await close_code(client) == 1001
        server.wait_ready(3)
        await other.close()


def drained(pod_id: str, environment: dict[str, str]) -> str:
    """What is said of a pod that is none."""
    code, output, errors = run_here("drain", pod_id, **environment)
    assert (code, output) == (1, "")
    return errors


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["kick"], 2, "Allowed is either USER or --client ID"),
        (["kick", "anna", "--client", "x"], 2, "Allowed is either USER or --client ID"),
        (["kick", "anna", "--code", "1000"], 2, "4000<=x<=4999"),
        (["kick", "anna"], 1, "forbidden_scope"),
        (["drain", "pod"], 1, "forbidden_scope"),
    ],
)
def test_no_kick(environment: dict[str, str], arguments: list[str], code: int, said: str) -> None:
    ended_with, output, errors = run_here(*arguments, **environment)
    assert (ended_with, output) == (code, "")
    assert said in errors


async def test_a_pod_that_does_not_answer(server, environment, room):
    """What the others know is told, and who is missing; the exit code is 1."""
    async with on_pods(server, 2, room):
        pods = server.stats()["pods"]
        answering = told("rooms", room, **environment)
        assert answering["rooms"] == [{"name": room, "sessions": 2}]
        frozen = pods[0]
        os.kill(frozen["pid"], signal.SIGSTOP)
        try:
            code, output, errors = run("rooms", room, "--json", **environment)
        finally:
            os.kill(frozen["pid"], signal.SIGCONT)
    assert code == 1
    whole = json.loads(output)
    assert whole["complete"] is False
    assert whole["missing"] == [frozen["pod_id"]]
    assert frozen["pod_id"] in errors


EVIL = "anna\x1b]0;title\x07\u202e"


def page(**fields: Any) -> bytes:
    return json.dumps({"next": None, "complete": True, "missing": [], **fields}).encode()


def test_what_clients_wrote() -> None:
    """Nothing of it moves a terminal."""
    members = page(
        name="x", sessions=1, users=1, exact=True, members=[{"user": EVIL, "sessions": 1}]
    )
    with answering(200, members) as server:
        code, output, errors = run_here("who", "x", CHAT_URL=server.url, CHAT_API_KEY=SECRET)
    assert (code, errors) == (0, "")
    assert output == "sessions user\n       1 anna\\x1b]0;title\\x07\\u202e\n"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>", "answers something else"),
        (b"{}", "answers something else"),
        (page(rooms=[], next=""), "the same page again"),
        (page(rooms=[], complete=False), "Not all pods have answered"),
    ],
)
def test_other_servers(body: bytes, said: str) -> None:
    """An answer that is none, or that would never end, is told in a sentence."""
    with answering(200, body) as server:
        code, _, errors = run_here("rooms", CHAT_URL=server.url, CHAT_API_KEY=SECRET)
    assert code == 1
    assert said in errors
    assert "Traceback" not in errors
