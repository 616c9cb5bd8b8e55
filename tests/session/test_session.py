"""One client over a real TCP connection: what it sends, what it gets, and what waits for it."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from sanic_chat.hub.channel import Channel
from sanic_chat.session.inbound import State
from sanic_chat.session.session import Session
from sanic_chat.websocket.frames import PING, PONG, TEXT, CloseCode, ping_frame, text_frame

from ..support.frames import client_frame
from ..support.harness import eventually
from ..support.sessions import (
    A_PING,
    A_PONG,
    A_TEXT,
    BYE,
    RecordingHandler,
    close_code,
    connected,
    on_both_loops,
    stall,
    texts,
)
from ..support.tls import self_signed_certificate


class TestReceiving:
    @on_both_loops
    async def test_messages_reach_the_owner_in_order(self):
        """Messages come to the handler whole and in order, however they are cut on the way."""
        handler = RecordingHandler()
        messages = [b"1", "zwei €".encode(), b"x" * 5000, b""]
        stream = b"".join(client_frame(A_TEXT, message) for message in messages)
        async with connected(handler) as (_, peer):
            for start in range(0, len(stream), 700):
                await peer.send(stream[start : start + 700])
            await eventually(lambda: len(handler.received) == 4, "four messages")
        assert handler.received == messages

    @on_both_loops
    async def test_a_ping_is_answered(self):
        """Each ping is answered by a pong with its payload, a pong by nothing."""
        async with connected(RecordingHandler()) as (_, peer):
            await peer.send(client_frame(A_PONG, b"?") + client_frame(A_PING, b"1"))
            await peer.send(client_frame(A_PING, b"p" * 125))
            assert await peer.frame() == (PONG, b"1")
            assert await peer.frame() == (PONG, b"p" * 125)

    @pytest.mark.parametrize("first", [A_TEXT, A_PING, A_PONG], ids=["text", "ping", "pong"])
    @on_both_loops
    async def test_anything_is_a_sign_of_life(self, first: int):
        """Any frame of an open session tells the heartbeat that it lives."""
        async with connected(RecordingHandler()) as (session, peer):
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
        monkeypatch.setattr("sanic_chat.session.session._write", write)
        messages = [b"%d " % number * (number % 50) for number in range(500)]
        async with connected(RecordingHandler()) as (session, peer):
            for start in range(0, len(messages), 20):
                some = messages[start : start + 20]
                for message in some:
                    session.send(text_frame(message))
                assert [await peer.frame() for _ in some] == [(TEXT, m) for m in some]
        assert calls >= 7

    @on_both_loops
    async def test_a_broken_connection(self):
        """A write that fails ends the session, as it does when the transport writes."""
        async with connected(RecordingHandler()) as (session, peer):
            peer.reset()
            for _ in range(3):  # the kernel tells the first one that reads or writes
                session.send(text_frame(b"nowhere"))
            await eventually(lambda: session.state is State.CLOSED, "the session is closed")

    @pytest.mark.parametrize("unread", [0, 1000])
    @on_both_loops
    async def test_a_reset_in_the_middle(self, unread: int, caplog: pytest.LogCaptureFixture):
        """What is written to a client that has reset the connection leaves no trace in the log."""

        class AnsweringOwner(RecordingHandler):
            def message_received(self, session: Session, payload: bytes) -> None:
                session.send(text_frame(payload))

        async with connected(AnsweringOwner()) as (session, peer):
            session.data_received(client_frame(A_TEXT, b"x") * unread)
            peer.reset()
            for _ in range(100):
                session.send(text_frame(b"nowhere"))
                session.write(text_frame(b"nowhere"))
            await eventually(lambda: session.state is State.CLOSED, "the session is closed")
        assert caplog.records == []

    async def test_a_goodbye_under_tls_that_is_not_read_yet(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ):
        """What is written after the client's end, while nothing is read, leaves no trace either."""
        session = Session(RecordingHandler(), client_id="anna")
        certificate = self_signed_certificate(tmp_path)
        server = await asyncio.get_running_loop().create_server(
            lambda: session, "127.0.0.1", 0, ssl=certificate.server_context()
        )
        _, client = await asyncio.open_connection(
            *server.sockets[0].getsockname(), ssl=certificate.client_context()
        )
        await eventually(lambda: session.writable, "the session is open")
        transport = session._transport
        assert transport is not None
        transport.pause_reading()
        client.get_extra_info("socket").shutdown(socket.SHUT_WR)
        for _ in range(30):
            session.send(text_frame(b"nowhere"))
            await asyncio.sleep(0.01)
        transport.resume_reading()
        await eventually(lambda: session.state is State.CLOSED, "the session is closed")
        client.close()
        await client.wait_closed()
        server.close()
        await server.wait_closed()
        assert caplog.messages == []

    @on_both_loops
    async def test_the_descriptor_is_its_own_to_the_end(self, monkeypatch: pytest.MonkeyPatch):
        """Nobody can be given the descriptor while the session still writes to it."""

        def lost(session: Session, exc: Exception | None) -> None:
            seen.append(os.fstat(session._descriptor).st_ino)
            connection_lost(session, exc)

        seen: list[int] = []
        connection_lost = Session.connection_lost
        monkeypatch.setattr(Session, "connection_lost", lost)
        async with connected(RecordingHandler()) as (session, _):
            own = os.fstat(session._descriptor).st_ino
        assert seen == [own]
        assert session._descriptor == -1


