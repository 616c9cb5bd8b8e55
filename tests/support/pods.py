"""Pods in the test's own process and loop, over a real Redis and without a listening socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sanic_chat.config.settings import Config
from sanic_chat.pod.pod import Pod
from sanic_chat.worker import Worker

from .harness import RedisProcess, eventually


def make_pod(redis: RedisProcess, **settings: str) -> Pod:
    """A pod that has not been started; settings are variables of the environment."""
    config = Config.from_environment(settings)
    return Worker(config, redis_url=redis.url, name="test").pod


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
