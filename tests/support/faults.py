"""What can go wrong between pods and Redis: real processes, a real network in between.

Each fault is an asynchronous context manager: it strikes, and lasts until its end, from which on
Redis can be reached again. What is promised while it lasts and afterwards stands in
`fault_run.py`; `test_redis_faults.py` insists on it, `benchmarks/studies/faults.py` measures it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import redis.asyncio

from .harness import DEADLINE, RedisProcess, eventually, is_alive
from .proxy import Direction
from .stage import PASSWORD, Stage

KILLS = 100
JUNK = b"x" * 8192
"""No envelope: a pod reads it, and drops it. (Valkey 9.1 does not count what is much larger in a
client's output buffer.)"""

JUNK_BURST = 128
OUTPUT_BUFFER = 1024 * 1024


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
    forgets: bool = False
    """Whether the Redis that is there afterwards may not know what was noted just before."""
    stops_a_pod: bool = False
    """Whether a pod itself stands still, and answers nobody."""
    rate: float = 50
    """Messages a second that each pod's clients say meanwhile."""


FAULTS: list[Fault] = []


def fault(name: str, **special: Any) -> Callable[[Callable[[Stage], AsyncIterator[None]]], None]:
    """Add a fault to the table."""

    def add(inflict: Callable[[Stage], AsyncIterator[None]]) -> None:
        FAULTS.append(Fault(name, asynccontextmanager(inflict), **special))

    return add


# -- Redis itself ----------------------------------------------------------------------------


@fault("`kill -9`, restart", forgets=True)
async def killed(stage: Stage) -> AsyncIterator[None]:
    stage.redis.kill()
    yield
    await asyncio.sleep(stage.settings.down)
    stage.redis.start()


@fault("shut down for longer than publishes wait, restarted empty", forgets=True)
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
        assert log.count("WRONGPASS") <= 3 + 3 * (time.monotonic() - began)  # of each link
        assert PASSWORD not in log


# -- Redis says no ---------------------------------------------------------------------------


async def _answers(admin: redis.asyncio.Redis, error: str) -> None:
    """Wait until a PING is answered with that error."""

    async def refused() -> bool:
        try:
            await admin.ping()
        except redis.asyncio.RedisError as answer:
            return error in f"{type(answer).__name__} {answer}"
        return False

    await eventually(refused, f"Redis says {error}")


@fault("full disk: `MISCONF` is the answer to writes and PINGs", is_told=False, is_lossy=False)
async def disk_full(stage: Stage) -> AsyncIterator[None]:
    blocker = stage.redis.directory / "dump.rdb"
    blocker.mkdir()
    async with stage.admin() as admin:
        await admin.config_set("save", "3600 1")
        await admin.bgsave()
        await _answers(admin, "MISCONF")
        await asyncio.sleep(1.5 * stage.settings.redis_timeout)
        yield
        await admin.config_set("save", "")
    blocker.rmdir()


@fault("a script runs: `BUSY` is the answer to everything", is_lossy=False)
async def busy(stage: Stage) -> AsyncIterator[None]:
    async with stage.admin() as admin, stage.admin() as other:
        await admin.config_set("lua-time-limit", "20")
        script = asyncio.create_task(other.execute_command("EVAL", "while true do end", "0"))
        try:
            await _answers(admin, "BUSY")
            yield
            await asyncio.sleep(stage.settings.down)
        finally:
            await admin.script_kill()
            with suppress(redis.asyncio.RedisError):
                await script


@fault("`kill -9`, restart with a dataset that takes seconds to load", forgets=True)
async def loading(stage: Stage) -> AsyncIterator[None]:
    async with stage.admin() as admin:
        for number in range(100):
            await admin.set(f"key-{number}", os.urandom(1024))
        await admin.save()
    stage.struck_at = time.monotonic()
    stage.redis.kill()
    yield
    await asyncio.sleep(stage.settings.down)
    stage.redis.start(
        "--key-load-delay", "30000", "--loading-process-events-interval-bytes", "1024"
    )
    (stage.redis.directory / "dump.rdb").unlink()


# On a busy machine a canary may be late before the replica is found out.
@fault(
    "failover: the old primary is a replica, and keeps its connections",
    is_single=False,
    forgets=True,
)
async def failed_over(stage: Stage) -> AsyncIterator[None]:
    old = stage.redis
    new = RedisProcess("--requirepass", PASSWORD, "--masterauth", PASSWORD)
    stage.retired.append(new)  # for the case that it does not become more
    new.start("--replicaof", f"127.0.0.1 {old.port}")  # and not if it is started again
    async with stage.admin() as admin, redis.asyncio.Redis(port=new.port, password=PASSWORD) as own:

        async def is_in_sync() -> bool:
            return bool((await own.info("replication"))["master_link_status"] == "up")

        await eventually(is_in_sync, "the replica is in sync")
        stage.struck_at = time.monotonic()
        await own.execute_command("REPLICAOF", "NO", "ONE")
        await admin.execute_command("REPLICAOF", "127.0.0.1", new.port)
    await stage.unready("wrong_redis")
    yield
    await asyncio.sleep(stage.settings.down)
    stage.retired.append(old)
    stage.redis = new
    stage.proxy.redis_port = new.port


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


@fault(
    "`client-output-buffer-limit pubsub` overrun by a pod that is stopped",
    hit=(1,),
    stops_a_pod=True,
)
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
