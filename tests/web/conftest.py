"""Fixtures: clients of applications in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from ..support.apps import ReusableClient, running_app
from ..support.harness import RedisProcess


@pytest.fixture(scope="module")
def client(shared_redis: RedisProcess) -> Iterator[ReusableClient]:
    with running_app(shared_redis) as client:
        yield client


@pytest.fixture
def run_app(shared_redis: RedisProcess) -> Iterator[Callable[..., ReusableClient]]:
    """Make clients of applications with other settings."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(running_app(shared_redis, **settings))
