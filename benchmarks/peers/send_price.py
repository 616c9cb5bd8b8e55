"""The floor: what the kernel takes to send a message's bytes to the sockets of a room.

Plain blocking sockets; of a message that comes in, the very bytes that sanic_chat would send are
made once, and written with one `send()` per member. No Redis, no queues, no checks. With
`--firehose N` the first message is written N at a time, again and again, as fast as the sockets
take it: that is how the load's own ceiling is measured.
"""

from __future__ import annotations

import argparse
import os
import select
import socket
from collections import defaultdict

from sanic_chat.protocol.message import MESSAGE_HEAD, encode_fields, json_text
from sanic_chat.protocol.stamp import Stamper
from sanic_chat.websocket.frames import TEXT, text_frame
from sanic_chat.websocket.handshake import accept_key
from sanic_chat.websocket.parser import FrameLimits, FrameParser


class Member:
    """One accepted connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.room = ""
        self.parser = FrameParser(FrameLimits(65536, 128))
        self.head = b""


class Sender:
    """Serves one port, one loop turn after the other."""

    def __init__(self, port: int, firehose: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self._firehose = firehose
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        self.members: dict[int, Member] = {}
        self.rooms: defaultdict[str, set[Member]] = defaultdict(set)
        self._stamper = Stamper()
        self._sender = json_text(self._stamper.stamp()[0].decode())

    def run(self) -> None:
        """Serve until killed."""
        while True:
            for descriptor, _ in self._epoll.poll():
                if descriptor == self._listener.fileno():
                    self._accept()
                else:
                    self._readable(descriptor)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.members[connection.fileno()] = Member(connection)
        self._epoll.register(connection, select.EPOLLIN)

    def _readable(self, descriptor: int) -> None:
        member = self.members[descriptor]
        try:
            data = member.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            self._gone(descriptor)
        elif member.room:
            for opcode, payload in member.parser.receive(data):
                if opcode == TEXT:
                    self.deliver(member.room, payload)
        else:
            self._handshake(member, data)

    def _gone(self, descriptor: int) -> None:
        member = self.members.pop(descriptor)
        self.rooms[member.room].discard(member)
        self._epoll.unregister(descriptor)
        member.socket.close()

    def _handshake(self, member: Member, data: bytes) -> None:
        member.head += data
        if not member.head.endswith(b"\r\n\r\n"):
            return
        first, *lines = member.head.decode().split("\r\n")
        headers = dict(line.split(": ") for line in lines if line)
        member.room = first.split()[1].rpartition("/")[2]
        self.rooms[member.room].add(member)
        member.socket.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n"
            % (accept_key(headers["Sec-WebSocket-Key"]) or "").encode()
        )

    def deliver(self, room: str, payload: bytes) -> None:
        """Write what a message becomes to all members of the room."""
        id, timestamp = self._stamper.stamp()
        frame = text_frame(
            encode_fields(
                id=id,
                type=b"chat",
                room=json_text(room),
                sender=self._sender,
                data=payload.removeprefix(b'{"data":').removesuffix(b"}"),
                timestamp=timestamp,
            ),
            MESSAGE_HEAD,
        )
        members = self.rooms[room]
        for member in members:
            member.socket.send(frame)
        chunk = frame * self._firehose
        while chunk:
            for member in members:
                member.socket.sendall(chunk)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--firehose", type=int, default=0)
    options = parser.parse_args()
    sender = Sender(options.port, options.firehose)
    print(f"Worker ready [{os.getpid()}]", flush=True)
    sender.run()
