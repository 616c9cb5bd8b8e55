"""A Redis, a proxy before it and two servers behind it, for what can go wrong between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

import httpx
import redis.asyncio

from .backend import WITH_API
from .harness import DEADLINE, RedisProcess, ServerProcess, eventually
from .proxy import TcpProxy

PASSWORD = "correct-horse"


@dataclass(frozen=True)
class Settings:
    """The settings of the servers that a fault's length depends on, in seconds."""

    redis_timeout: float = 5.0
    proof_interval: float = 1.0
    queue_seconds: float = 10.0
    unsubscribe_delay: float = 5.0
    down: float = 2.0
    """How long what is down stays down."""
    pause: float = 4.0
    """How long Redis pauses: a proof is overdue by then, and a link does not give up yet."""

    @property
    def environment(self) -> dict[str, str]:
        """For the servers."""
        return {
            "CHAT_REDIS_TIMEOUT": str(self.redis_timeout),
            "CHAT_PROOF_INTERVAL": str(self.proof_interval),
            "CHAT_PUBLISH_QUEUE_SECONDS": str(self.queue_seconds),
            "CHAT_UNSUBSCRIBE_DELAY": str(self.unsubscribe_delay),
        }


class Stage:
    """A Redis, a proxy before it, and two servers of one worker each behind it."""

    def __init__(
        self,
        settings: Settings,
        redis_process: RedisProcess,
        proxy: TcpProxy,
        servers: list[ServerProcess],
    ) -> None:
        self.settings = settings
        self.redis = redis_process
        """The primary."""
        self.struck_at = 0.0
        """When the last fault struck; one that needs preparations says so itself."""
        self.retired: list[RedisProcess] = []
        """What was it before."""
        self.proxy = proxy
        self.servers = servers

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[redis.asyncio.Redis]:
        """A client of Redis, past the proxy."""
        async with redis.asyncio.Redis(port=self.redis.port, password=PASSWORD) as client:
            yield client

    async def unready(self, code: str | None) -> None:
        """Wait until both pods say that they are not ready, and why; None: that they are."""

        async def both() -> bool:
            async with httpx.AsyncClient(timeout=DEADLINE, verify=False) as http:
                answers = [await http.get(f"{server.http}/ready") for server in self.servers]
            return [answer.json().get("code") for answer in answers] == [code, code]

        await eventually(both, f"both pods say of their readiness: {code}")

    async def given_up(self) -> None:
        """Wait until both pods have given up all connections, which are silent from now on."""
        both_links = asyncio.create_task(asyncio.sleep(1.5 * self.settings.redis_timeout))
        await self.unready("no_redis")  # one of them is enough for that
        await both_links


@contextmanager
def stage(settings: Settings, *, absent: bool = False) -> Iterator[Stage]:
    """Set it up and take it down; `absent`: Redis is not there when the servers start."""
    redis_process = RedisProcess("--requirepass", PASSWORD, "--masterauth", PASSWORD)
    with ExitStack() as stack:
        stack.callback(redis_process.close)
        if not absent:
            redis_process.start()
        with TcpProxy(redis_process.port) as proxy:
            environment = {
                **settings.environment,
                **WITH_API,
                "REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:{proxy.port}",
            }
            servers = [ServerProcess("--single-process", environment=environment) for _ in range(2)]
            try:
                for server in servers:
                    server.wait_ready()
                set_up = Stage(settings, redis_process, proxy, servers)
                stack.callback(lambda: [one.close() for one in (set_up.redis, *set_up.retired)])
                yield set_up
                for server in servers:
                    server.stop()
            finally:
                for server in servers:
                    server.close()
