"""Memory of idle connections in the worker.

python -m benchmarks.idle --connections 5000
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
from contextlib import closing

import uvloop

from tests.harness import RedisProcess, ServerProcess, eventually

from .fanout import COMMANDS
from .load import open_clients
from .processes import resident_bytes

WARM_UP_CONNECTIONS = 200
"""Opened and closed before the first look: what they grow is the process's, not a connection's."""


async def measure(name: str, connections: int, redis_url: str) -> float:
    """KiB of worker memory per idle connection of one system."""
    server = ServerProcess(
        "--workers", "1", command=COMMANDS[name], environment={"REDIS_URL": redis_url}
    )
    with closing(server):
        server.wait_ready()
        (worker,) = server.worker_pids
        path = "/api/chat-api/ws/idle"
        for client in await open_clients(WARM_UP_CONNECTIONS, path=path, port=server.port):
            client.close()
        await asyncio.sleep(1)
        before = resident_bytes(worker)
        clients = await open_clients(connections, path=path, port=server.port)
        await asyncio.sleep(2)
        after = resident_bytes(worker)
        assert not any(client.closed for client in clients)
        for client in clients:
            client.close()
        await eventually(lambda: all(client.closed for client in clients), "clients are closed")
        return (after - before) / connections / 1024


async def run(connections: int) -> None:
    with closing(RedisProcess()) as redis:
        redis.start()
        for name in COMMANDS:
            print(f"{name:12} {await measure(name, connections, redis.url):6.2f} KiB", flush=True)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--connections", type=int, default=5000)
    options = parser.parse_args()
    limit = options.connections + 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < limit:
        if hard != resource.RLIM_INFINITY and hard < limit:
            sys.exit(f"needs {limit} file descriptors, and only {hard} are allowed: ulimit -n")
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    print(f"worker memory per idle connection, {options.connections} connections")
    uvloop.run(run(options.connections))


if __name__ == "__main__":
    main()
