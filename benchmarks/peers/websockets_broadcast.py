"""The peer: `broadcast()` of the websockets package, with redis-py's pub/sub, on uvloop.

As the documentation's "Broadcasting messages" has it: `broadcast` skips clients that lag. No
validation, limits or stats.
"""

import argparse
import os
from collections import defaultdict

import redis.asyncio
import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

rooms: defaultdict[str, set[ServerConnection]] = defaultdict(set)
publisher: redis.asyncio.Redis


async def deliver() -> None:
    """Broadcast what Redis brings."""
    async with redis.asyncio.Redis.from_url(os.environ["REDIS_URL"]).pubsub() as pubsub:
        await pubsub.psubscribe("websockets:room:*")
        print(f"Worker ready [{os.getpid()}]", flush=True)
        async for message in pubsub.listen():
            if message["type"] == "pmessage":
                room = message["channel"].decode().removeprefix("websockets:room:")
                broadcast(rooms[room], message["data"].decode())


async def chat(client: ServerConnection) -> None:
    """Publish what a client sends."""
    assert client.request is not None
    room = client.request.path.rpartition("/")[2]
    rooms[room].add(client)
    try:
        async for text in client:
            await publisher.publish(f"websockets:room:{room}", text)
    finally:
        rooms[room].discard(client)


async def main(port: int) -> None:
    global publisher
    publisher = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"], max_connections=10_000)
    async with serve(chat, "127.0.0.1", port, backlog=4096):
        await deliver()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(main(parser.parse_args().port))
