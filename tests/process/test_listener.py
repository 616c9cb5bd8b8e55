"""The listening sockets of a worker, and how they are left."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from sanic_chat.process.listener import Listener

from ..support.harness import DEADLINE


class Greeter(asyncio.Protocol):
    """Says something to whoever connects, and goodbye."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(b"hello")
        transport.close()


async def test_who_is_accepted_when_the_socket_is_left() -> None:
    """Whoever was accepted in the turn in which it is left is served; nobody is afterwards."""
    loop = asyncio.get_running_loop()
    listener = Listener(handshake_timeout=1.0)
    with socket.create_server(("127.0.0.1", 0)) as sock, sock.dup() as of_others:
        address = of_others.getsockname()
        await listener._create(loop.create_server, Greeter, sock=sock)
        with socket.create_connection(address) as client:
            client.setblocking(False)
            await asyncio.sleep(0)  # the next turn accepts
            loop.call_soon(listener.close)
            async with asyncio.timeout(DEADLINE):
                assert await loop.sock_recv(client, 5) == b"hello"
        with socket.create_connection(address, timeout=DEADLINE):
            accepted, _ = await asyncio.to_thread(of_others.accept)
            accepted.close()
