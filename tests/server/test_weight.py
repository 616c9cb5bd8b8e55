"""What a session weighs in a worker, beside its socket in the kernel (docs/auth.md has figures)."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import jwt

from ..support.clients import RawClient, running_server
from ..support.harness import RedisProcess, ServerProcess, memory

SECRET = "an-example-secret-of-more-than-32-bytes"
SESSIONS = 1500
WARM_UP = 300
"""Opened and closed before the first look: what they grow is the process's, not a session's."""

COMMON_RULES = [
    {"room": "lobby", "allow": ["join", "publish", "presence"]},
    *({"match": f"team-{number}:*", "allow": ["join", "publish"]} for number in range(8)),
]


def equal_rules(number: int) -> list[dict[str, Any]]:
    """Ten rules, the same for all users."""
    return [*COMMON_RULES, {"room": "news", "allow": ["join"]}]


def own_rules(number: int) -> list[dict[str, Any]]:
    """Ten rules, of which one is another for each user."""
    return [*COMMON_RULES, {"room": f"user:{number}", "allow": ["join"]}]


def open_session(
    server: ServerProcess, number: int, rules: Callable[[int], list[dict[str, Any]]]
) -> socket.socket:
    """A user's session in the lobby, with a token that ends."""
    claims = {"sub": f"user-{number:08}", "exp": int(time.time()) + 3600, "rooms": rules(number)}
    token = jwt.encode(claims, SECRET, algorithm="HS256")
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(RawClient.handshake("/ws/lobby", Authorization=f"Bearer {token}"))
    assert connection.recv(4096).startswith(b"HTTP/1.1 101 ")
    return connection


async def test_a_session_with_a_token(shared_redis: RedisProcess) -> None:
    """With its entries among users and tokens, and its permissions, it takes 3 KB at most if others
    have the same rules, and one more if it has some of its own."""
    with (
        running_server(
            REDIS_URL=shared_redis.url,
            AUTH_ENABLED="1",
            AUTH_SECRET=SECRET,
            CHAT_HEARTBEAT_TIMEOUT="3600",
        ) as server,
        ExitStack() as sessions,
    ):
        for number in range(WARM_UP):
            open_session(server, number, own_rules).close()
        for rules, bound in ((equal_rules, 3 * 1024), (own_rules, 4 * 1024)):
            await asyncio.sleep(1)  # whatever comes later is not the sessions'
            before = memory(server.pid)
            for number in range(SESSIONS):
                sessions.enter_context(open_session(server, number, rules))
            grown = (memory(server.pid) - before) / SESSIONS
            print(f"{rules.__name__}: {grown:.0f} bytes a session")
            assert 1024 < grown < bound
