"""A table of who is online, kept from what servers with CHAT_LIFECYCLE=1 tell on Redis.

REDIS_URL=redis://127.0.0.1:6379 python examples/who_is_online.py

Prints the users, a JSON array, whenever they change.
"""

import asyncio
import json
import os
import sys
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

CHANNEL = f"{os.environ.get('CHAT_REDIS_PREFIX', 'realtime')}:lifecycle"


class Table:
    """The sessions of each pod, and so the users who are online."""

    def __init__(self) -> None:
        self._pods: dict[str, dict[str, str]] = {}

    def apply(self, event: dict[str, Any]) -> None:
        """Note what a pod has told."""
        pod = event["pod_id"]
        match event["event"]:
            case "open":
                self._pods.setdefault(pod, {})[event["client_id"]] = event["user"]
            case "close":
                self._pods.get(pod, {}).pop(event["client_id"], None)
            case "pod_open":  # all its sessions are told next
                self._pods[pod] = {}
            case "pod_lost":
                self._pods.pop(pod, None)

    def users(self) -> set[str]:
        """Who has a session, on any pod."""
        return {user for sessions in self._pods.values() for user in sessions.values()}


async def follow(client: Redis, listener: PubSub) -> None:
    """Keep the table, and print it, for as long as there is a connection."""
    table, printed = Table(), None
    await listener.subscribe(CHANNEL)
    async for message in listener.listen():
        if message["type"] == "subscribe":  # at the start, and whenever Redis was away
            table = Table()
            await client.publish(f"{CHANNEL}:tell", "")
        elif message["type"] == "message":
            table.apply(json.loads(message["data"]))
            if (users := sorted(table.users())) != printed:
                printed = users
                print(json.dumps(users), flush=True)


async def main() -> None:
    """Follow, and begin anew whenever Redis is away."""
    url = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379")
    async with Redis.from_url(url, health_check_interval=10) as client:
        while True:
            try:
                async with client.pubsub() as listener:
                    await follow(client, listener)
            except (RedisError, OSError) as error:
                print(f"Redis is away: {error}", file=sys.stderr)
                await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main())
