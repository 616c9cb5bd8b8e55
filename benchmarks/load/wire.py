"""The bytes of the load: WebSocket frames, what the messages look like, and peers' own formats.

All messages of a run have the same length on the wire, whoever sends them, so that a receiver may
count bytes and know how many messages those are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from websockets.frames import Frame, Opcode
from websockets.speedups import apply_mask
from websockets.utils import accept_key

_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = accept_key(_KEY).encode()
"""A server's answer to the handshake must hold this."""

_DATA = b'{"s":"%05d","n":"%07d","t":"%019d","x":"%b"}'


def message_data(sender: int, number: int, time_ns: int, filling: bytes) -> bytes:
    """The data of a sender's message of that number, sent at that time (monotonic clock)."""
    return _DATA % (sender, number, time_ns, filling)


DATA_PATTERN = re.compile(rb'\{"s":"(\d{5})","n":"(\d{7})","t":"(\d{19})","x":"')
"""Finds sender, number and time in a message."""


@dataclass(frozen=True)
class Wire:
    """The format that a server wants."""

    path: str = "/api/chat-api/ws/{room}"
    message: bytes = b'{"data":%b}'
    """The text that is sent, with %b for the data."""
    greeting: tuple[tuple[bytes, bytes | None], ...] = ()
    """Texts the server opens with, by how they begin, and what to answer to each."""
    keepalive: dict[bytes, bytes] = field(default_factory=dict)
    """Texts the server sends now and then, and what to answer."""
    rooms: str = "bench-00000"
    """The beginning of all names of rooms; a server that shares its Redis has one of its own."""

    def room_name(self, room: int) -> str:
        """The name of a room, of the same length for all rooms of all servers."""
        return f"{self.rooms}-{room:05d}"


PLAIN = Wire()
WIRES = {
    "plain": PLAIN,
    "socket.io": Wire(
        path="/socket.io/?EIO=4&transport=websocket&room={room}",
        message=b'42["message",%b]',
        greeting=((b"0{", b"40"), (b"40{", None)),
        keepalive={b"2": b"3"},
    ),
}


def handshake(path: str, port: int) -> bytes:
    """A WebSocket handshake. No extension is offered, so nobody compresses."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {_KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def client_frame(payload: bytes, opcode: Opcode = Opcode.TEXT) -> bytes:
    """A masked frame."""
    return Frame(opcode, payload).serialize(mask=True)


def server_frames(stream: bytes, start: int = 0) -> Iterator[tuple[int, int, int, int]]:
    """First byte, start and end of the payload, of every whole frame; then where each began."""
    size = len(stream)
    while size - start >= 2:
        payload, length = start + 2, stream[start + 1]
        if length > 125:
            payload += 2 if length == 126 else 8
            if payload > size:
                return
            length = int.from_bytes(stream[start + 2 : payload])
        if payload + length > size:
            return
        yield stream[start], payload, payload + length, start
        start = payload + length


class MessageMaker:
    """Makes the frames of one sender, with a mask that is drawn once."""

    def __init__(self, wire: Wire, sender: int, payload_bytes: int) -> None:
        self.own_marker = b'{"s":"%05d"' % sender
        """Stands once in each of its messages."""
        self._sender = sender
        self._filling = b"x" * payload_bytes
        self._wire = wire
        self._mask = os.urandom(4)
        frame = client_frame(self._payload(0, 0))
        self._header = frame[: len(frame) - len(self._payload(0, 0)) - 4] + self._mask

    def frame(self, number: int, time_ns: int) -> bytes:
        """The frame of its message of that number."""
        return self._header + apply_mask(self._payload(number, time_ns), self._mask)

    def _payload(self, number: int, time_ns: int) -> bytes:
        return self._wire.message % message_data(self._sender, number, time_ns, self._filling)
