"""One client over a real TCP connection, on asyncio's loop and on uvloop."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from sanic_chat.room import Room
from sanic_chat.session import Session, State
from sanic_chat.websocket import CLOSE, PING, PONG, TEXT, CloseCode, ping_frame, text_frame

from .frames import client_frame, take_server_frame
from .harness import DEADLINE, eventually
from .sessions import RecordingOwner, on_both_loops

SMALL_BUFFER = 4096
"""Bytes asked of the kernel for each direction, so that a client is soon too slow."""

A_TEXT, A_CLOSE, A_PING, A_PONG = 0x81, 0x88, 0x89, 0x8A
BYE = client_frame(A_CLOSE, (1000).to_bytes(2, "big") + b"bye")


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
    owner: RecordingOwner, *, system_events: bool = False
) -> AsyncIterator[tuple[Session, Peer]]:
    """A session of `owner` and its client, over TCP on loopback with small buffers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        client.connect(listener.getsockname())
        client.setblocking(False)
        server, _ = listener.accept()
    session = Session(owner, sender=b'"anna"', system_events=system_events)
    peer = Peer(client)
    await asyncio.get_running_loop().create_connection(lambda: session, sock=server)
    try:
        yield session, peer
    finally:
        peer.close()
        session.abort()
        await eventually(lambda: session.state is State.CLOSED, "the session is closed")
        assert owner.ends == [("closing", session), ("closed", session)]


def stall(session: Session) -> int:
    """Send until the kernel takes no more; returns how many messages that were."""
    count = 0
    while session.writable:
        session.send(text_frame(b"filler " + b"x" * 2000))
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


class TestReceiving:
    @on_both_loops
    async def test_messages_reach_the_owner_in_order(self):
        """Messages come to the owner whole and in order, however they are cut on the way."""
        owner = RecordingOwner()
        messages = [b"1", "zwei €".encode(), b"x" * 5000, b""]
        stream = b"".join(client_frame(A_TEXT, message) for message in messages)
        async with connected(owner) as (_, peer):
            for start in range(0, len(stream), 700):
                await peer.send(stream[start : start + 700])
            await eventually(lambda: len(owner.received) == 4, "four messages")
        assert owner.received == messages

    @on_both_loops
    async def test_a_ping_is_answered(self):
        """Each ping is answered by a pong with its payload, a pong by nothing."""
        async with connected(RecordingOwner()) as (_, peer):
            await peer.send(client_frame(A_PONG, b"?") + client_frame(A_PING, b"1"))
            await peer.send(client_frame(A_PING, b"p" * 125))
            assert await peer.frame() == (PONG, b"1")
            assert await peer.frame() == (PONG, b"p" * 125)

    @pytest.mark.parametrize("first", [A_TEXT, A_PING, A_PONG], ids=["text", "ping", "pong"])
    @on_both_loops
    async def test_anything_is_a_sign_of_life(self, first: int):
        """Any frame of an open session tells the heartbeat that it lives."""
        async with connected(RecordingOwner()) as (session, peer):
            session.quiet_looks = 5
            await peer.send(client_frame(first, b"x"))
            await eventually(lambda: session.quiet_looks == 0, "it was heard")


