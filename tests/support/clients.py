"""Servers, clients and a bad Redis that several test modules share."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, ClassVar
from uuid import uuid4

import hiredis
from websockets.asyncio.client import ClientConnection

from .frames import client_frame, take_server_frame
from .harness import DEADLINE, ServerProcess, receive
from .proxy import ProxyThread
from .tls import Certificate


@contextmanager
def running_server(
    *arguments: str,
    workers: int = 1,
    command: tuple[str, ...] = (),
    certificate: Certificate | None = None,
    **environment: str,
) -> Iterator[ServerProcess]:
    """A server for a fixture that several tests share; it must stop well at the end."""
    # One worker needs no process beside it, whose start takes as long again.
    form = ("--single-process",) if workers == 1 else ("--workers", str(workers))
    server = ServerProcess(
        *form,
        *arguments,
        environment=environment,
        command=command,
        certificate=certificate,
    )
    try:
        server.wait_ready(workers)
        yield server
        server.stop()
    finally:
        server.close()


async def receive_until(client: ClientConnection, data: Any) -> list[dict[str, Any]]:
    """The messages that come before the one with that `data`, which is taken too."""
    messages = []
    async with asyncio.timeout(DEADLINE):
        while (message := await receive(client))["data"] != data:
            messages.append(message)
    return messages


async def receive_data(client: ClientConnection, data: Any) -> dict[str, Any]:
    """Skip messages until the one with that `data`, and return it."""
    async with asyncio.timeout(DEADLINE):
        while (message := await receive(client))["data"] != data:
            pass
        return message


async def say(client: ClientConnection, data: object) -> None:
    """Send a message with that `data`."""
    await client.send(json.dumps({"data": data}))


async def own_echo(client: ClientConnection) -> None:
    """The client's own pod serves it: what it says comes back."""
    marker = str(uuid4())
    await say(client, marker)
    await receive_data(client, marker)


@asynccontextmanager
async def on_pods(
    server: ServerProcess, pods: int, room: str | None = None, **query: str
) -> AsyncIterator[list[ClientConnection]]:
    """One client on each of that many pods, past its welcome."""
    clients = await server.connect_to_pods(pods, room, **query)
    try:
        yield list(clients.values())
    finally:
        for client in clients.values():
            client.transport.abort()  # what it has not read does not keep it
            await client.wait_closed()


