"""Clients that move as drains tell them: whenever they have a connection, they miss nothing."""

from __future__ import annotations

import asyncio
import json
import time

from redis.asyncio import Redis

from ..support.backend import WITH_API, drain
from ..support.crowd import Listener, Refused, connect, some_at_a_time
from ..support.harness import RedisProcess, StartServer, eventually

CLIENTS = 150
PACE = 0.02
OVERLAP = 0.5
"""Seconds from a client's moment to the close frame."""


class Mover:
    """A client that connects anew in its moment, and leaves the old connection to the server."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._path = path
        self.connections: list[tuple[float, Listener]] = []
        """When each had its 101 (`time.time()`)."""
        self._moves: list[asyncio.Task[None]] = []

    @property
    def is_moving(self) -> bool:
        """Whether it is between two connections, or has both."""
        return sum(listener.is_open for _, listener in self.connections) != 1

    async def connect(self) -> None:
        """Connect, as often as it takes."""
        while True:
            try:
                listener = await connect(self._port, self._path)
                break
            except (Refused, OSError):
                await asyncio.sleep(0.1)
        self.connections.append((time.time(), listener))
        listener.on_drain = lambda it: self._moves.append(asyncio.create_task(self._move(it)))

    async def _move(self, told: Listener) -> None:
        assert told.drain is not None
        await asyncio.sleep(told.drain.reconnect_at - time.time())
        await self.connect()

    async def close(self) -> None:
        """Drop its connections."""
        await asyncio.gather(*self._moves)
        for _, listener in self.connections:
            listener.abort()
            await listener.ended

    def missed(self, sent: list[tuple[float, float]]) -> list[int]:
        """The messages that it has not got though it had a connection from before to after them."""
        got = {number for _, listener in self.connections for number in listener.numbers["n"]}
        return [
            number
            for number, (began, ended) in enumerate(sent)
            if number not in got
            and any(at < began and ended < until(it) for at, it in self.connections)
        ]


def until(listener: Listener) -> float:
    """The moment until which what Redis has for a connection has to come, and a bit before it."""
    drain = listener.drain
    return float("inf") if drain is None else drain.reconnect_at + OVERLAP / 2


async def publish(redis: Redis, room: str, sent: list[tuple[float, float]]) -> None:
    """Publish numbered messages, and note for each when that began and when Redis had it."""
    while True:
        began = time.time()
        await redis.publish(f"realtime:room:{room}", json.dumps({"data": f"n{len(sent)}"}))
        sent.append((began, time.time()))
        await asyncio.sleep(PACE)


async def test_two_drains_at_once(
    start_server: StartServer, shared_redis: RedisProcess, room: str
) -> None:
    """Whoever has a connection loses nothing, though both workers of a server go."""
    server = start_server(workers=2, REDIS_URL=shared_redis.url, **WITH_API)
    pods = await server.connect_to_pods(2)
    await asyncio.gather(*(client.close() for client in pods.values()))
    movers = [Mover(server.port, f"/ws/{room}?events=system") for _ in range(CLIENTS)]
    await some_at_a_time(mover.connect() for mover in movers)
    sent: list[tuple[float, float]] = []
    async with Redis.from_url(shared_redis.url) as redis:
        publishing = asyncio.create_task(publish(redis, room, sent))
        await asyncio.gather(*(drain(server.http, pod_id) for pod_id in pods))
        await eventually(
            lambda: all(f"{pod_id}: draining" in server.log for pod_id in pods), "both drain"
        )
        await eventually(
            lambda: all(len(it.connections) > 1 and not it.is_moving for it in movers), "all moved"
        )
        number = len(sent)
        await eventually(lambda: len(sent) > number + 1, "a message that all get is sent")
        publishing.cancel()
        await asyncio.wait([publishing])
    last = len(sent) - 1
    await eventually(
        lambda: all(last in it.connections[-1][1].numbers["n"] for it in movers),
        "all have got the last message",
    )
    await asyncio.gather(*(mover.close() for mover in movers))
    assert [missed for mover in movers if (missed := mover.missed(sent))] == []
