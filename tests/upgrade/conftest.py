"""Fixtures: an application over sockets, and what of its connections Sanic gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sanic_chat.app import ChatServer
from sanic_chat.upgrade.fast_path import FastPathProtocol
from sanic_chat.upgrade.sanic_http import ChatHttpProtocol

from ..support.harness import RedisProcess
from ..support.serving import chat


@pytest.fixture
async def app(shared_redis: RedisProcess) -> AsyncIterator[ChatServer]:
    async with chat(shared_redis, FastPathProtocol) as app:
        yield app


@pytest.fixture
def by_sanic(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was handed to Sanic, connection by connection."""
    handed: list[bytes] = []
    take_over = ChatHttpProtocol.take_over

    def recorded(
        self: ChatHttpProtocol, transport: asyncio.Transport, data: bytes, **more: Any
    ) -> None:
        handed.append(data)
        take_over(self, transport, data, **more)

    monkeypatch.setattr(ChatHttpProtocol, "take_over", recorded)
    return handed
