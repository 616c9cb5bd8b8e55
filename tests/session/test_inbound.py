"""What one client sends: how much of it a turn looks at, what waits, and what passes meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from sanic_chat.session.inbound import BYTES_PER_TURN, FRAMES_PER_TURN, Hold, State
from sanic_chat.session.session import Session
from sanic_chat.upgrade.upgrader import switch_protocols
from sanic_chat.websocket.frames import PONG, CloseCode

from ..support.frames import client_frame
from ..support.harness import eventually
from ..support.sessions import (
    A_PING,
    A_TEXT,
    BYE,
    Peer,
    RecordingHandler,
    connected,
    connection,
    frames_of,
    is_reading,
    numbered,
    on_both_loops,
    texts,
)

READ_BYTES = 256 * 1024
"""What both loops read from a socket at once, at most."""


def unread_bytes(session: Session) -> int:
    return len(session._parser._buffer)


class Turns:
    """How many messages an handler gets in each turn of the loop."""

    def __init__(self, handler: RecordingHandler) -> None:
        self._handler = handler
        self._seen = 0
        self._running = True
        self.most = 0
        asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        handled = len(self._handler.received)
        self.most = max(self.most, handled - self._seen)
        self._seen = handled
        if self._running:
            asyncio.get_running_loop().call_soon(self._look)

    def stop(self) -> None:
        self._running = False


class TestTurns:
    @on_both_loops
    async def test_fragments(self):
        """Fragments count as frames: a message in many of them does not get more of a turn."""
        handler = RecordingHandler(max_message_fragments=1000)
        first, middle, last = client_frame(0x01), client_frame(0x00, b"x"), client_frame(0x80)
        async with connected(handler) as (session, peer):
            session.data_received(first + middle * 500 + last)
            assert unread_bytes(session) == len(first + middle * 500 + last)
            assert session._parser._fragment_count == FRAMES_PER_TURN
            assert not is_reading(session)
            await eventually(lambda: handler.received == [b"x" * 500], "it is whole")
            await peer.send(frames_of([b"next"]))
            await eventually(lambda: handler.received[1:] == [b"next"], "it is read from again")

    @on_both_loops
    async def test_large_messages(self):
        """A turn is over once it has had so many bytes, and takes one message at least."""
        handler = RecordingHandler(max_message_bytes=2 * BYTES_PER_TURN)
        small, large = b"s" * (BYTES_PER_TURN // 4), b"l" * 2 * BYTES_PER_TURN
        async with connected(handler) as (session, _):
            session.data_received(frames_of([small] * 10 + [large] * 2))
            assert handler.received == [small] * 4
            await asyncio.sleep(0)
            assert handler.received == [small] * 8
            await asyncio.sleep(0)
            assert handler.received == [small] * 10 + [large]
            await asyncio.sleep(0)
            assert handler.received == [small] * 10 + [large] * 2

    @on_both_loops
    async def test_what_waits_are_bytes(self):
        """What a client has sent beyond a turn waits as the bytes it came in."""
        handler = RecordingHandler()
        async with connected(handler) as (session, _):
            burst = frames_of([b"x"] * 30_000)
            session.data_received(burst)
            assert session._waiting is None
            assert session._parser._buffer is burst
            await eventually(lambda: len(handler.received) == 30_000, "all are handled")
            assert session._parser._buffer == b""

    @on_both_loops
    async def test_many_resets(self):
        """What is unread when connections are lost takes turns too; each ends behind its own."""
        handler = EndingHandler()
        sessions, each = 30, 3000
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(connection(handler)) for _ in range(sessions)
            ]
            turns = Turns(handler)
            for session, peer in clients:
                session.data_received(frames_of([b"x"] * each))
                peer.reset()
                session.abort()
            await eventually(lambda: len(handler.ended_after) == sessions, "all are closed")
            turns.stop()
        assert handler.received_from == {session: each for session, _ in clients}
        assert handler.ended_after == handler.received_from
        assert turns.most <= sessions * FRAMES_PER_TURN
        assert Counter(what for what, _ in handler.ends) == {
            "closing": sessions,
            "closed": sessions,
        }

    @on_both_loops
    async def test_the_end_has_a_turn_of_its_own(self):
        """What a message has caused is sent before the close frame behind it is answered."""

        class AnsweringOwner(RecordingHandler):
            def message_received(self, session: Session, payload: bytes) -> None:
                super().message_received(session, payload)
                answer = client_frame(A_TEXT, payload, masked=False)
                asyncio.get_running_loop().call_soon(session.send, answer)

        for end in (BYE, client_frame(0x82)):
            async with connected(AnsweringOwner()) as (_, peer):
                await peer.send(frames_of([b"1", b"2"]) + end)
                assert texts(await peer.until_close()) == [b"1", b"2"]


class EndingHandler(RecordingHandler):
    """Knows who said how much, and how much that was when it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.received_from: Counter[Session] = Counter()
        self.ended_after: dict[Session, int] = {}

    def message_received(self, session: Session, payload: bytes) -> None:
        super().message_received(session, payload)
        self.received_from[session] += 1

    def session_closed(self, session: Session) -> None:
        super().session_closed(session)
        self.ended_after[session] = self.received_from[session]


