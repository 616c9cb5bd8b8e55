"""The examples of docs/api.md, in their order: each does what the page says."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from typing import Any
from uuid import UUID

from ..support.backend import backend
from ..support.clients import on_pods
from ..support.harness import DEADLINE, ROOT, ServerProcess, eventually
from ..support.markdown import Page

PAGE = Page(ROOT / "docs" / "api.md")
EXAMPLE = re.compile(r"^```sh\n(curl .*?)^```\n\n```json\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def shell(program: str, **environment: str) -> str:
    """What a program prints."""
    done = subprocess.run(
        ["sh", "-eu"],
        input=program,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def keys() -> dict[str, str]:
    """Keys as the page makes them."""
    commands = PAGE.code_blocks("sh")[0]
    # A server that is started there has them, too.
    told = """sh -c 'echo "$CHAT_API_KEY"; echo "$CHAT_API_KEYS"'"""
    secret, setting = shell(f"{commands}\n{told}").split()
    return {"CHAT_API_KEY": secret, "CHAT_API_KEYS": setting}


def alike(shown: Any, told: Any) -> Any:
    """What is told, with the IDs that are shown in place of those that are new each time."""
    if isinstance(shown, dict) and isinstance(told, dict):
        return {name: alike(shown.get(name), value) for name, value in told.items()}
    if isinstance(shown, list) and isinstance(told, list):
        return [alike(*pair) for pair in zip(shown, told, strict=True)]
    return shown if shown != told and is_id(shown) and is_id(told) else told


def is_id(value: Any) -> bool:
    try:
        return bool(UUID(value))
    except (ValueError, AttributeError, TypeError):
        return False


def tried(server: ServerProcess, command: str, key: str) -> Any:
    """What an example prints, asked of a server."""
    where = "http://127.0.0.1:8000/api/chat-api"
    assert where in command
    return json.loads(shell(command.replace(where, server.http), CHAT_API_KEY=key))


async def test_the_examples(start_server, shared_redis):
    """With a client in the lobby on both of two pods, each answer is the one that is shown."""
    made = keys()
    server = start_server(
        workers=2, REDIS_URL=shared_redis.url, CHAT_API_KEYS=made["CHAT_API_KEYS"]
    )
    examples = EXAMPLE.findall(PAGE.text)
    assert len(examples) == len(PAGE.code_blocks("sh")) - 1
    async with on_pods(server, 2, "lobby"), backend(server.http, made["CHAT_API_KEY"]) as program:

        async def is_told() -> bool:
            return (await program.get("/room", name="lobby")).json()["sessions"] == 2

        await eventually(is_told, "the pods know each other")
        for command, answer in examples:
            shown = json.loads(answer)
            if "duplicate" in answer:  # which it is the second time
                await asyncio.to_thread(tried, server, command, made["CHAT_API_KEY"])
            told = await asyncio.to_thread(tried, server, command, made["CHAT_API_KEY"])
            assert alike(shown, told) == shown, command
