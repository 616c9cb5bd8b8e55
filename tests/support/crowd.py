"""Thousands of clients in one process: they listen, note what came and when, and say goodbye well.

Plain asyncio protocols, cheap enough for the processes that tests and benchmarks run in.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeVar, cast

from .clients import RawClient
from .frames import client_frame, take_server_frame
from .harness import DEADLINE

T = TypeVar("T")

TEXT, CLOSE, PING = 1, 8, 9
IN_FLIGHT = 100

_NUMBERED = re.compile(rb'"data":"([a-z]+)(\d+)"')
_DRAIN = b'"event":"drain"'


class Drain(NamedTuple):
    """What a drain has told a client; times are `time.time()`."""

    sent_at: float
    reconnect_in_ms: int

    @property
    def reconnect_at(self) -> float:
        return self.sent_at + self.reconnect_in_ms / 1000


@dataclass(frozen=True)
class Refused(Exception):
    """The handshake was answered with something else than 101."""

    status: int
    headers: dict[str, str]


class Listener(asyncio.Protocol):
    """A client that listens. Made by `connect`; `is_open` from then on until it is closed."""

    def __init__(self, request: bytes) -> None:
        self.numbers: defaultdict[str, list[int]] = defaultdict(list)
        """Of the messages that came: `"data": "a12"` is number 12 of the series a."""
        self.drain: Drain | None = None
        self.close_code: int | None = None
        self.closed_at = 0.0
        """When the server's close frame came (`time.time()`)."""
        self.failure: BaseException | None = None
        """What ended the connection, if it did not end well."""
        self.is_open = False
        self.on_text: Callable[[bytes], None] | None = None
        self.on_drain: Callable[[Listener], None] | None = None
        self.on_end: Callable[[Listener], None] | None = None
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._request = request
        self._received = bytearray()
        self._is_upgraded = False

    def send_text(self, text: str) -> None:
        """Send a message, unless the connection is closing."""
        self.send_texts([text])

    def send_texts(self, texts: Iterable[str]) -> None:
        """Send messages in one packet, unless the connection is closing."""
        if self.is_open:
            self._transport.write(b"".join(client_frame(0x81, text.encode()) for text in texts))

    def leave(self, code: int = 1000) -> None:
        """Close with a code."""
        if self.is_open:
            self.is_open = False
            self._transport.write(client_frame(0x88, code.to_bytes(2, "big")))

    def abort(self) -> None:
        """Drop the connection."""
        self._transport.abort()

    def reset(self) -> None:
        """Drop the connection, so that the server gets a TCP reset."""
        connection = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    # -- what the loop calls ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._is_upgraded:
            self._take_answer()
        while self._is_upgraded and (frame := take_server_frame(self._received)) is not None:
            self._take(*frame)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self.failure = exc
        if not self.opened.done():
            self.opened.set_exception(exc or ConnectionResetError("no answer to the handshake"))
        if not self.ended.done():  # who waited may be cancelled
            self.ended.set_result(None)
        if self.on_end is not None:
            self.on_end(self)

    def _take_answer(self) -> None:
        head, found, rest = bytes(self._received).partition(b"\r\n\r\n")
        if not found:
            return
        status, *lines = head.decode().split("\r\n")
        if status.split()[1] == "101":
            self._received[:] = rest
            self.is_open = self._is_upgraded = True
            self.opened.set_result(None)
        else:
            headers = dict(line.lower().split(": ", 1) for line in lines)
            self.opened.set_exception(Refused(int(status.split()[1]), headers))
            self._transport.abort()

    def _take(self, opcode: int, payload: bytes) -> None:
        assert self.close_code is None, "a frame behind the close frame"
        if opcode == TEXT:
            if self.on_text is not None:
                self.on_text(payload)
            if numbered := _NUMBERED.search(payload):
                self.numbers[numbered[1].decode()].append(int(numbered[2]))
            elif _DRAIN in payload:
                self._told(payload)
        elif opcode == PING:
            self._transport.write(client_frame(0x8A, payload))
        elif opcode == CLOSE:
            self.close_code = int.from_bytes(payload[:2], "big")
            self.closed_at = time.time()
            if self.is_open:
                self.is_open = False
                self._transport.write(client_frame(0x88, payload[:2]))

    def _told(self, payload: bytes) -> None:
        message = json.loads(payload)
        sent_at = datetime.fromisoformat(message["timestamp"]).timestamp()
        self.drain = Drain(sent_at, message["data"]["reconnect_in_ms"])
        if self.on_drain is not None:
            self.on_drain(self)


async def connect(port: int, path: str, **headers: str) -> Listener:
    """A client that has its 101. Raises Refused, OSError or TimeoutError."""
    request = RawClient.handshake(path, **headers)
    async with asyncio.timeout(DEADLINE):
        _, listener = await asyncio.get_running_loop().create_connection(
            lambda: Listener(request), "127.0.0.1", port
        )
        await listener.opened
    return listener


async def connect_all(port: int, paths: Iterable[str]) -> list[Listener]:
    """A client for each path, some handshakes at a time."""
    return await some_at_a_time(connect(port, path) for path in paths)


async def some_at_a_time(handshakes: Iterable[Awaitable[T]]) -> list[T]:
    """The outcomes of all, of which only some are under way at a time."""
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def one(handshake: Awaitable[T]) -> T:
        async with slots:
            return await handshake

    return await asyncio.gather(*map(one, handshakes))