class TestWriting:
    @on_both_loops
    async def test_what_the_kernel_does_not_take_at_once(self, monkeypatch: pytest.MonkeyPatch):
        """Whatever part of a write it takes, everything arrives once and in order."""

        def write(descriptor: int, data: bytes) -> int:
            nonlocal calls
            calls += 1
            if calls % 3 == 0:
                raise BlockingIOError
            return os.write(descriptor, data[: calls % 7 * len(data) // 6])

        calls = 0
        monkeypatch.setattr("sanic_chat.session._write", write)
        messages = [b"%d " % number * (number % 50) for number in range(500)]
        async with connected(RecordingOwner()) as (session, peer):
            for start in range(0, len(messages), 20):
                some = messages[start : start + 20]
                for message in some:
                    session.send(text_frame(message))
                assert [await peer.frame() for _ in some] == [(TEXT, m) for m in some]
        assert calls >= 7

    @on_both_loops
    async def test_a_broken_connection(self):
        """A write that fails ends the session, as it does when the transport writes."""
        async with connected(RecordingOwner()) as (session, peer):
            peer.reset()
            for _ in range(3):  # the kernel tells the first one that reads or writes
                session.send(text_frame(b"nowhere"))
            await eventually(lambda: session.state is State.CLOSED, "the session is closed")

    @on_both_loops
    async def test_the_descriptor_is_its_own_to_the_end(self):
        """Nobody can be given the descriptor while the session still writes to it."""

        class LookingOwner(RecordingOwner):
            def session_closed(self, session: Session) -> None:
                super().session_closed(session)
                self.last = os.fstat(session._descriptor).st_ino

        owner = LookingOwner()
        async with connected(owner) as (session, _):
            own = os.fstat(session._descriptor).st_ino
        assert owner.last == own


class TestSendQueue:
    @on_both_loops
    async def test_a_client_that_reads_again_gets_everything_in_order(self):
        """What waited in the queue arrives in order, once, with what is sent afterwards."""
        owner = RecordingOwner()
        async with connected(owner) as (session, peer):
            count = stall(session)
            queued = [b"queued %d" % number for number in range(200)]
            for message in queued:
                session.send(text_frame(message))
            assert session.queued_messages == 200
            assert session.has_unsent_bytes
            received = [await peer.frame() for _ in range(count + 200)]
            assert texts(received)[count:] == queued  # type: ignore[arg-type]
            await eventually(lambda: session.writable, "the kernel takes everything again")
            assert session.queued_messages == 0
            assert not session.has_unsent_bytes
            session.send(text_frame(b"later"))
            assert await peer.frame() == (TEXT, b"later")
        assert owner.dropped == {}

    @on_both_loops
    async def test_the_bound_in_messages(self):
        """The queue holds as many messages as the limit says; one more closes with 1013."""
        owner = RecordingOwner(send_queue_messages=10)
        async with connected(owner) as (session, peer):
            count = stall(session)
            for _ in range(10):
                session.send(text_frame(b"queued"))
            assert session.state is State.OPEN
            session.send(text_frame(b"too much"))
            assert session.state is State.CLOSING
            assert owner.dropped == {"slow_consumer": 11}
            await peer.send(BYE)
            frames = await peer.rest()
            assert close_code(frames) == CloseCode.TRY_AGAIN_LATER
            assert len(texts(frames)) == count, "the frame that the kernel had begun is whole"
            assert b"queued" not in texts(frames)

    @on_both_loops
    async def test_the_bound_in_bytes(self):
        """What waits has at most as many bytes as the limit says, the transport's included."""
        owner = RecordingOwner(send_queue_bytes=100_000, send_queue_messages=10**6)
        async with connected(owner) as (session, peer):
            stall(session)
            sent = 0
            while session.state is State.OPEN:
                session.send(text_frame(b"x" * 1000))
                sent += 1
                assert sent < 200
            assert 100_000 - 4 * 2011 <= sent * 1004 <= 100_000 + 1004
            assert owner.dropped == {"slow_consumer": sent}
            await peer.send(BYE)
            assert close_code(await peer.rest()) == CloseCode.TRY_AGAIN_LATER

    @on_both_loops
    async def test_the_bound_in_bytes_counts_the_transport(self):
        """Bytes that the transport holds, though they never were in the queue, count as waiting."""
        async with connected(RecordingOwner(send_queue_bytes=300_000)) as (session, _):
            session.send(text_frame(b"x" * 250_000))
            assert not session.writable
            session.send(text_frame(b"x" * 10_000))
            assert session.state is State.OPEN
            session.send(text_frame(b"x" * 90_000))
            assert session.state is State.CLOSING

    @on_both_loops
    async def test_the_bounds_hold_on_a_socket_that_is_taken_over_full(self):
        """Answers to earlier requests that still wait in the transport count as waiting too."""
        async with connected(RecordingOwner(send_queue_bytes=300_000)) as (session, peer):
            transport = session._transport
            assert transport is not None
            transport.write(ping_frame(b"p" * 123) * 2000)
            session.connection_made(transport)  # as after an upgrade
            assert not session.writable
            session.send(text_frame(b"queued"))
            assert session.queued_messages == 1
            session.send(text_frame(b"x" * 300_000))
            assert session.state is State.CLOSING
            assert close_code([await peer.frame() for _ in range(2001)]) == 1013  # type: ignore[misc]

    @on_both_loops
    async def test_the_bound_counts_what_is_on_its_way(self):
        """A message that the transport has taken from the queue in part still counts as waiting."""
        owner = RecordingOwner(send_queue_messages=2)
        async with connected(owner) as (session, peer):
            count = stall(session)
            for _ in range(2):
                session.send(text_frame(b"x" * 300_000))
            for _ in range(count):
                await peer.frame()
            queue = session._queue
            assert queue is not None
            await eventually(lambda: queue.messages == 1, "the first is on its way")
            assert not session.writable
            assert session.queued_messages == 2
            session.send(text_frame(b"too much"))
            assert session.state is State.CLOSING
            assert owner.dropped == {"slow_consumer": 2}

    @on_both_loops
    async def test_a_batch_fits_or_not_as_a_whole(self):
        """A batch of messages that does not fit leaves the queue as it was."""
        async with connected(RecordingOwner(send_queue_messages=10)) as (session, _):
            stall(session)
            assert session.enqueue(b"\x81\x01a" * 8, 8)
            assert not session.enqueue(b"\x81\x01a" * 3, 3)
            assert session.queued_messages == 8
            assert session.enqueue(b"\x81\x01a" * 2, 2)
            assert session.state is State.OPEN

    @on_both_loops
    async def test_the_oldest_are_dropped(self):
        """Of a room's messages the newest are kept, behind what the kernel has begun to take."""
        owner = RecordingOwner(send_queue_messages=10, drop_oldest=True)
        room = Room(b"room:a", "a", b'"a"')
        async with connected(owner, system_events=True) as (session, peer):
            count = stall(session)
            for number in range(100):
                assert session.enqueue(text_frame(b"%d" % number), 1, room)
            session.send(text_frame(b"answer"))
            assert owner.dropped == {"slow_consumer": 91}
            frames = [await peer.frame() for _ in range(count + 11)]
            newest = [b"%d" % number for number in range(91, 100)]
            assert texts(frames)[count:] == [b"gap a slow 91", *newest, b"answer"]
            await eventually(lambda: session.writable, "the kernel takes everything again")
            assert len(owner.send_queues) == owner.send_queues.held_bytes == 0

    @on_both_loops
    async def test_who_sends_pings_and_reads_nothing_is_closed_all_the_same(self):
        """Pongs are not dropped: a queue full of them ends with 1013."""
        owner = RecordingOwner(send_queue_messages=50, drop_oldest=True)
        async with connected(owner) as (session, peer):
            stall(session)
            await peer.send(client_frame(A_PING, b"p") * 51)
            await eventually(lambda: session.state is State.CLOSING, "it is closed")
            assert close_code(await peer.until_close()) == CloseCode.TRY_AGAIN_LATER

    @on_both_loops
    async def test_pings_do_not_overflow_a_full_queue(self):
        """The heartbeat's ping fits into a queue that is full of messages."""
        owner = RecordingOwner(send_queue_messages=5)
        async with connected(owner) as (session, peer):
            count = stall(session)
            for _ in range(5):
                session.send(text_frame(b"queued"))
            session.send(ping_frame(), 0)
            assert session.state is State.OPEN
            frames = [await peer.frame() for _ in range(count + 6)]
            assert frames[-1] == (PING, b"")

    @on_both_loops
    async def test_a_client_that_only_sends_pings(self):
        """A flood of pings from a client that never reads ends with 1013, not with memory."""
        owner = RecordingOwner(send_queue_messages=50, send_queue_bytes=65536)
        async with connected(owner) as (session, peer):
            flood = client_frame(A_PING, b"p" * 125) * 100
            for _ in range(10_000):
                if session.state is not State.OPEN:
                    break
                await peer.send(flood)
            assert session.state is State.CLOSING
            assert close_code(await peer.until_close()) == CloseCode.TRY_AGAIN_LATER


class TestClosing:
    @on_both_loops
    async def test_the_client_closes(self):
        """The client's close frame is answered with its code, and the connection ends."""
        owner = RecordingOwner()
        async with connected(owner) as (session, peer):
            await peer.send(client_frame(A_TEXT, b"last") + BYE + client_frame(A_TEXT, b"no more"))
            assert await peer.rest() == [(CLOSE, (1000).to_bytes(2, "big"))]
            await eventually(lambda: session.state is State.CLOSED, "the session is closed")
        assert owner.received == [b"last"]

    @on_both_loops
    async def test_the_client_closes_without_a_code(self):
        """A close frame without a code is answered by one without a code."""
        async with connected(RecordingOwner()) as (_, peer):
            await peer.send(client_frame(A_CLOSE))
            assert await peer.rest() == [(CLOSE, b"")]

    @on_both_loops
    async def test_the_server_closes(self):
        """After the server's close frame the client's is awaited, then the connection ends."""
        owner = RecordingOwner()
        async with connected(owner) as (session, peer):
            session.close(CloseCode.GOING_AWAY, "drain")
            assert session.state is State.CLOSING
            assert owner.ends == [("closing", session)]
            assert await peer.frame() == (CLOSE, (1001).to_bytes(2, "big") + b"drain")
            assert session.state is State.CLOSING
            await peer.send(client_frame(A_CLOSE, (1001).to_bytes(2, "big")))
            assert await peer.rest() == []

    @on_both_loops
    async def test_the_server_closes_behind_its_queue(self):
        """What is queued at an orderly close is sent before the close frame."""
        async with connected(RecordingOwner()) as (session, peer):
            count = stall(session)
            for number in range(5):
                session.send(text_frame(b"%d" % number))
            session.close(CloseCode.GOING_AWAY)
            frames = [await peer.frame() for _ in range(count + 6)]
            assert frames[-6:-1] == [(TEXT, b"%d" % number) for number in range(5)]
            assert frames[-1] == (CLOSE, (1001).to_bytes(2, "big"))

    @on_both_loops
    async def test_both_close_at_once(self):
        """Two close frames that cross are answers to each other: each side sends one."""
        async with connected(RecordingOwner()) as (session, peer):
            session.close(CloseCode.GOING_AWAY)
            await peer.send(BYE)
            assert close_code(await peer.rest()) == CloseCode.GOING_AWAY

    @on_both_loops
    async def test_both_close_at_once_behind_a_queue(self):
        """A client that closes while the server's close frame is queued still gets one."""
        async with connected(RecordingOwner()) as (session, peer):
            stall(session)
            session.send(text_frame(b"queued"))
            session.close(CloseCode.GOING_AWAY)
            await peer.send(BYE)
            transport = session._transport
            assert transport is not None
            await eventually(transport.is_closing, "the client's close frame is seen")
            frames = await peer.rest()
            assert close_code(frames) == CloseCode.GOING_AWAY
            assert texts(frames)[-1] == b"queued"

    @on_both_loops
    async def test_a_slow_client_closes(self):
        """The answer to a close does not wait behind messages that are still in the queue."""
        async with connected(RecordingOwner()) as (session, peer):
            count = stall(session)
            session.send(text_frame(b"queued"))
            await peer.send(BYE)
            frames = await peer.rest()
            assert close_code(frames) == CloseCode.NORMAL
            assert len(texts(frames)) == count
            assert b"queued" not in texts(frames)

    @pytest.mark.parametrize("behind_a_queue", [False, True], ids=["at once", "behind a queue"])
    @on_both_loops
    async def test_nothing_after_a_close_frame(self, behind_a_queue: bool):
        """After the close frame no message, pong or second close frame is sent."""
        owner = RecordingOwner()
        async with connected(owner) as (session, peer):
            if behind_a_queue:
                stall(session)
                session.send(text_frame(b"queued"))
            session.close(CloseCode.GOING_AWAY)
            session.close(CloseCode.INTERNAL_ERROR)
            session.send(text_frame(b"too late"))
            session.overflow(1)
            await peer.send(client_frame(A_PING, b"?") + client_frame(A_TEXT, b"ignored"))
            frames = await peer.until_close()
            await peer.send(BYE)
            assert await peer.rest() == []
            assert close_code(frames) == CloseCode.GOING_AWAY
            assert b"too late" not in texts(frames)
        assert owner.received == []
        assert owner.dropped == {}

    @on_both_loops
    async def test_the_client_vanishes(self):
        """A connection that ends without a close frame ends the session."""
        async with connected(RecordingOwner()) as (session, peer):
            peer.close()
            await eventually(lambda: session.state is State.CLOSED, "the session is closed")
            session.send(text_frame(b"nowhere"))
            session.write(b"nowhere")
            session.close(CloseCode.GOING_AWAY)
            session.abort()
            assert not session.has_unsent_bytes

    @on_both_loops
    async def test_half_a_connection_is_none(self):
        """A client that ends its sending side gets what was sent, and then the end."""
        async with connected(RecordingOwner()) as (session, peer):
            session.send(text_frame(b"last"))
            peer.end_sending()
            assert await peer.rest() == [(TEXT, b"last")]
            await eventually(lambda: session.state is State.CLOSED, "the session is closed")

    @on_both_loops
    async def test_abort(self):
        """An abort ends the connection at once, with all that waits, and without a close frame."""
        async with connected(RecordingOwner()) as (session, peer):
            stall(session)
            session.send(text_frame(b"queued"))
            session.abort()
            await eventually(lambda: session.state is State.CLOSED, "the session is closed")
            assert session.queued_messages == 0
            opcodes = set()
            with suppress(ConnectionResetError, EOFError):
                while (frame := await peer.frame()) is not None:
                    opcodes.add(frame[0])
            assert opcodes <= {TEXT}


class TestViolations:
    @pytest.mark.parametrize(
        ("frame", "code"),
        [
            pytest.param(client_frame(0xC1, b"x"), 1002, id="reserved bit"),
            pytest.param(client_frame(0x82, b"x"), 1003, id="binary"),
            pytest.param(client_frame(A_TEXT, b"\xff"), 1007, id="no UTF-8"),
            pytest.param(client_frame(A_TEXT, b"x" * 2000), 1009, id="too big"),
            pytest.param(client_frame(A_CLOSE, b"\x00"), 1002, id="bad close frame"),
        ],
    )
    @on_both_loops
    async def test_a_violation_closes(self, frame: bytes, code: int):
        """A violation ends the connection with its code, after the messages before it."""
        owner = RecordingOwner(max_message_bytes=1000)
        async with connected(owner) as (session, peer):
            await peer.send(
                client_frame(A_TEXT, b"before") + frame + client_frame(A_TEXT, b"behind")
            )
            frames = await peer.rest()
            assert close_code(frames) == code
            assert frames[-1][1][2:], "a reason is given"
            peer.close()
            await eventually(lambda: session.state is State.CLOSED, "the session is closed")
        assert owner.received == [b"before"]

    @on_both_loops
    async def test_a_slow_client_breaks_the_protocol(self):
        """A violation by a client with a send queue still gets its close frame and the end."""
        async with connected(RecordingOwner()) as (session, peer):
            stall(session)
            session.send(text_frame(b"queued"))
            await peer.send(client_frame(0xC1))
            await eventually(lambda: session.state is State.CLOSING, "the violation is seen")
            frames = await peer.rest()
            assert close_code(frames) == CloseCode.PROTOCOL_ERROR

    @on_both_loops
    async def test_a_violation_of_a_client_that_is_gone(self):
        """The close frame meets a reset; that is no error of ours."""
        owner = RecordingOwner()
        async with connected(owner) as (session, peer):
            peer.close()
            session.data_received(client_frame(0x83))
            await eventually(lambda: session.state is State.CLOSED, "the session is closed")

    @on_both_loops
    async def test_a_client_is_told_while_it_is_still_sending(self):
        """Who sends far too much reads 1009 when it has sent everything, not a reset."""
        async with connected(RecordingOwner()) as (_, peer):
            await peer.send(client_frame(A_TEXT, b"x" * 16_000_000))
            assert close_code(await peer.rest()) == CloseCode.MESSAGE_TOO_BIG

    @on_both_loops
    async def test_a_violation_during_a_close(self):
        """A client that answers a close frame with rubbish just loses its connection."""
        async with connected(RecordingOwner()) as (session, peer):
            session.close(CloseCode.GOING_AWAY)
            assert await peer.frame() is not None
            await peer.send(b"\xff\xff")
            assert await peer.rest() == []
            await eventually(lambda: session.state is State.CLOSED, "the session is closed")
