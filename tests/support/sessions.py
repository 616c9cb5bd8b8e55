"""Sessions for unit tests: a handler that records, a client over TCP, and both event loops."""

from __future__ import annotations

import asyncio
import functools
import inspect
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from sanic_chat.session.handler import Ending
from sanic_chat.session.inbound import State
from sanic_chat.session.send_queue import Missed, SendQueuePool
from sanic_chat.session.session import Session
from sanic_chat.websocket.frames import CLOSE, TEXT, text_frame
from sanic_chat.websocket.parser import FrameLimits

from .frames import client_frame, take_server_frame
from .harness import DEADLINE, eventually

SMALL_BUFFER = 4096
"""Bytes asked of the kernel for each direction, so that a client is soon too slow."""

A_TEXT, A_CLOSE, A_PING, A_PONG = 0x81, 0x88, 0x89, 0x8A
BYE = client_frame(A_CLOSE, (1000).to_bytes(2, "big") + b"bye")


def gap_frames(missed: Missed) -> bytes:
    """A text like `gap lobby slow 3` for each room; `*` for global messages."""
    return b"".join(
        text_frame(b"gap %b %b %d" % ((room or "*").encode(), reason.encode(), messages))
        for (room, reason), messages in missed.items()
    )


class RecordingHandler:
    """The handler of sessions, which notes what they tell it."""

    def __init__(
        self,
        *,
        max_message_bytes: int = 65536,
        max_message_fragments: int = 128,
        send_queue_messages: int = 256,
        send_queue_bytes: int = 2**20,
        send_queue_total_bytes: int = 2**26,
        drop_oldest: bool = False,
    ) -> None:
        self.limits = FrameLimits(max_message_bytes, max_message_fragments)
        self.soon: list[Callable[[], None]] = []
        """What is to be called soon; a test calls it with `call_soon`."""
        self.send_queues = SendQueuePool(
            max_messages=send_queue_messages,
            max_bytes=send_queue_bytes,
            max_total_bytes=send_queue_total_bytes,
            drop_oldest=drop_oldest,
            call_soon=self.soon.append,
        )
        self.received: list[bytes] = []
        self.ends: list[tuple[str, Session]] = []
        self.endings: list[Ending] = []
        self.failures: list[Exception] = []
        self.expected_failures: list[Exception] = []
        self.dropped: Counter[str] = Counter()

    def message_received(self, session: Session, payload: bytes) -> None:
        self.received.append(payload)

    def session_failed(self, session: Session, error: Exception) -> None:
        self.failures.append(error)

    def session_ends(self, session: Session, ending: Ending) -> None:
        self.endings.append(ending)

    def session_closing(self, session: Session) -> None:
        self.ends.append(("closing", session))

    def session_closed(self, session: Session) -> None:
        self.ends.append(("closed", session))

    def messages_dropped(self, session: Session, messages: int, reason: str) -> None:
        self.dropped[reason] += messages

    def gap_frames(self, session: Session, missed: Missed) -> bytes:
        return gap_frames(missed)


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on asyncio's loop and on uvloop; an error in a callback fails it."""

    @functools.wraps(test)
    def run(
        *instance: Any, new_loop: Callable[[], asyncio.AbstractEventLoop], **arguments: Any
    ) -> None:
        problems: list[dict[str, Any]] = []
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.get_loop().set_exception_handler(lambda _, problem: problems.append(problem))
            runner.run(test(*instance, **arguments))
        assert problems == []

    signature = inspect.signature(test)
    new_loop = inspect.Parameter("new_loop", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), new_loop]
    )
    loops = (asyncio.new_event_loop, uvloop.new_event_loop)
    return pytest.mark.parametrize("new_loop", loops, ids=("asyncio", "uvloop"))(run)


class Peer:
    """The client's end: raw bytes out, frames in."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._stream = bytearray()

    async def send(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.wait_for(loop.sock_sendall(self._socket, data), DEADLINE)

    async def frame(self) -> tuple[int, bytes] | None:
        """The next frame, or None at the end of the stream; EOFError if that is in a frame."""
        loop = asyncio.get_running_loop()
        while (frame := take_server_frame(self._stream)) is None:
            data = await asyncio.wait_for(loop.sock_recv(self._socket, 65536), DEADLINE)
            if not data:
                if self._stream:
                    raise EOFError(f"the stream ends in a frame, after {len(self._stream)} bytes")
                return None
            self._stream += data
        return frame

    async def line(self, end: bytes) -> bytes:
        """What comes before the frames, up to and with its end."""
        loop = asyncio.get_running_loop()
        line = b""
        while not line.endswith(end):
            byte = await asyncio.wait_for(loop.sock_recv(self._socket, 1), DEADLINE)
            assert byte, f"the end of the stream after {line!r}"
            line += byte
        return line

    async def rest(self) -> list[tuple[int, bytes]]:
        """All frames until the end of the stream."""
        frames = []
        while (frame := await self.frame()) is not None:
            frames.append(frame)
        return frames

    async def until_close(self) -> list[tuple[int, bytes]]:
        """All frames up to the first close frame, which must come."""
        frames = []
        while not frames or frames[-1][0] != CLOSE:
            frame = await self.frame()
            assert frame is not None, f"no close frame behind {len(frames)} frames"
            frames.append(frame)
        return frames

    def end_sending(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()

    def reset(self) -> None:
        """Close with a TCP RST."""
        no_linger = struct.pack("ii", 1, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
        self._socket.close()


@asynccontextmanager
async def connected(
    handler: RecordingHandler, *, system_events: bool = False
) -> AsyncIterator[tuple[Session, Peer]]:
    """The only session of `handler` and its client; its end is told once, and so are failures."""
    async with connection(handler, system_events=system_events) as (session, peer):
        yield session, peer
    assert handler.ends == [("closing", session), ("closed", session)]
    assert handler.failures == handler.expected_failures


@asynccontextmanager
async def connection(
    handler: RecordingHandler, *, system_events: bool = False
) -> AsyncIterator[tuple[Session, Peer]]:
    """A session of `handler` and its client, over TCP on loopback with small buffers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        client.connect(listener.getsockname())
        client.setblocking(False)
        server, _ = listener.accept()
    session = Session(handler, client_id="anna", system_events=system_events)
    peer = Peer(client)
    await asyncio.get_running_loop().create_connection(lambda: session, sock=server)
    try:
        yield session, peer
    finally:
        peer.close()
        session.abort()
        await eventually(lambda: session.state is State.CLOSED, "the session is closed")


def stall(session: Session) -> int:
    """Send until the kernel takes no more; returns how many messages that were.

    The last one is so long that the transport keeps most of it, whatever the kernel moves to the
    client's side meanwhile.
    """
    count = 0
    while session.writable:
        session.send(text_frame(b"filler " + b"x" * 50_000))
        count += 1
        assert count < 10_000
    return count


def texts(frames: list[tuple[int, bytes]]) -> list[bytes]:
    return [payload for opcode, payload in frames if opcode == TEXT]


def close_code(frames: list[tuple[int, bytes]]) -> int:
    """The code of the close frame, which must be one, and the last frame."""
    assert [index for index, (opcode, _) in enumerate(frames) if opcode == CLOSE] == [
        len(frames) - 1
    ], f"frames {[opcode for opcode, _ in frames]}"
    return int.from_bytes(frames[-1][1][:2], "big")


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def frames_of(messages: list[bytes]) -> bytes:
    return b"".join(client_frame(A_TEXT, message) for message in messages)


def is_reading(session: Session) -> bool:
    transport = session._transport
    return transport is not None and transport.is_reading()
