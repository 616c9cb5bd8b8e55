"""What the log of clients costs those whom nobody wants logged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sanic_chat import create_app
from sanic_chat.config.settings import Config
from sanic_chat.pod.client_log import AddressedSession, LoggedSession
from sanic_chat.session.session import Session

from ..support.harness import RedisProcess
from ..support.serving import client_of, serving


@asynccontextmanager
async def session_of(redis: RedisProcess, **settings: Any) -> AsyncIterator[tuple[Session, Any]]:
    app = create_app(config=Config(redis_url=redis.url, **settings))
    async with serving(app), client_of(app) as client:
        assert (await client.request("/ws/lobby"))[0] == 101
        (session,) = app.ctx.worker.pod.heartbeat.sessions()
        yield session, app.ctx.worker.pod


@pytest.mark.usefixtures("in_process")
async def test_who_asks_for_nothing_pays_nothing(shared_redis: RedisProcess) -> None:
    """A session that is not logged is a plain one, whose handler is the pod itself."""
    async with session_of(shared_redis) as (session, pod):
        assert type(session) is Session
        assert session.handler is pod
    async with session_of(shared_redis, trusted_proxies=("unix",)) as (session, pod):
        assert type(session) is AddressedSession
        assert session.handler is pod
    async with session_of(shared_redis, log_clients=True) as (session, pod):
        assert type(session) is LoggedSession
        assert session.handler is not pod
    assert not hasattr(session, "__dict__")
