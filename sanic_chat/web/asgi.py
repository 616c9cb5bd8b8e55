"""The refusal to run under an ASGI server, whose sockets are not ours.

May live here: what is said to such a server, and to its clients. Must not know how ours is started.
"""

from __future__ import annotations

from typing import Any

import ujson

NOT_ASGI = (
    "sanic_chat is a server of its own and no ASGI application: start it with "
    "`sanic server:app --workers N`"
)


async def refuse_asgi(scope: Any, send: Any) -> None:
    """Answer an ASGI server so that it ends, and one that goes on with an error for each client."""
    if scope["type"] == "lifespan":
        await send({"type": "lifespan.startup.failed", "message": NOT_ASGI})
    elif scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1011, "reason": NOT_ASGI})
    else:  # a server that was told to skip the lifespan
        body = ujson.dumps({"code": "no_asgi", "message": NOT_ASGI}).encode()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 500, "headers": headers})
        await send({"type": "http.response.body", "body": body})
