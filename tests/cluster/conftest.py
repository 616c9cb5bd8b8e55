"""Fixtures: pods with sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ..support.harness import RedisProcess
from ..support.pods import Crowd, running_pods


@pytest.fixture
async def crowd(shared_redis: RedisProcess, room: str) -> AsyncIterator[Crowd]:
    """The sessions of two pods that nobody else shares anything with."""
    async with running_pods(shared_redis, 2, CHAT_REDIS_PREFIX=room[-12:]) as pods:
        crowd = Crowd(pods)
        yield crowd
        await crowd.clear()
