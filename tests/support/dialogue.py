"""What clients ask of the server and say, and what comes back for it."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from websockets.asyncio.client import ClientConnection

from .harness import receive


async def answer_to(client: ClientConnection, action: str, **fields: Any) -> dict[str, Any]:
    """The first event that answers a command; what comes before it is passed over."""
    id = str(uuid4())
    data = {"action": action, **fields}
    await client.send(json.dumps({"type": "system", "id": id, "data": data}))
    while True:
        message = await receive(client)
        if message["type"] == "system" and message["data"].get("id") == id:
            return dict(message["data"])


async def says(client: ClientConnection, **message: Any) -> dict[str, Any]:
    """What comes back for a message: the message itself, or an error."""
    await client.send(json.dumps({"id": str(uuid4()), "data": "hello", **message}))
    return await receive(client)


def is_refused(message: dict[str, Any], code: str) -> bool:
    """Whether a message is an error of this code."""
    return message["type"] == "system" and message["data"]["code"] == code
