"""A primary and its replica, and a Sentinel that watches them: real processes."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from typing import Any

import redis.asyncio

from .harness import RedisProcess, eventually, free_port
from .proxy import TcpProxy

MASTER = "chat"
DOWN_MILLISECONDS = 500


class Replication:
    """Two servers, of which one is the other's replica."""

    def __init__(self, primary: RedisProcess, replica: RedisProcess) -> None:
        self.primary = primary
        self.replica = replica

    async def fail_over(self) -> None:
        """Exchange the two, as a managed Redis does: every connection stays."""
        self.primary, self.replica = self.replica, self.primary
        await execute(self.primary, "REPLICAOF", "NO", "ONE")
        await execute(self.replica, "REPLICAOF", "127.0.0.1", str(self.primary.port))
        await self.in_sync()

    async def in_sync(self) -> None:
        """Wait until the replica hears its primary."""

        async def is_up() -> bool:
            info = await execute(self.replica, "INFO", "replication")
            return bool(info.get("master_link_status") == "up")

        await eventually(is_up, "the replica is in sync")


async def execute(process: RedisProcess, *command: str) -> Any:
    """A command, as an administrator."""
    async with redis.asyncio.Redis(port=process.port, protocol=2, decode_responses=True) as admin:
        return await admin.execute_command(*command)


@contextmanager
def replication(
    program: str | None = None, *, without: tuple[str, ...] = ()
) -> Iterator[Replication]:
    """Start a primary and a replica, which do not know some commands."""
    options = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]
    for command in without:
        options += ["--rename-command", command, ""]
    with closing(RedisProcess(*options, program=program)) as primary:
        primary.start()
        replica = RedisProcess(
            *options, "--replicaof", f"127.0.0.1 {primary.port}", program=program
        )
        with closing(replica):
            replica.start()
            yield Replication(primary, replica)


class Sentinel:
    """A Sentinel that alone decides."""

    def __init__(self, watched: Replication) -> None:
        self.port = free_port()
        self._watched = watched

    def __enter__(self) -> Sentinel:
        primary = self._watched.primary
        configuration = primary.directory / "sentinel.conf"
        configuration.write_text(
            f"port {self.port}\n"
            "bind 127.0.0.1\n"
            f"sentinel monitor {MASTER} 127.0.0.1 {primary.port} 1\n"
            f"sentinel down-after-milliseconds {MASTER} {DOWN_MILLISECONDS}\n"
            f"sentinel failover-timeout {MASTER} 5000\n"
        )
        self._process = subprocess.Popen(
            [primary.program, str(configuration), "--sentinel"],
            cwd=primary.directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    async def execute(self, *command: str) -> Any:
        """What it answers to `SENTINEL …`."""
        async with redis.asyncio.Redis(port=self.port, decode_responses=True) as client:
            return await client.execute_command("SENTINEL", *command)

    async def knows_the_replica(self) -> None:
        """Wait until it could fail over."""

        async def knows() -> bool:
            with suppress(redis.RedisError):
                answer = await self.execute("CKQUORUM", MASTER)
                replicas = await self.execute("REPLICAS", MASTER)
                return bool(answer) and len(replicas) == 1
            return False

        await eventually(knows, "the Sentinel knows the replica")

    async def primary_port(self) -> int:
        """Where it says that the primary is."""
        async with redis.asyncio.Redis(port=self.port, decode_responses=True) as client:
            _, port = await client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", MASTER)
        return int(port)

    @asynccontextmanager
    async def followed_by(self, proxy: TcpProxy) -> AsyncIterator[None]:
        """Have a proxy lead to the primary, whoever that is."""

        is_over = False

        async def follow() -> None:
            while not is_over:
                proxy.redis_port = await self.primary_port()
                await asyncio.sleep(0.1)

        task = asyncio.create_task(follow())
        try:
            yield
        finally:
            is_over = True  # not cancelled, which redis-py leaves sockets open for
            await task