class TestSendQueue:
    @on_both_loops
    async def test_a_client_that_reads_again_gets_everything_in_order(self):
        """What waited in the queue arrives in order, once, with what is sent afterwards."""
        handler = RecordingHandler()
        async with connected(handler) as (session, peer):
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
        assert handler.dropped == {}

    @on_both_loops
    async def test_the_bound_in_messages(self):
        """The queue holds as many messages as the limit says; one more closes with 1013."""
        handler = RecordingHandler(send_queue_messages=10)
        async with connected(handler) as (session, peer):
            count = stall(session)
            for _ in range(10):
                session.send(text_frame(b"queued"))
            assert session.state is State.OPEN
            session.send(text_frame(b"too much"))
            assert session.state is State.CLOSING
            assert handler.dropped == {"slow_consumer": 11}
            await peer.send(BYE)
            frames = await peer.rest()
            assert close_code(frames) == CloseCode.TRY_AGAIN_LATER
            assert len(texts(frames)) == count, "the frame that the kernel had begun is whole"
            assert b"queued" not in texts(frames)

    @on_both_loops
    async def test_the_bound_in_bytes(self):
        """What waits has at most as many bytes as the limit says, the transport's included."""
        handler = RecordingHandler(send_queue_bytes=100_000, send_queue_messages=10**6)
        async with connected(handler) as (session, peer):
            stall(session)
            transport = session._transport
            assert transport is not None
            held = transport.get_write_buffer_size()
            assert held
            sent = 0
            while session.state is State.OPEN:
                session.send(text_frame(b"x" * 1000))
                sent += 1
                assert sent < 200
            assert 100_000 < held + sent * 1004 <= 100_000 + 1004
            assert handler.dropped == {"slow_consumer": sent}
            await peer.send(BYE)
            assert close_code(await peer.rest()) == CloseCode.TRY_AGAIN_LATER

    @on_both_loops
    async def test_the_bound_in_bytes_counts_the_transport(self):
        """Bytes that the transport holds, though they never were in the queue, count as waiting."""
        async with connected(RecordingHandler(send_queue_bytes=300_000)) as (session, _):
            session.send(text_frame(b"x" * 250_000))
            assert not session.writable
            session.send(text_frame(b"x" * 10_000))
            assert session.state is State.OPEN
            session.send(text_frame(b"x" * 90_000))
            assert session.state is State.CLOSING

    @on_both_loops
    async def test_the_bounds_hold_on_a_socket_that_is_taken_over_full(self):
        """Answers to earlier requests that still wait in the transport count as waiting too."""
        async with connected(RecordingHandler(send_queue_bytes=300_000)) as (session, peer):
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
        handler = RecordingHandler(send_queue_messages=2)
        async with connected(handler) as (session, peer):
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
            assert handler.dropped == {"slow_consumer": 2}

    @on_both_loops
    async def test_a_batch_fits_or_not_as_a_whole(self):
        """A batch of messages that does not fit leaves the queue as it was."""
        async with connected(RecordingHandler(send_queue_messages=10)) as (session, _):
            stall(session)
            assert session.enqueue(b"\x81\x01a" * 8, 8)
            assert not session.enqueue(b"\x81\x01a" * 3, 3)
            assert session.queued_messages == 8
            assert session.enqueue(b"\x81\x01a" * 2, 2)
            assert session.state is State.OPEN

    @on_both_loops
    async def test_the_oldest_are_dropped(self):
        """Of a room's messages the newest are kept, behind what the kernel has begun to take."""
        handler = RecordingHandler(send_queue_messages=10, drop_oldest=True)
        room = Channel(b"room:a", "a", b'"a"')
        async with connected(handler, system_events=True) as (session, peer):
            count = stall(session)
            for number in range(100):
                assert session.enqueue(text_frame(b"%d" % number), 1, room)
            session.send(text_frame(b"answer"))
            assert handler.dropped == {"slow_consumer": 91}
            frames = [await peer.frame() for _ in range(count + 11)]
            newest = [b"%d" % number for number in range(91, 100)]
            assert texts(frames)[count:] == [b"gap a slow 91", *newest, b"answer"]
            await eventually(lambda: session.writable, "the kernel takes everything again")
            assert len(handler.send_queues) == handler.send_queues.held_bytes == 0

    @on_both_loops
    async def test_who_sends_pings_and_reads_nothing_is_closed_all_the_same(self):
        """Pongs are not dropped: a queue full of them ends with 1013."""
        handler = RecordingHandler(send_queue_messages=50, drop_oldest=True)
        async with connected(handler) as (session, peer):
            stall(session)
            await peer.send(client_frame(A_PING, b"p") * 51)
            await eventually(lambda: session.state is State.CLOSING, "it is closed")
            assert close_code(await peer.until_close()) == CloseCode.TRY_AGAIN_LATER

    @on_both_loops
    async def test_pings_do_not_overflow_a_full_queue(self):
        """The heartbeat's ping fits into a queue that is full of messages."""
        handler = RecordingHandler(send_queue_messages=5)
        async with connected(handler) as (session, peer):
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
        handler = RecordingHandler(send_queue_messages=50, send_queue_bytes=65536)
        async with connected(handler) as (session, peer):
            flood = client_frame(A_PING, b"p" * 125) * 100
            for _ in range(10_000):
                if session.state is not State.OPEN:
                    break
                await peer.send(flood)
            assert session.state is State.CLOSING
            assert close_code(await peer.until_close()) == CloseCode.TRY_AGAIN_LATER
