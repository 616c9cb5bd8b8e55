"""The peer: a chat as Sanic's and redis-py's own documentation would have one write it.

`@app.websocket`, one `ws.send` per member, one redis-py PUBLISH per message, one redis-py pub/sub
reader. No validation, limits or stats. Serves the same paths as sanic_chat, so the same load runs
against both.
"""

import os
from collections import defaultdict
from typing import Any

import redis.asyncio
from sanic import Request, Sanic, Websocket
from websockets.exceptions import ConnectionClosed

app = Sanic("stock_sanic")
rooms: defaultdict[str, set[Websocket]] = defaultdict(set)


@app.before_server_start
async def connect_redis(app: Sanic[Any, Any]) -> None:
    # With the default pool of 100 connections clients are dropped under load.
    app.ctx.redis = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"], max_connections=10_000)
    app.ctx.pubsub = app.ctx.redis.pubsub()
    await app.ctx.pubsub.psubscribe("stock_sanic:room:*")
    app.add_task(deliver(app), name="deliver")


async def deliver(app: Sanic[Any, Any]) -> None:
    """Send what Redis brings to every member of its room."""
    async for message in app.ctx.pubsub.listen():
        if message["type"] != "pmessage":
            continue
        room = message["channel"].decode().removeprefix("stock_sanic:room:")
        text = message["data"].decode()
        for member in tuple(rooms[room]):
            try:  # noqa: SIM105 - a `with` for each delivery is slower
                await member.send(text)
            except ConnectionClosed:
                pass  # its own handler takes it out of the room


@app.websocket("/api/chat-api/ws/<room>")
async def chat(request: Request, ws: Websocket, room: str) -> None:
    rooms[room].add(ws)
    try:
        async for text in ws:
            await request.app.ctx.redis.publish(f"stock_sanic:room:{room}", text)
    finally:
        rooms[room].discard(ws)
