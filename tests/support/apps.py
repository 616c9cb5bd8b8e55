"""Applications in this process, through Sanic's own test client."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from sanic import Sanic

from sanic_chat import Config, create_app

from .harness import RedisProcess, free_port

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports websockets.legacy
    from sanic_testing.reusable import ReusableClient

PREFIX = "/api/chat-api"


@contextmanager
def running_app(redis: RedisProcess, **settings: str) -> Iterator[ReusableClient]:
    """A client of an application in this process."""
    loop = asyncio.new_event_loop()
    app = create_app(config=Config(redis_url=redis.url, **settings))
    try:
        with ReusableClient(app, loop=loop, port=free_port()) as client:
            yield client
    finally:
        Sanic.unregister_app(app)
        Sanic.test_mode = False
        loop.close()


def assert_error(response, status: int, code: str) -> None:
    """The one shape of an error: a status, a code and a sentence."""
    assert response.status == status
    assert response.headers["content-type"] == "application/json"
    assert set(response.json) == {"code", "message"}
    assert response.json["code"] == code
    assert len(response.json["message"]) > 10
