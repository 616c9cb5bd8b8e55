"""Backends of every kind publish, and clients of every pod receive: as docs/backend.md has it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection

from ..support.clients import on_pods, running_server
from ..support.harness import (
    DEADLINE,
    NO_TLS,
    ROOT,
    RedisProcess,
    ServerProcess,
    eventually,
    free_port,
    receive,
    without_settings,
)


@pytest.fixture(scope="module")
def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(workers=2, REDIS_URL=shared_redis.url) as server:
        yield server


def environment(redis: RedisProcess) -> dict[str, str]:
    return {**without_settings(os.environ), "REDIS_URL": redis.url, "PYTHONPATH": str(ROOT)}


@asynccontextmanager
async def running(redis: RedisProcess, *command: str, start: str) -> AsyncIterator[None]:
    """A program of somebody else's, from what it prints when it is up to its end by SIGINT."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-u", *command],
            cwd=ROOT,
            env=environment(redis),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

        def printed() -> str:
            return os.pread(log.fileno(), 2**20, 0).decode()

        def is_up() -> bool:
            assert process.poll() is None, printed()
            return start in printed()

        try:
            await eventually(is_up, f"it prints {start!r}")
            yield
            process.send_signal(signal.SIGINT)
            await eventually(lambda: process.poll() is not None, "it has ended")
            assert "Traceback" not in printed()
        finally:
            process.kill()
            process.wait()


async def run(redis: RedisProcess, *command: str) -> str:
    """Run a program to its good end, and return what it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        cwd=ROOT,
        env=environment(redis),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), DEADLINE)
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def received_by(clients: list[ClientConnection]) -> dict[str, Any]:
    """The next message, which is the same for all."""
    first, *others = [await receive(client) for client in clients]
    assert all(other == first for other in others)
    return first


@asynccontextmanager
async def one_user(server: ServerProcess) -> AsyncIterator[tuple[ClientConnection, str]]:
    """A client in its personal room, and its user."""
    async with server.connect("@me", events="system") as client:
        yield client, (await receive(client))["data"]["user"]


async def test_a_script(server: ServerProcess, shared_redis: RedisProcess) -> None:
    """It reaches a room and everybody, on all pods, with one ID."""
    async with on_pods(server, 2, "reports") as clients:
        output = await run(shared_redis, "-W", "error", "examples/script.py")
        message = await received_by(clients)
        assert message["data"] == {"report": "sales", "rows": 1200}
        assert (message["type"], message["from"]) == ("notification", "server")
        assert output == f"message {message['id']}, heard by 2 subscribers\n"
        message = await received_by(clients)
        assert (message["room"], message["data"]) == (None, "The reports of the night are there")


@pytest.mark.parametrize("pool", ["solo", "prefork"])
async def test_celery(redis: RedisProcess, pool: str) -> None:
    """A task reaches a user; the message's ID is the task's. In forked workers too."""
    pytest.importorskip("celery", reason="pip install -e '.[test]'")
    celery = ("-m", "celery", "-A", "examples.celery_tasks")
    with running_server(REDIS_URL=redis.url) as server:
        async with one_user(server) as (client, user):
            options = ("--pool", pool, "--concurrency", "2", "--loglevel", "info")
            async with running(redis, *celery, "worker", *options, start=" ready."):
                for order in range(2):
                    task = await run(
                        redis, *celery, "call", "shipped", "-a", f'[{order}, "{user}"]'
                    )
                    message = await receive(client)
                    assert message["data"] == {"order": order, "state": "shipped"}
                    assert message["id"] == task.strip()


async def test_django(server: ServerProcess, shared_redis: RedisProcess) -> None:
    """A request that is served tells a room, from plain and from asynchronous views."""
    pytest.importorskip("django", reason="pip install -e '.[test]'")
    port = free_port()
    command = ("examples/django_site.py", "runserver", "--noreload", f"127.0.0.1:{port}")
    async with (
        running(shared_redis, *command, start="Quit the server"),
        on_pods(server, 2, "kitchen") as clients,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=NO_TLS) as browser,
    ):
        for dish in ("soup", "fish"):
            answer = await browser.post("/orders", data={"dish": dish})
            assert answer.json() == {"ordered": dish}
            assert (await received_by(clients))["data"] == {"dish": dish}
            answer = await browser.get("/calls")
            message = await received_by(clients)
            assert (message["id"], message["data"]) == (
                    answer.json()["id"], {"call": "waiter"}
                )  # fmt: skip


async def test_django_without_redis(redis: RedisProcess) -> None:
    """Who orders is served, though nobody can be told."""
    pytest.importorskip("django", reason="pip install -e '.[test]'")
    port = free_port()
    command = ("examples/django_site.py", "runserver", "--noreload", f"127.0.0.1:{port}")
    redis.kill()
    async with (
        running(redis, *command, start="Quit the server"),
        httpx.AsyncClient(verify=NO_TLS) as browser,
    ):
        answer = await browser.post(f"http://127.0.0.1:{port}/orders", data={"dish": "soup"})
    assert answer.json() == {"ordered": "soup"}


PAGE = (ROOT / "docs/backend.md").read_text()


async def test_the_page(server: ServerProcess, shared_redis: RedisProcess) -> None:
    """What it shows runs as it stands, one after the other, and says what it is said to say."""
    blocks = re.findall(
        r"<!-- test: publish -->\n```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE
    )
    async with on_pods(server, 2, "lobby") as clients:
        output = await run(shared_redis, "-W", "error", "-c", "\n".join(blocks))
        heard = [await received_by(clients) for _ in range(6)]
    assert [message["data"] for message in heard] == [
        {"text": "hi"}, "Back at nine", "hi", [1, 2.5, None, True], "from a coroutine", "hi"
    ]  # fmt: skip
    assert [heard[1]["room"], heard[2]["type"], heard[2]["from"]] == [None, "chat", "bot"]
    assert output == f"{heard[3]['id']} 2\n"


def test_the_page_and_the_examples() -> None:
    """What it shows of a file stands there."""
    shown = re.findall(
        r"<!-- (examples/\w+\.py) -->\n```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE
    )
    assert len(shown) >= 2
    for path, block in shown:
        assert block in (ROOT / path).read_text(), path