# -- right behind the handshake ------------------------------------------------------------------


@asynccontextmanager
async def upgraded(
    handler: RecordingHandler, early: bytes, *, paused: bool = False, hold: Hold | None = None
) -> AsyncIterator[tuple[Session, Peer]]:
    """A session that takes over a socket; `early` came behind the handshake."""

    def on_open() -> None:
        if hold is not None:
            session.hold(hold)

    async with connected(RecordingHandler()) as (first, peer):
        transport = first._transport
        assert transport is not None
        if paused:
            transport.pause_reading()
        session = Session(handler, client_id="anna")
        switch_protocols(transport, session, "key", early, on_open=on_open)
        await peer.line(b"\r\n\r\n")
        try:
            yield session, peer
        finally:
            session.abort()
            await eventually(lambda: session.state is State.CLOSED, "it is closed")
            first.connection_lost(None)  # nobody else tells the one that was there before


class TestBehindTheHandshake:
    @pytest.mark.parametrize("paused", [False, True])
    @on_both_loops
    async def test_many_frames(self, paused: bool):
        """They take turns like any others, and nothing more is read meanwhile."""
        handler = RecordingHandler()
        messages = numbered(FRAMES_PER_TURN * 5)
        async with upgraded(handler, frames_of(messages), paused=paused) as (session, peer):
            while len(handler.received) < FRAMES_PER_TURN * 4:
                assert not is_reading(session)
                await asyncio.sleep(0)
            await peer.send(frames_of([b"later"]))
            await eventually(lambda: handler.received == [*messages, b"later"], "all are handled")

    @pytest.mark.parametrize("early", [b"", frames_of([b"1"]), BYE[:3]])
    @on_both_loops
    async def test_a_paused_socket(self, early: bytes):
        """A socket that was paused on the way is read from when nothing waits any more."""
        async with upgraded(RecordingHandler(), early, paused=True) as (session, _):
            assert is_reading(session)

    @pytest.mark.parametrize("early", [b"", frames_of([b"1"]), frames_of([b"1"] * 200)])
    @on_both_loops
    async def test_held_before_it_begins(self, early: bytes):
        """A session that is held when it opens stays so."""
        handler = RecordingHandler()
        async with upgraded(handler, early, paused=True, hold=Hold.BACKPRESSURE) as (session, peer):
            await peer.send(frames_of([b"2"]))
            assert not is_reading(session)
            assert handler.received == []
            session.release()
            await eventually(lambda: handler.received[-1:] == [b"2"], "it is read from")

    @on_both_loops
    async def test_an_error_while_it_opens(self):
        """Whatever goes wrong in its opening is this session's end."""

        def on_open() -> None:
            raise error

        error = ZeroDivisionError()
        handler = RecordingHandler()
        handler.expected_failures = [error]
        async with connected(handler) as (session, peer):
            assert session._transport is not None
            switch_protocols(session._transport, session, "key", b"", on_open=on_open)
            await peer.line(b"\r\n\r\n")
            [(_, payload)] = await peer.until_close()
            assert int.from_bytes(payload[:2], "big") == CloseCode.INTERNAL_ERROR

    @pytest.mark.parametrize("size", [0, 100])
    @on_both_loops
    async def test_a_flood_of_pings(self, size: int):
        """A client that floods from its handshake on never has more in memory than one read."""
        pings = client_frame(A_PING, b"p" * size)
        count = 1_000_000 // len(pings)
        handler = RecordingHandler(send_queue_messages=10**9, send_queue_bytes=2**30)
        async with upgraded(handler, pings * (FRAMES_PER_TURN + 1)) as (session, peer):
            sending = asyncio.create_task(peer.send(pings * count))
            most = pongs = 0
            while pongs < count + FRAMES_PER_TURN + 1:
                assert await peer.frame() == (PONG, b"p" * size)
                pongs += 1
                most = max(most, unread_bytes(session))
                assert session._waiting is None
            await sending
        assert READ_BYTES // 8 < most <= READ_BYTES + len(pings)


# -- while it is held ----------------------------------------------------------------------------
