"""What can go wrong between pods and Redis: real processes, a real network in between.

Each fault is an asynchronous context manager: it strikes, and lasts until its end, from which on
Redis can be reached again. What is promised while it lasts and afterwards stands in
`fault_run.py`; `test_redis_faults.py` insists on it, and `benchmarks/faults.py` measures it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import redis.asyncio

from .harness import DEADLINE, RedisProcess, ServerProcess, eventually, is_alive
from .proxy import Direction, TcpProxy

PASSWORD = "correct-horse"
KILLS = 100
JUNK = b"x" * 8192
"""No envelope: a pod reads it, and drops it. (Valkey 9.1 does not count what is much larger in a
client's output buffer.)"""

JUNK_BURST = 128
OUTPUT_BUFFER = 1024 * 1024


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
    with closing(RedisProcess("--requirepass", PASSWORD)) as redis_process:
        if not absent:
            redis_process.start()
        with TcpProxy(redis_process.port) as proxy:
            environment = {
                **settings.environment,
                "REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:{proxy.port}",
            }
            servers = [ServerProcess("--workers", "1", environment=environment) for _ in range(2)]
            try:
                for server in servers:
                    server.wait_ready()
                yield Stage(settings, redis_process, proxy, servers)
                for server in servers:
                    server.stop()
            finally:
                for server in servers:
                    server.close()


Inflict = Callable[[Stage], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """A fault, and what is special about it."""

    name: str
    inflict: Inflict
    back_within: float = 3.0
    """Seconds from the moment at which Redis can be reached."""
    is_told: bool = True
    """Whether clients that opted in hear `degraded` and `recovered`."""
    is_lossy: bool = True
    """Whether a subscriber's connection is lost, and clients hear of a `gap`."""
    hit: tuple[int, ...] = (0, 1)
    """Which pods it certainly hits."""
    is_single: bool = True
    """Whether it is one outage and no more."""
    is_reachable: bool = False
    """Whether Redis can be reached all the time, though not over the old connections."""
    is_absent: bool = False
    """Whether it lasts since before the servers started."""
    rate: float = 50
    """Messages a second that each pod's clients say meanwhile."""


FAULTS: list[Fault] = []


def fault(name: str, **special: Any) -> Callable[[Callable[[Stage], AsyncIterator[None]]], None]:
    """Add a fault to the table."""

    def add(inflict: Callable[[Stage], AsyncIterator[None]]) -> None:
        FAULTS.append(Fault(name, asynccontextmanager(inflict), **special))

    return add


# -- Redis itself ----------------------------------------------------------------------------


@fault("`kill -9`, restart")
async def killed(stage: Stage) -> AsyncIterator[None]:
    stage.redis.kill()
    yield
    await asyncio.sleep(stage.settings.down)
    stage.redis.start()


@fault("shut down for longer than publishes wait, restarted empty")
async def restarted_empty(stage: Stage) -> AsyncIterator[None]:
    stage.redis.signal(signal.SIGTERM)
    await eventually(lambda: not is_alive(stage.redis.pid), "Redis has ended")
    stage.redis.kill()
    yield
    await asyncio.sleep(stage.settings.queue_seconds + stage.settings.down)
    stage.redis.start()


@fault("absent at start-up", is_absent=True)
async def absent(stage: Stage) -> AsyncIterator[None]:
    await stage.unready("no_redis")
    yield
    stage.redis.start()


@fault("`CLIENT PAUSE`", is_lossy=False)
async def paused(stage: Stage) -> AsyncIterator[None]:
    async with stage.admin() as admin:
        await admin.client_pause(int(stage.settings.pause * 1000))
        yield
        await admin.ping()  # is answered when the pause is over


@fault("`SIGSTOP`, `SIGCONT` after the links gave up")
async def frozen(stage: Stage) -> AsyncIterator[None]:
    stage.redis.signal(signal.SIGSTOP)
    try:
        await stage.given_up()
        yield
        await asyncio.sleep(stage.settings.down)
    finally:
        stage.redis.signal(signal.SIGCONT)


@fault("wrong password, then the right one")
async def wrong_password(stage: Stage) -> AsyncIterator[None]:
    before = [len(server.log) for server in stage.servers]
    began = time.monotonic()
    async with stage.admin() as admin:
        await admin.config_set("requirepass", "another")
        for kind in ("pubsub", "normal"):
            await admin.client_kill_filter(_type=kind, skipme=True)
        await stage.unready("redis_refuses")
        for server, start in zip(stage.servers, before, strict=True):
            await eventually(lambda s=server, b=start: "WRONGPASS" in s.log[b:], "the log says why")
        yield
        await asyncio.sleep(stage.settings.down)
        await admin.config_set("requirepass", PASSWORD)
    for server, start in zip(stage.servers, before, strict=True):
        log = server.log[start:]
        assert log.count("WRONGPASS") <= 2 + 2 * (time.monotonic() - began)  # of both links
        assert PASSWORD not in log


# -- connections that Redis ends -------------------------------------------------------------


async def _subscribers(admin: redis.asyncio.Redis) -> list[str]:
    return [client["name"] for client in await admin.client_list(_type="pubsub")]


@fault(f"`CLIENT KILL TYPE pubsub`, {KILLS} times", is_single=False, rate=200)
async def subscribers_killed(stage: Stage) -> AsyncIterator[None]:
    async with stage.admin() as admin:

        async def both_are_back() -> bool:
            return len(await _subscribers(admin)) == 2

        for _ in range(KILLS - 1):
            assert await admin.client_kill_filter(_type="pubsub") == 2
            await eventually(both_are_back, "both pods have subscribed again")
        yield
        assert await admin.client_kill_filter(_type="pubsub") == 2


@fault("publishers' connections killed", is_lossy=False, rate=200)
async def publishers_killed(stage: Stage) -> AsyncIterator[None]:
    async with stage.admin() as admin:
        for client in await admin.client_list(_type="normal"):
            if client["name"].endswith(":publisher"):
                await admin.client_kill_filter(_id=client["id"])
        yield


@fault("`client-output-buffer-limit pubsub` overrun by a pod that is stopped", hit=(1,))
async def overrun(stage: Stage) -> AsyncIterator[None]:
    [pid] = stage.servers[1].worker_pids
    pod_id = stage.servers[1].pod()["pod_id"]
    async with stage.admin() as admin:
        [(_, limit)] = (await admin.config_get("client-output-buffer-limit")).items()
        await admin.config_set("client-output-buffer-limit", f"pubsub {OUTPUT_BUFFER} 0 0")
        os.kill(pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(DEADLINE):
                while any(pod_id in name for name in await _subscribers(admin)):
                    async with admin.pipeline(transaction=False) as burst:
                        for _ in range(JUNK_BURST):
                            burst.publish("realtime:global", JUNK)
                        await burst.execute()
        finally:
            os.kill(pid, signal.SIGCONT)
        yield
        await admin.config_set("client-output-buffer-limit", limit)


# -- the network -----------------------------------------------------------------------------


@fault("half-open: old connections silent for ever", is_reachable=True, back_within=10.0)
async def half_open(stage: Stage) -> AsyncIterator[None]:
    stage.proxy.silence()
    yield


@fault("black hole: connections are accepted, bytes lost")
async def swallowed(stage: Stage) -> AsyncIterator[None]:
    with stage.proxy.swallowing():
        await stage.given_up()
        yield
        await asyncio.sleep(stage.settings.down)


@fault("cut, and refused for a while")
async def refused(stage: Stage) -> AsyncIterator[None]:
    with stage.proxy.refusing():
        yield
        await asyncio.sleep(stage.settings.down)


def _directional(direction: Direction) -> None:
    @fault(f"bytes {direction.value} stall until the links give up")
    async def stalled(stage: Stage) -> AsyncIterator[None]:
        with stage.proxy.stalled(direction):
            await stage.given_up()
            yield
            await asyncio.sleep(stage.settings.down)

    @fault(f"bytes {direction.value} dribble", is_told=False, is_lossy=False, rate=10)
    async def slowed(stage: Stage) -> AsyncIterator[None]:
        with stage.proxy.dribbling(direction):
            await asyncio.sleep(stage.settings.pause)
            yield


for _direction in Direction:
    _directional(_direction)
