"""Load: many WebSocket clients in one process, as protocols with callbacks.

Arriving messages are counted by searching for a marker in the raw bytes, which C does, so one
core of load keeps up with more deliveries than a server makes. The clients trust the server's
framing; the tests are where that is checked.
"""

from __future__ import annotations

import asyncio
import base64
import os
from typing import cast

from websockets.frames import Frame, Opcode

MARKER = b'"n":'
"""Stands once in every message of the load."""


def text_frame(payload: bytes) -> bytes:
    """A masked text frame."""
    return Frame(Opcode.TEXT, payload).serialize(mask=True)


class Client(asyncio.Protocol):
    """One WebSocket client in a room; `number` tells it from the others."""

    def __init__(self, *, path: str, port: int, number: int) -> None:
        self.received = 0
        self.own_received = 0
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed = False
        self._path = path
        self._port = port
        self._own_marker = b'{"s":%d,' % number
        self._number = number
        self._tail = b""
        self._frame = b""
        self._sending = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
            f"Upgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        if not self.opened.done():
            data = self._tail + data
            head, found, rest = data.partition(b"\r\n\r\n")
            if not found:
                self._tail = data
                return
            if b" 101 " not in head.split(b"\r\n")[0]:
                self.opened.set_exception(ConnectionError(head.decode(errors="replace")))
                return
            self._tail = b""
            self.opened.set_result(None)
            data = rest
        # A marker may be cut in two: the end of the last read goes before this one.
        data = self._tail + data
        self._tail = data[-(len(MARKER) - 1) :]
        self.received += data.count(MARKER)
        if self._sending:
            self._count_own(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if not self.opened.done():
            self.opened.set_exception(ConnectionError(str(exc)))

    def start_sending(self, window: int) -> None:
        """Send `window` messages, and one more for each of one's own that comes back."""
        self._sending = True
        self._own_tail = b""
        self._frame = text_frame(b'{"data":{"s":%d,"n":0,"text":"%b"}}' % (self._number, b"x" * 64))
        self._transport.write(self._frame * window)

    def stop_sending(self) -> None:
        """Send no more."""
        self._sending = False

    def close(self) -> None:
        """Drop the connection."""
        self._transport.abort()

    def _count_own(self, data: bytes) -> None:
        data = self._own_tail + data
        own = data.count(self._own_marker)
        # What is kept must hold no whole marker, or it would be counted twice.
        end = data.rfind(self._own_marker)
        start = max(
            end + len(self._own_marker) if end >= 0 else 0, len(data) - len(self._own_marker) + 1
        )
        self._own_tail = data[start:]
        if own:
            self.own_received += own
            self._transport.write(self._frame * own)


async def open_clients(count: int, *, path: str, port: int, at_once: int = 100) -> list[Client]:
    """Open that many clients, `at_once` at a time."""
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    for start in range(0, count, at_once):
        batch = [
            Client(path=path, port=port, number=number)
            for number in range(start, min(start + at_once, count))
        ]
        await asyncio.gather(
            *(loop.create_connection(lambda c=c: c, "127.0.0.1", port) for c in batch)
        )
        await asyncio.gather(*(client.opened for client in batch))
        clients += batch
    return clients
