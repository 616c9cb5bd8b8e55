"""A client in a process of its own, for a test to stop and to wake again.

    python -m tests.support.frozen_client PORT ROOM

Prints `ready` when it is in the room, and then a line of JSON for each message that comes: its
`data` without the padding, which stands last, or `["close", code, reason]`, which ends it, as
`"end"` does.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator

from .frames import take_server_frame

CLOSE = 8


def main() -> None:
    port, room = sys.argv[1:]
    with socket.create_connection(("127.0.0.1", int(port))) as connection:
        connection.sendall(
            f"GET /ws/{room}?events=system HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        stream = bytearray()
        while (end := stream.find(b"\r\n\r\n")) < 0:
            stream += connection.recv(65536)
        assert stream.startswith(b"HTTP/1.1 101 ")
        del stream[: end + 4]
        print("ready", flush=True)
        for opcode, payload in frames(connection, stream):
            if opcode == CLOSE:
                say(["close", int.from_bytes(payload[:2]), payload[2:].decode()])
                return
            data = json.loads(payload)["data"]
            say(data[:-1] if isinstance(data, list) else data)
            if data == "end":
                return


def frames(connection: socket.socket, stream: bytearray) -> Iterator[tuple[int, bytes]]:
    """What the server sends, until the end of the stream."""
    while True:
        while (frame := take_server_frame(stream)) is not None:
            yield frame
        data = connection.recv(2**20)
        if not data:
            return
        stream += data


def say(what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
