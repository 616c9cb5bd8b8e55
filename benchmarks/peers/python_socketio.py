"""The peer: python-socketio with its Redis manager, under uvicorn, as its documentation has it."""

import os
from typing import Any
from urllib.parse import parse_qs

import socketio


async def ready() -> None:
    print(f"Worker ready [{os.getpid()}]", flush=True)


manager = socketio.AsyncRedisManager(os.environ["REDIS_URL"])
server = socketio.AsyncServer(async_mode="asgi", client_manager=manager)
app = socketio.ASGIApp(server, on_startup=ready)
rooms: dict[str, str] = {}


@server.event
async def connect(sid: str, environ: dict[str, Any]) -> None:
    (room,) = parse_qs(environ["QUERY_STRING"])["room"]
    rooms[sid] = room
    await server.enter_room(sid, room)


@server.event
async def message(sid: str, data: Any) -> None:
    await server.emit("message", data, room=rooms[sid])


@server.event
async def disconnect(sid: str, reason: str) -> None:
    del rooms[sid]
