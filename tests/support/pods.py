"""Pods in the test's own process and loop, over a real Redis and without a listening socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sanic_chat.cluster.cluster import Cluster
from sanic_chat.config.settings import Config
from sanic_chat.pod.pod import Pod
from sanic_chat.pod.rooms import Wanted
from sanic_chat.protocol.identity import Identity
from sanic_chat.session.session import Session
from sanic_chat.tokens import make_authenticator
from sanic_chat.worker import Worker

from .harness import RedisProcess, eventually


def make_pod(redis: RedisProcess, **settings: str) -> Pod:
    """A pod that has not been started; settings are variables of the environment."""
    config = Config.from_environment(settings)
    authenticator = make_authenticator(config)
    return Worker(config, redis_url=redis.url, name="test", authenticator=authenticator).pod


@asynccontextmanager
async def running_pods(
    redis: RedisProcess, count: int, **settings: str
) -> AsyncIterator[list[Pod]]:
    """So many pods, each of which has heard the others. Those that a test has closed stay so."""
    pods = [make_pod(redis, **settings) for _ in range(count)]
    for pod in pods:
        await pod.start()
    try:
        await know_each_other(pods)
        yield pods
    finally:
        for pod in pods:
            if not pod.control.is_closed:
                await pod.close(1.0)


async def know_each_other(pods: list[Pod]) -> None:
    """Wait until each pod has heard all others."""
    ids = {pod.id for pod in pods}
    await eventually(
        lambda: all(pod.control.living() >= ids - {pod.id} for pod in pods),
        "the pods hear each other",
    )


class Crowd:
    """Two pods, and the sessions that a test opens on them."""

    def __init__(self, pods: list[Pod]) -> None:
        self.pods = pods
        self.sessions: list[Session] = []
        self.sockets: list[socket.socket] = []

    @property
    def cluster(self) -> Cluster:
        """All pods, as the first one sees them."""
        return self.pods[0].cluster

    async def open(self, pod: int, *rooms: str, identity: Identity | None = None) -> Session:
        """A session on one of the pods, in these rooms."""
        here = self.pods[pod]
        client_id = here.new_client_id()
        session = Session(
            here,
            client_id=client_id,
            identity=identity,
        )
        ours, theirs = socket.socketpair()
        await asyncio.get_running_loop().create_connection(lambda: session, sock=ours)
        wanted = [Wanted(room, presence=False) for room in rooms]
        await here.rooms.subscribe(wanted)
        here.open(session, wanted, default=rooms[0] if rooms else None, confirmed=True)
        self.sessions.append(session)
        self.sockets.append(theirs)
        return session

    async def clear(self) -> None:
        """Let all sessions go."""
        for session, client in zip(self.sessions, self.sockets, strict=True):
            session.abort()
            client.close()
        for pod in self.pods:
            await pod.closed_sessions.wait()
