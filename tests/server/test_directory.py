"""`GET /rooms`, `/room` and `/user`: whichever pod is asked tells of all of them."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from ..support.backend import SECRETS, WITH_API, Backend, backend
from ..support.clients import on_pods, running_server
from ..support.dialogue import answer_to
from ..support.harness import RedisProcess, ServerProcess, eventually, receive


@pytest.fixture(scope="module")
def server(own_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(workers=2, REDIS_URL=own_redis.url, **WITH_API) as server:
        yield server


@pytest.fixture
async def reader(server: ServerProcess) -> AsyncIterator[Backend]:
    """A backend with a key for nothing but to ask."""
    async with backend(server.http, SECRETS["read"]) as reader:
        yield reader


async def asked(reader: Backend, path: str, **query: str | int) -> dict[str, Any]:
    """What is told of all pods."""
    answer = await reader.get(path, **query)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["cache-control"] == "no-store"
    told: dict[str, Any] = answer.json()
    assert (told.pop("complete"), told.pop("missing")) == (True, [])
    return told


async def are_told(reader: Backend, room: str, sessions: int) -> None:
    """Wait until pods that have just started know each other, and so tell of a room's sessions."""

    async def are() -> bool:
        told = await asked(reader, "/room", name=room)
        return bool(told["sessions"] == sessions)

    await eventually(are, f"{sessions} sessions are told")


async def all_pages(reader: Backend, path: str, field: str, **query: str | int) -> list[Any]:
    """The entries of all pages, each asked for with what the page before says."""
    entries: list[Any] = []
    after = ""
    while True:
        told = await asked(reader, path, after=after, **query)
        assert len(told[field]) <= int(query["limit"])
        entries += told[field]
        if told["next"] is None:
            return entries
        after = told["next"]


async def test_rooms(server, reader, room):
    """Page by page they are all rooms of all pods that begin so, by name, with their sessions."""
    names = [f"{room}/{name}" for name in ("a", "b", "é", "d e", "#")]
    async with on_pods(server, 2, names[0]) as (one, other):
        await answer_to(one, "join", rooms=[*names[1:], f"other {room}"])
        await answer_to(other, "join", rooms=names[2:])
        await are_told(reader, names[0], 2)
        counts = dict.fromkeys(names, 2) | {names[1]: 1}
        expected = [{"name": name, "sessions": counts[name]} for name in sorted(names)]
        for limit in (1, 2, 3, 100):
            found = await all_pages(reader, "/rooms", "rooms", prefix=f"{room}/", limit=limit)
            assert found == expected
        prefix = f"{room}/e\u0301"
        assert [one["name"] for one in (await asked(reader, "/rooms", prefix=prefix))["rooms"]] == [
            f"{room}/é"
        ]
    assert await asked(reader, "/rooms", prefix=f"nobody-{room}") == {"rooms": [], "next": None}


async def test_a_room(server, reader, room):
    """Its users and sessions are counted, and its members told page by page."""
    async with on_pods(server, 2, room) as clients, AsyncExitStack() as stack:
        for _ in range(5):
            await stack.enter_async_context(server.connect(room))
        assert len(clients) == 2
        await are_told(reader, room, 7)
        told = await asked(reader, "/room", name=room)
        users = sorted(member["user"] for member in told["members"])
        assert (told["name"], told["sessions"], told["users"]) == (room, 7, 7)
        assert (told["exact"], len(set(users))) == (True, 7)
        assert users == [member["user"] for member in told["members"]]
        paged = await all_pages(reader, "/room", "members", name=room, limit=2)
        assert paged == [{"user": user, "sessions": 1} for user in users]
    empty = await asked(reader, "/room", name=f"nobody-{room}")
    assert (empty["sessions"], empty["members"]) == (0, [])


async def test_a_user(server, reader, room):
    """His sessions, where each is, since when, and in which rooms."""
    async with server.connect(room, events="system") as client:
        welcome = (await receive(client))["data"]
        await answer_to(client, "join", room="@me")
        await are_told(reader, room, 1)
        told = await asked(reader, "/user", id=welcome["user"])
        [session] = told["sessions"]
        assert told["user"] == welcome["user"]
        assert session["client_id"] == welcome["client_id"]
        assert session["pod_id"] == welcome["pod_id"]
        assert session["rooms"] == [room, f"@{welcome['user']}"]
        assert session["queue"] == 0
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", session["since"])
    assert (await asked(reader, "/user", id="nobody"))["sessions"] == []


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("/rooms", {"limit": 0}, "bad_query"),
        ("/rooms", {"name": "a"}, "bad_query"),
        ("/room", {}, "bad_query"),
        ("/room", {"name": "<b>"}, "bad_room"),
        ("/room", {"name": "@me"}, "bad_room"),
        ("/user", {}, "bad_query"),
        ("/user", {"id": ""}, "bad_query"),
    ],
)
async def test_bad_questions(reader, path, query, code):
    """They get a sentence, and are not asked of others."""
    answer = await reader.get(path, **query)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


@pytest.mark.parametrize("path", ["/rooms", "/room?name=a", "/user?id=a"])
async def test_only_with_a_key_to_read(server, path):
    async with backend(server.http, SECRETS["publish"]) as program:
        assert (await program.get(path)).status_code == 403
    async with backend(server.http, "x" * 32) as nobody:
        assert (await nobody.get(path)).status_code == 401


async def test_too_many_questions(reader):
    """Who asks too much at a time is told to come back; whoever is answered is answered right."""
    answers = await asyncio.gather(*(reader.get("/rooms") for _ in range(40)))
    for answer in answers:
        if answer.status_code != 200:
            assert (answer.status_code, answer.json()["code"]) == (503, "too_many_questions")
            assert answer.headers["retry-after"] == "2"
    assert sum(answer.status_code == 200 for answer in answers) >= 4


async def test_a_frozen_pod(start_server, redis, room):
    """Within a second it is told who has not answered, and what the others have said."""
    server, other = (
        start_server("--single-process", REDIS_URL=redis.url, **WITH_API) for _ in range(2)
    )
    frozen = other.pod()["pod_id"]
    async with server.connect(room), backend(server.http) as program:

        async def is_whole() -> bool:
            return (await program.get("/room", name=room)).json()["complete"]

        await eventually(is_whole, "the pods know each other")
        other.signal(signal.SIGSTOP)
        try:
            told = (await program.get("/room", name=room)).json()
        finally:
            other.signal(signal.SIGCONT)
        assert (told["complete"], told["missing"], told["sessions"]) == (False, [frozen], 1)