class RawClient:
    """A TCP client that sends what it is told, and reads HTTP answers and WebSocket frames."""

    HANDSHAKE: ClassVar[dict[str, str]] = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }

    def __init__(
        self,
        server: ServerProcess,
        *,
        tls: ssl.SSLContext | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        self._port = server.port
        self._tls = tls or server.tls
        self._receive_buffer = receive_buffer

    async def __aenter__(self) -> RawClient:
        connection = socket.socket()
        if self._receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self._port))
        self.reader, self.writer = await asyncio.open_connection(
            sock=connection,
            ssl=self._tls,
            server_hostname="127.0.0.1" if self._tls else None,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()
        with suppress(ConnectionError):
            await self.writer.wait_closed()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)

    @classmethod
    def handshake(cls, path: str, *, version: str = "HTTP/1.1", **changes: str | None) -> bytes:
        """The bytes of a handshake; `changes` are headers with `_` for `-`, None leaves one out."""
        headers: dict[str, str | None] = dict(cls.HANDSHAKE)
        headers.update({name.replace("_", "-"): value for name, value in changes.items()})
        lines = [f"GET {path} {version}"]
        lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
        return "\r\n".join([*lines, "", ""]).encode()

    async def request(
        self,
        path: str = "/api/chat-api/ws",
        *,
        version: str = "HTTP/1.1",
        behind: bytes = b"",
        **changes: str | None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a `handshake`; returns status, headers (lower case) and body of the answer.

        `behind` follows in the same packet.
        """
        self.send(self.handshake(path, version=version, **changes) + behind)
        return await self.answer()

    async def answer(self, *, has_body: bool = True) -> tuple[int, dict[str, str], bytes]:
        """The next HTTP answer; one to HEAD has no body, whatever its head says."""
        async with asyncio.timeout(DEADLINE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {
                name.lower(): value for name, _, value in (h.partition(": ") for h in head[1:-2])
            }
            length = int(headers.get("content-length", 0)) if has_body else 0
            body = await self.reader.readexactly(length)
        return int(head[0].split()[1]), headers, body

    async def frame(self, timeout: float = DEADLINE) -> tuple[int, bytes]:
        """Opcode and payload of the next frame; raises IncompleteReadError at the end."""
        async with asyncio.timeout(timeout):
            first, length = await self.reader.readexactly(2)
            if length > 125:
                length = int.from_bytes(await self.reader.readexactly(2 if length == 126 else 8))
            return first & 0xF, await self.reader.readexactly(length)

    async def close_code(self) -> int | None:
        """Read frames until a close frame and return its code; None if there was no frame."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                opcode, payload = await self.frame()
                if opcode == 8:
                    return int.from_bytes(payload[:2])
        return None


async def assert_refused(server: ServerProcess, request: bytes, status: int) -> None:
    """Send what is no good request: it is answered in JSON, and not with a line in the log."""
    before = server.log
    async with RawClient(server) as client:
        client.send(request)
        answer, headers, body = await client.answer()
    assert (answer, headers["content-type"]) == (status, "application/json")
    assert set(json.loads(body)) == {"code", "message"}
    assert_silent(server, before)


def assert_silent(server: ServerProcess, before: str) -> None:
    """Nothing is logged since then, but what is told a second late of others that ended badly."""
    lines = server.log[len(before) :].splitlines()
    assert [line for line in lines if "Clients that ended badly" not in line] == []


Misbehaviour = Callable[[str], bytes | None]
"""What is answered to a command of that name; None: what Redis answers. May raise HangUp."""


class HangUp(Exception):
    """The connection ends here."""


def behave(command: str) -> None:
    """The misbehaviour that is none."""


def resp(value: bytes | int | list[Any]) -> bytes:
    """A reply as Redis writes it."""
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    if isinstance(value, int):
        return b":%d\r\n" % value
    return b"*%d\r\n%b" % (len(value), b"".join(map(resp, value)))


class Subscription:
    """What a proxy knows of one connection to Redis."""

    def __init__(self, redis: asyncio.StreamWriter) -> None:
        self.redis = redis
        self.channels: set[bytes] = set()
        self.is_deaf = False
        self.answers: deque[tuple[bytes, bytes]] = deque()
        """What is answered for Redis, and the PINGs whose answers it takes the place of."""
        self._held = b""

    def answer(self, answer: bytes) -> None:
        """Have this answered, when Redis has answered what came before."""
        place = uuid4().hex.encode()
        self.answers.append((place, answer))
        self.redis.write(hiredis.pack_command(("PING", place)))

    def put_in(self, data: bytes) -> bytes:
        """What Redis says, with other answers in their places."""
        if not self.answers:
            return data
        self._held += data
        said = b""
        while self.answers:
            place, answer = self.answers[0]
            end = self._held.find(resp(place))
            if end < 0:
                return said
            before = self._held[:end].removesuffix(b"*2\r\n" + resp(b"pong"))
            said += before + answer
            self._held = self._held[end + len(resp(place)) :]
            self.answers.popleft()
        said += self._held
        self._held = b""
        return said


class RedisProxy(ProxyThread):
    """Knows what is said to Redis, and misbehaves when told to."""

    def __init__(self, redis_port: int, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls=tls)
        self.misbehaviour: Misbehaviour = behave
        self.garble: Callable[[bytes], bytes] | None = None
        """What becomes of each part of what Redis says."""
        self.redis_port = redis_port
        """Where new connections go; those there are stay where they are."""
        self._open: dict[asyncio.StreamWriter, Subscription] = {}

    def deafen(self) -> None:
        """Have Redis forget all subscriptions there are, in silence; PING goes on to work."""
        self._loop.call_soon_threadsafe(self._deafen)

    def _deafen(self) -> None:
        for subscription in self._open.values():
            if subscription.channels:
                subscription.is_deaf = True
                commands = (("SUBSCRIBE", "nothing"), ("UNSUBSCRIBE", *subscription.channels))
                subscription.redis.write(b"".join(map(hiredis.pack_command, commands)))

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            upstream, redis = await asyncio.open_connection("127.0.0.1", self.redis_port)
        except OSError:
            writer.transport.abort()
            return
        subscription = self._open[writer] = Subscription(redis)
        back = asyncio.create_task(self._answer(upstream, writer, subscription))
        parser = hiredis.Reader()
        try:
            while data := await reader.read(65536):
                parser.feed(data)
                while (command := parser.gets()) is not False:
                    answer = self.misbehaviour(command[0].decode().upper())
                    if command[0].upper() == b"SUBSCRIBE":
                        subscription.channels.update(command[1:])
                    if answer is None:
                        redis.write(hiredis.pack_command(tuple(command)))
                    elif answer:
                        subscription.answer(answer)
        except (OSError, HangUp):
            pass
        finally:
            for stream in (redis, writer):
                stream.close()
            await asyncio.wait([back])
            for stream in (redis, writer):
                with suppress(OSError):
                    await stream.wait_closed()
            del self._open[writer]

    async def _answer(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        subscription: Subscription,
    ) -> None:
        parser = hiredis.Reader()
        with suppress(OSError):
            while data := await reader.read(65536):
                if not subscription.is_deaf:
                    data = subscription.put_in(data)
                    writer.write(data if self.garble is None else self.garble(data))
                    continue
                parser.feed(data)
                while (reply := parser.gets()) is not False:
                    if reply[0] == b"pong":
                        writer.write(resp(reply))
            writer.close()


class NonReader:
    """A client with a small receive buffer, of which it reads nothing until it is told to."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    async def send_without_end(self, data: bytes) -> None:
        """Send the same again and again."""
        while True:
            await asyncio.get_running_loop().sock_sendall(self._connection, data)

    async def say_goodbye(self) -> None:
        """Send a close frame."""
        frame = client_frame(0x88, b"\x03\xe8")
        await asyncio.get_running_loop().sock_sendall(self._connection, frame)

    async def read_to_the_end(self) -> list[tuple[int, bytes]]:
        """All frames; a reset is an end like any other, half a frame is an error."""
        stream = bytearray()
        frames = []
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(DEADLINE):
            while True:
                try:
                    data = await loop.sock_recv(self._connection, 65536)
                except ConnectionError:
                    return frames
                if not data:
                    assert not stream, "the last frame is cut off"
                    return frames
                stream += data
                while (frame := take_server_frame(stream)) is not None:
                    frames.append(frame)
                    if frame[0] == 8:
                        await loop.sock_sendall(self._connection, client_frame(0x88, frame[1]))


@asynccontextmanager
async def non_reader(server: ServerProcess, room: str) -> AsyncIterator[NonReader]:
    """A client that has got its 101 and reads no further."""
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        await loop.sock_connect(connection, ("127.0.0.1", server.port))
        await loop.sock_sendall(connection, RawClient.handshake(f"/ws/{room}"))
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += await loop.sock_recv(connection, 1)
        assert answer.startswith(b"HTTP/1.1 101 ")
        yield NonReader(connection)


def own_stats(server: ServerProcess) -> dict[str, Any]:
    """What the only pod of a server tells; others report to the same Redis."""
    stats = server.stats()
    [pod] = [pod for pod in stats["pods"] if pod["pod_id"] == stats["answered_by"]]
    return pod
