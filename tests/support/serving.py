"""Applications that are served in the test's own process and loop, over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from sanic import Sanic
from sanic.server import HttpProtocol

from sanic_chat import create_app
from sanic_chat.app import ChatServer
from sanic_chat.config.settings import Config
from sanic_chat.upgrade.fast_path import FastPathProtocol

from .clients import RawClient
from .harness import RedisProcess, free_port

App = Sanic[Any, Any]


@asynccontextmanager
async def serving(
    app: App, protocol: type[FastPathProtocol | HttpProtocol] = FastPathProtocol
) -> AsyncIterator[None]:
    """Serve an application, on `app.ctx.port`; use with the fixture `in_process`."""
    app.ctx.port = free_port()
    server = await app.create_server(
        host="127.0.0.1",
        port=app.ctx.port,
        protocol=protocol,
        return_asyncio_server=True,
    )
    assert server is not None
    await server.startup()
    await server.before_start()
    if isinstance(app, ChatServer):
        app.ctx.worker.http_connections = server.connections
    await server.after_start()
    try:
        yield
    finally:
        await server.before_stop()
        server.close()
        await server.wait_closed()
        await server.after_stop()
        Sanic.unregister_app(app)


def client_of(app: App) -> RawClient:
    """A client of an application that is served; it needs no task."""
    return RawClient(SimpleNamespace(port=app.ctx.port, tls=None))  # type: ignore[arg-type]


@asynccontextmanager
async def chat(
    redis: RedisProcess, protocol: type[FastPathProtocol | HttpProtocol], **settings: Any
) -> AsyncIterator[ChatServer]:
    """Serve a chat with these settings."""
    app = create_app(config=Config(redis_url=redis.url, **settings))
    async with serving(app, protocol):
        yield app
