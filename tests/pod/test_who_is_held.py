"""Backpressure holds who fills a room that is behind, and nobody who speaks elsewhere."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from sanic_chat.config.settings import Config
from sanic_chat.pod.load import CHANNEL_BACKLOG_BYTES
from sanic_chat.pod.pod import Pod
from sanic_chat.pod.rooms import Wanted
from sanic_chat.session.session import Session
from sanic_chat.worker import Worker

from ..support.harness import RedisProcess

MESSAGE = b'{"data": "hello"}'


class Two:
    """A pod with two clients, each in a room of its own."""

    def __init__(self, pod: Pod) -> None:
        self.pod = pod
        self.sessions: list[Session] = []
        self.sockets: list[socket.socket] = []

    async def open(self, room: str) -> Session:
        ours, theirs = socket.socketpair()
        session = Session(self.pod, client_id="anna")
        await asyncio.get_running_loop().create_connection(lambda: session, sock=ours)
        self.pod.open(session, [Wanted(room, presence=False)], default=room, confirmed=True)
        self.sessions.append(session)
        self.sockets.append(theirs)
        return session

    def held(self) -> list[bool]:
        """Each says something; who is held for it."""
        for session in self.sessions:
            self.pod.message_received(session, MESSAGE)
        return [session.is_held for session in self.sessions]


@pytest.fixture
async def two(shared_redis: RedisProcess) -> AsyncIterator[Two]:
    pod = Worker(Config.from_environment({}), redis_url=shared_redis.url, name="test").pod
    two = Two(pod)
    for room in ("behind", "elsewhere"):
        await two.open(room)
    yield two
    pod.backpressure.close()
    for session, client in zip(two.sessions, two.sockets, strict=True):
        session.abort()
        client.close()
    await pod.closed_sessions.wait()


async def test_nobody_while_the_pod_keeps_up(two: Two) -> None:
    assert two.held() == [False, False]


async def test_who_speaks_in_a_room_that_is_behind(two: Two) -> None:
    """While too much is held, who speaks in a room with a fan-out under way waits."""
    limit = Config.from_environment({}).backpressure_bytes
    room = two.sessions[0].default_channel
    assert room is not None
    two.pod.hub.held_bytes += limit + 1
    room.fan_outs += 1
    try:
        assert two.held() == [True, False]
    finally:
        room.fan_outs -= 1
        two.pod.hub.held_bytes -= limit + 1


async def test_everybody_when_twice_as_much_is_held(two: Two) -> None:
    limit = Config.from_environment({}).backpressure_bytes
    two.pod.hub.held_bytes += 2 * limit + 1
    try:
        assert two.held() == [True, True]
    finally:
        two.pod.hub.held_bytes -= 2 * limit + 1


async def test_who_speaks_in_a_room_with_a_backlog(two: Two) -> None:
    """However little the pod holds in all."""
    room = two.sessions[0].default_channel
    assert room is not None
    two.pod.hub.deliver(room, b"x" * (CHANNEL_BACKLOG_BYTES + 1))
    assert two.held() == [True, False]
