"""How a session ends: by the client, by us, by both, and by what breaks the protocol."""

from __future__ import annotations

from contextlib import suppress

import pytest

from sanic_chat.session.inbound import CLOSING_BYTES, State
from sanic_chat.websocket.frames import CLOSE, TEXT, CloseCode, text_frame

from ..support.frames import client_frame
from ..support.harness import eventually
from ..support.sessions import (
    A_CLOSE,
    A_PING,
    A_TEXT,
    BYE,
    RecordingHandler,
    close_code,
    connected,
    on_both_loops,
    stall,
    texts,
)


class TestClosing:
    @on_both_loops
    async def test_the_client_closes(self):
        """The client's close frame is answered with its code, and the connection ends."""
        handler = RecordingHandler()
        async with connected(handler) as (session, peer):
            await peer.send(client_frame(A_TEXT, b"last") + BYE + client_frame(A_TEXT, b"no more"))
            assert await peer.rest() == [(CLOSE, (1000).to_bytes(2, "big"))]
            await eventually(lambda: session.state is State.CLOSED, "the session is closed")
        assert handler.received == [b"last"]

    @on_both_loops
    async def test_the_client_closes_without_a_code(self):
        """A close frame without a code is answered by one without a code."""
        async with connected(RecordingHandler()) as (_, peer):
            await peer.send(client_frame(A_CLOSE))
            assert await peer.rest() == [(CLOSE, b"")]

    @on_both_loops
    async def test_the_server_closes(self):
        """After the server's close frame the client's is awaited, then the connection ends."""
        handler = RecordingHandler()
        async with connected(handler) as (session, peer):
            session.close(CloseCode.GOING_AWAY, "drain")
            assert session.state is State.CLOSING
            assert handler.ends == [("closing", session)]
            assert await peer.frame() == (CLOSE, (1001).to_bytes(2, "big") + b"drain")
            assert session.state is State.CLOSING
            await peer.send(client_frame(A_CLOSE, (1001).to_bytes(2, "big")))
            assert await peer.rest() == []

    @on_both_loops
    async def test_the_server_closes_behind_its_queue(self):
        """What is queued at an orderly close is sent before the close frame."""
        async with connected(RecordingHandler()) as (session, peer):
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
        async with connected(RecordingHandler()) as (session, peer):
            session.close(CloseCode.GOING_AWAY)
            await peer.send(BYE)
            assert close_code(await peer.rest()) == CloseCode.GOING_AWAY

    @on_both_loops
    async def test_both_close_at_once_behind_a_queue(self):
        """A client that closes while the server's close frame is queued still gets one."""
        async with connected(RecordingHandler()) as (session, peer):
            stall(session)
            session.send(text_frame(b"queued"))
            transport = session._transport
            assert transport is not None
            session.close(CloseCode.GOING_AWAY)
            await peer.send(BYE)
            await eventually(transport.is_closing, "the client's close frame is seen")
            frames = await peer.rest()
            assert close_code(frames) == CloseCode.GOING_AWAY
            assert texts(frames)[-1] == b"queued"

    @on_both_loops
    async def test_a_slow_client_closes(self):
        """The answer to a close does not wait behind messages that are still in the queue."""
        async with connected(RecordingHandler()) as (session, peer):
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
        handler = RecordingHandler()
        async with connected(handler) as (session, peer):
            if behind_a_queue:
                stall(session)
                session.send(text_frame(b"queued"))
            session.close(CloseCode.GOING_AWAY)
            session.close(CloseCode.INTERNAL_ERROR)
            session.send(text_frame(b"too late"))
            session.write(text_frame(b"too late"))
            session.overflow(1)
            await peer.send(client_frame(A_PING, b"?") + client_frame(A_TEXT, b"ignored"))
            frames = await peer.until_close()
            await peer.send(BYE)
            assert await peer.rest() == []
            assert close_code(frames) == CloseCode.GOING_AWAY
            assert b"too late" not in texts(frames)
        assert handler.received == []
        assert handler.dropped == {}

    @on_both_loops
    async def test_the_client_vanishes(self):
        """A connection that ends without a close frame ends the session."""
        async with connected(RecordingHandler()) as (session, peer):
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
        async with connected(RecordingHandler()) as (session, peer):
            session.send(text_frame(b"last"))
            peer.end_sending()
            assert await peer.rest() == [(TEXT, b"last")]
            await eventually(lambda: session.state is State.CLOSED, "the session is closed")

    @on_both_loops
    async def test_abort(self):
        """An abort ends the connection at once, with all that waits, and without a close frame."""
        async with connected(RecordingHandler()) as (session, peer):
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
        """A violation ends the session with its code, after the messages before it.

        The connection ends once the client's close frame is here, so that a browser knows that it
        is an orderly end.
        """
        handler = RecordingHandler(max_message_bytes=1000)
        async with connected(handler) as (session, peer):
            behind = client_frame(A_TEXT, b"behind")
            await peer.send(client_frame(A_TEXT, b"before") + frame + behind)
            frames = await peer.until_close()
            assert close_code(frames) == code
            assert frames[-1][1][2:], "a reason is given"
            if not frame.startswith(b"\x88"):
                assert session.state is State.CLOSING
                await peer.send(behind + client_frame(A_PING) + frame + BYE)
            assert await peer.rest() == []
            await eventually(lambda: session.state is State.CLOSED, "the session is closed")
        assert handler.received == [b"before"]

    @on_both_loops
    async def test_a_close_frame_in_the_wrong_form(self):
        """A close frame that breaks the protocol is the client's close frame all the same."""
        async with connected(RecordingHandler()) as (_, peer):
            await peer.send(client_frame(A_CLOSE, b"\x03\xe8", masked=False))
            assert close_code(await peer.rest()) == CloseCode.PROTOCOL_ERROR

    @on_both_loops
    async def test_a_slow_client_breaks_the_protocol(self):
        """A violation by a client with a send queue still gets its close frame and the end."""
        async with connected(RecordingHandler()) as (session, peer):
            stall(session)
            session.send(text_frame(b"queued"))
            await peer.send(client_frame(0xC1))
            await eventually(lambda: session.state is State.CLOSING, "the violation is seen")
            frames = await peer.until_close()
            assert close_code(frames) == CloseCode.PROTOCOL_ERROR
            await peer.send(BYE)
            assert await peer.rest() == []

    @on_both_loops
    async def test_a_violation_of_a_client_that_is_gone(self):
        """The close frame meets a reset; that is no error of ours."""
        handler = RecordingHandler()
        async with connected(handler) as (session, peer):
            peer.close()
            session.data_received(client_frame(0x83))
            await eventually(lambda: session.state is State.CLOSED, "the session is closed")

    @on_both_loops
    async def test_a_client_is_told_while_it_is_still_sending(self):
        """Who sends far too much reads 1009 when it has sent everything, not a reset."""
        async with connected(RecordingHandler()) as (_, peer):
            await peer.send(client_frame(A_TEXT, b"x" * 16_000_000) + BYE)
            assert close_code(await peer.rest()) == CloseCode.MESSAGE_TOO_BIG

    @on_both_loops
    async def test_a_client_that_sends_on(self):
        """One that goes on for ever after the close frame is cut."""
        async with connected(RecordingHandler()) as (session, peer):
            endless = client_frame(0x82, b"x" * 2 * CLOSING_BYTES)
            with pytest.raises(ConnectionError):
                await peer.send(endless)
            await eventually(lambda: session.state is State.CLOSED, "the session is closed")

    @on_both_loops
    async def test_a_violation_during_a_close(self):
        """What a client sends between the close frame and its answer need not be in order."""
        async with connected(RecordingHandler()) as (session, peer):
            session.close(CloseCode.GOING_AWAY)
            assert await peer.frame() is not None
            await peer.send(client_frame(0xFF, b"x" * 300) + client_frame(A_TEXT, b"\xff") + BYE)
            assert await peer.rest() == []
            await eventually(lambda: session.state is State.CLOSED, "the session is closed")
