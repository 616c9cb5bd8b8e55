"""The listening sockets of a worker, which it can leave to others before its own end.

    Sanic ─→ loop.create_server ─→ Listener ─→ (a successor serves) ─→ close
    main process ─→ listen_at ─→ socket_handle ─→ (each worker) socket_of ─→ Listener.add

All workers accept from one socket, so one that leaves it refuses nobody: who connects waits there
for another.

What it touches of Sanic's inside: `sanic.worker.serve._serve_http_1`, which has the loop among its
arguments and calls its `create_server`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from sanic.worker import serve

from ..errors import ConfigError


def listen_at(address: str, *, backlog: int) -> socket.socket:
    """Make a socket that listens at CHAT_ADMIN_LISTEN, `host:port`. Raises ConfigError."""
    host, _, port = address.rpartition(":")
    try:
        [(family, *_, where), *_] = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        return socket.create_server(where, family=family, backlog=backlog)
    except OSError as error:
        raise ConfigError(
            f"CHAT_ADMIN_LISTEN is {address!r}, where nobody can listen: {error.strerror or error}"
        ) from None


def socket_handle(sock: socket.socket) -> Connection:
    """Return what a process that is started gets of a socket of this one."""
    return Connection(os.dup(sock.fileno()))


def socket_of(handle: Connection) -> socket.socket:
    """Return the socket of a handle."""
    return socket.socket(fileno=os.dup(handle.fileno()))


class Listener:
    """Knows the servers of this process's loop, made from `watch` on.

    No HTTP protocol sees a connection before its TLS handshake is over, which is bounded here, to
    `handshake_timeout` seconds.
    """

    def __init__(self, *, handshake_timeout: float) -> None:
        self._handshake_timeout = handshake_timeout
        self._servers: list[asyncio.Server] = []
        self._closed = False
        self._second: tuple[type[asyncio.Protocol], socket.socket] | None = None

    def watch(self) -> None:
        """Be told of the servers that Sanic makes in this process."""
        serve._serve_http_1 = partial(self._serve, serve._serve_http_1)  # type: ignore[attr-defined]

    def add(self, protocol: type[asyncio.Protocol], sock: socket.socket) -> None:
        """Accept from a second socket too, in plain text; `protocol` has Sanic's arguments.

        To be called before Sanic's server is made.
        """
        self._second = protocol, sock

    def close(self) -> None:
        """Accept no more connections; those that are accepted go on.

        A Unix socket is left open: each worker has its own, and the path is that of the newest.
        Whoever is in an older one's queue still waits for its worker.
        """
        self._closed = True
        loop = asyncio.get_running_loop()
        for server in self._servers:
            if not any(each.family == socket.AF_UNIX for each in server.sockets):
                for each in server.sockets:
                    loop.remove_reader(each.fileno())
                # asyncio drops what it has accepted in this very turn, if it is closed before.
                loop.call_soon(server.close)

    def _serve(self, serve: Any, *arguments: Any) -> None:
        [loop] = [each for each in arguments if isinstance(each, asyncio.AbstractEventLoop)]
        loop.create_server = partial(self._create, loop.create_server)  # type: ignore[method-assign]
        serve(*arguments)

    async def _create(self, create: Any, *arguments: Any, **settings: Any) -> asyncio.Server:
        if settings.get("ssl"):
            settings["ssl_handshake_timeout"] = self._handshake_timeout
        self._servers.append(await create(*arguments, **settings))
        if self._second is not None:
            protocol, sock = self._second
            sanics: partial[asyncio.Protocol] = arguments[0]
            made = partial(protocol, **sanics.keywords)
            backlog = settings["backlog"]
            self._servers.append(await create(made, sock=sock, backlog=backlog))
        if self._closed:
            self.close()
        return self._servers[0]
