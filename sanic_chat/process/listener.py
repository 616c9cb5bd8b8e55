"""The listening sockets of a worker, which it can leave to others before its own end.

    Sanic ─→ loop.create_server ─→ Listener ─→ (a successor serves) ─→ close

All workers accept from one socket, so one that leaves it refuses nobody: who connects waits there
for another.

What it touches of Sanic's inside: `sanic.worker.serve._serve_http_1`, which has the loop among its
arguments and calls its `create_server`.
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import Any

from sanic.worker import serve


class Listener:
    """Knows the servers of this process's loop, made from `watch` on.

    No HTTP protocol sees a connection before its TLS handshake is over, which is bounded here, to
    `handshake_timeout` seconds.
    """

    def __init__(self, *, handshake_timeout: float) -> None:
        self._handshake_timeout = handshake_timeout
        self._servers: list[asyncio.Server] = []
        self._closed = False

    def watch(self) -> None:
        """Be told of the servers that Sanic makes in this process."""
        serve._serve_http_1 = partial(self._serve, serve._serve_http_1)  # type: ignore[attr-defined]

    def close(self) -> None:
        """Accept no more connections; those that are accepted go on.

        A Unix socket is left open: each worker has its own, and the path is that of the newest.
        Whoever is in an older one's queue still waits for its worker.
        """
        self._closed = True
        for server in self._servers:
            if not any(each.family == socket.AF_UNIX for each in server.sockets):
                server.close()

    def _serve(self, serve: Any, *arguments: Any) -> None:
        [loop] = [each for each in arguments if isinstance(each, asyncio.AbstractEventLoop)]
        loop.create_server = partial(self._create, loop.create_server)  # type: ignore[method-assign]
        serve(*arguments)

    async def _create(self, create: Any, *arguments: Any, **settings: Any) -> asyncio.Server:
        if settings.get("ssl"):
            settings["ssl_handshake_timeout"] = self._handshake_timeout
        server: asyncio.Server = await create(*arguments, **settings)
        self._servers.append(server)
        if self._closed:
            self.close()
        return server
