"""Counts what a Redis reads, writes and does, by its own count."""

from __future__ import annotations

import re
import socket
from typing import NamedTuple

_REQUEST = b"INFO stats\r\n"


class Traffic(NamedTuple):
    """Commands, and bytes that Redis read and wrote."""

    commands: int
    bytes_in: int
    bytes_out: int


class TrafficCounter:
    """Counts what others do with a Redis between its making and `stop`."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._before = self._look()
        self._own_bytes = self._last_reply_bytes

    def stop(self) -> Traffic:
        """Returns what came and went in between, without the looks at it."""
        after = self._look()
        self._socket.close()
        return Traffic(
            after.commands - self._before.commands - 1,
            after.bytes_in - self._before.bytes_in - len(_REQUEST),
            after.bytes_out - self._before.bytes_out - self._own_bytes,
        )

    def _look(self) -> Traffic:
        self._socket.sendall(_REQUEST)
        reply = b""
        while not (head := re.match(rb"\$(\d+)\r\n", reply)) or len(reply) < (
            head.end() + int(head[1]) + 2
        ):
            reply += self._socket.recv(65536)
        self._last_reply_bytes = len(reply)

        def value(name: bytes) -> int:
            found = re.search(name + rb":(\d+)", reply)
            assert found is not None, f"no {name.decode()} in INFO stats"
            return int(found[1])

        return Traffic(
            value(b"total_commands_processed"),
            value(b"total_net_input_bytes"),
            value(b"total_net_output_bytes"),
        )
