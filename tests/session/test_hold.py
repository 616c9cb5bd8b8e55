"""Sessions that are held: what waits, what is handled before, and how they end."""

from __future__ import annotations

import asyncio

import pytest

from sanic_chat.session.heartbeat import LOOKS, Heartbeat
from sanic_chat.session.inbound import BYTES_PER_TURN, FRAMES_PER_TURN, Hold, State
from sanic_chat.session.session import Session
from sanic_chat.websocket.frames import PONG, CloseCode

from ..support.frames import client_frame
from ..support.harness import eventually
from ..support.sessions import (
    A_CLOSE,
    A_PING,
    BYE,
    RecordingHandler,
    connected,
    frames_of,
    is_reading,
    numbered,
    on_both_loops,
)


class HoldsAfter(RecordingHandler):
    """Holds a session once it has received so many messages."""

    hold_after = 10**9

    def message_received(self, session: Session, payload: bytes) -> None:
        super().message_received(session, payload)
        if len(self.received) == self.hold_after:
            session.hold()


both_holds = pytest.mark.parametrize("hold", list(Hold), ids=lambda hold: hold.name)


class HoldingHandler(RecordingHandler):
    """Holds a session while it handles a certain message."""

    def __init__(self, held_at: bytes, hold: Hold) -> None:
        super().__init__()
        self._held_at = held_at
        self._hold = hold

    def message_received(self, session: Session, payload: bytes) -> None:
        super().message_received(session, payload)
        if payload == self._held_at:
            session.hold(self._hold)


class TestBursts:
    """What came in one read, with and without a hold in the middle of it."""

    @on_both_loops
    async def test_a_burst_leaves_turns_to_others(self):
        """Of many frames in one read only so many are handled in a turn of the loop; all are."""
        handler = HoldsAfter()
        async with connected(handler) as (session, peer):
            messages = numbered(FRAMES_PER_TURN * 3 + 5)
            session.data_received(frames_of(messages))
            assert handler.received == messages[:FRAMES_PER_TURN]
            session.data_received(frames_of([b"behind them"]))
            await eventually(lambda: len(handler.received) == len(messages) + 1, "all are handled")
            assert handler.received == [*messages, b"behind them"]
            await peer.send(frames_of([b"and it reads again"]))
            await eventually(lambda: handler.received[-1] == b"and it reads again", "it reads")

    @on_both_loops
    async def test_held(self):
        """While it is held nothing is read; afterwards everything is handled in its order."""
        handler = HoldsAfter()
        handler.hold_after = FRAMES_PER_TURN + 7
        messages = numbered(FRAMES_PER_TURN * 3)
        async with connected(handler) as (session, peer):
            session.data_received(frames_of(messages))
            await eventually(lambda: session.is_held, "it is held")
            handled = len(handler.received)
            await peer.send(frames_of([b"last"]))
            await asyncio.sleep(0.05)
            assert len(handler.received) == handled < len(messages)
            session.release()
            await eventually(lambda: len(handler.received) == len(messages) + 1, "all are handled")
            assert handler.received == [*messages, b"last"]

    @on_both_loops
    async def test_a_close_behind_a_burst(self):
        """The client's close frame counts after all that it sent before."""
        handler = HoldsAfter()
        messages = numbered(FRAMES_PER_TURN * 2 + 1)
        async with connected(handler) as (session, peer):
            await peer.send(frames_of(messages) + client_frame(A_CLOSE, b"\x03\xe8"))
            frames = await peer.until_close()
            assert [opcode for opcode, _ in frames] == [8]
            assert handler.received == messages
            assert session.state is not State.OPEN

    @on_both_loops
    async def test_a_violation_behind_a_burst(self):
        """What breaks the protocol ends the session after all that came before it."""
        handler = HoldsAfter()
        messages = numbered(FRAMES_PER_TURN * 2 + 1)
        async with connected(handler) as (_, peer):
            await peer.send(frames_of(messages) + client_frame(0x83))
            [(_, payload)] = await peer.until_close()
            assert int.from_bytes(payload[:2], "big") == 1002
            assert handler.received == messages

    @on_both_loops
    async def test_lost_behind_a_burst(self):
        """What came before the connection was lost is handled, though its turn had not come."""
        handler = HoldsAfter()
        messages = numbered(FRAMES_PER_TURN * 3)
        async with connected(handler) as (session, _):
            session.data_received(frames_of(messages))
            session.abort()
            await eventually(lambda: session.state is State.CLOSED, "it is closed")
            assert handler.received == messages

    @on_both_loops
    async def test_closed_while_held(self):
        """A session that we close while it is held reads the client's answer once it is let go."""
        handler = HoldsAfter()
        handler.hold_after = 1
        async with connected(handler) as (session, peer):
            await peer.send(frames_of([b"1"]))
            await eventually(lambda: session.is_held, "it is held")
            session.close(1001, "bye")
            session.release()
            await peer.until_close()
            await peer.send(client_frame(A_CLOSE, b"\x03\xe9"))
            await eventually(lambda: session.state is State.CLOSED, "it is closed")

    @on_both_loops
    async def test_the_heartbeat_waits(self):
        """A held session is not taken for silent: it is we who do not listen."""
        handler = HoldsAfter()
        async with connected(handler) as (session, _):
            heartbeat = Heartbeat(asyncio.get_running_loop(), timeout=60)
            session.hold()
            for _ in range(LOOKS * 2):
                heartbeat._look(session)
            assert session.state is State.OPEN
            session.release()
            for _ in range(LOOKS):
                heartbeat._look(session)
            await eventually(lambda: session.state is State.CLOSED, "the silent one is cut")


class TestHolds:
    @both_holds
    @on_both_loops
    async def test_in_the_middle_of_a_turn(self, hold: Hold):
        """The first message after a hold waits, in the same turn too; pings are answered."""
        handler = HoldingHandler(b"2", hold)
        async with connected(handler) as (session, peer):
            await peer.send(
                frames_of([b"1", b"2", b"3"]) + client_frame(A_PING, b"?") + frames_of([b"4"])
            )
            assert await peer.frame() == (PONG, b"?")
            assert handler.received == [b"1", b"2"]
            session.release(hold)
            assert handler.received == [b"1", b"2"], "not within the call"
            await eventually(lambda: len(handler.received) == 4, "all are handled")
            await peer.send(frames_of([b"5"]))
            await eventually(lambda: len(handler.received) == 5, "it is read from")
            assert handler.received == [b"1", b"2", b"3", b"4", b"5"]

    @on_both_loops
    async def test_held_again_and_again(self):
        """Each release lets one message through if that holds again; all keep their order."""
        handler = RecordingHandler()
        messages = numbered(FRAMES_PER_TURN * 2 + 3)

        def hold(session: Session, payload: bytes) -> None:
            RecordingHandler.message_received(handler, session, payload)
            session.hold()

        handler.message_received = hold  # type: ignore[method-assign]
        async with connected(handler) as (session, peer):
            await peer.send(frames_of(messages))
            for number in range(1, len(messages) + 1):
                await eventually(lambda n=number: len(handler.received) == n, "one more")
                await asyncio.sleep(0)
                assert len(handler.received) == number
                session.release()
        assert handler.received == messages

    @on_both_loops
    async def test_back_pressure(self):
        """Nothing is read, and of what was read a turn's worth of messages is looked through."""
        handler = HoldingHandler(b"0", Hold.BACKPRESSURE)
        async with connected(handler) as (session, peer):
            near = frames_of([b"0", *[b"x"] * (FRAMES_PER_TURN - 1)]) + client_frame(
                A_PING, b"near"
            )
            far = frames_of([b"x"] * 1000) + client_frame(A_PING, b"far")
            session.data_received(near + far)
            assert await peer.frame() == (PONG, b"near")
            await asyncio.sleep(0.01)
            assert len(session._waiting or ()) == FRAMES_PER_TURN
            assert not is_reading(session)
            session.release()
            assert await peer.frame() == (PONG, b"far")
            assert len(handler.received) >= FRAMES_PER_TURN + 999

    @on_both_loops
    async def test_an_answer_is_awaited(self):
        """It is read from until a turn's worth of messages waits, and pings get through."""
        handler = HoldingHandler(b"0", Hold.ANSWER)
        async with connected(handler) as (session, peer):
            await peer.send(frames_of([b"0"]))
            await eventually(lambda: session.is_held, "it is held")
            for number in range(FRAMES_PER_TURN - 1):
                await peer.send(frames_of([b"x"]) + client_frame(A_PING, b"%d" % number))
                assert await peer.frame() == (PONG, b"%d" % number)
            assert is_reading(session)
            await peer.send(frames_of([b"x"]))
            await eventually(lambda: not is_reading(session), "it is full")
            await peer.send(client_frame(A_PING, b"last"))
            await asyncio.sleep(0.01)
            assert handler.received == [b"0"]
            session.release(Hold.ANSWER)
            assert await peer.frame() == (PONG, b"last")
            assert len(handler.received) == FRAMES_PER_TURN + 1

    @on_both_loops
    async def test_an_answer_is_awaited_and_messages_are_large(self):
        """What waits is bounded in bytes too."""
        handler = HoldingHandler(b"0", Hold.ANSWER)
        async with connected(handler) as (session, _):
            session.data_received(frames_of([b"0", *[b"x" * 30_000] * 20]))
            for _ in range(10):
                await asyncio.sleep(0)
            assert not is_reading(session)
            waiting = sum(len(payload) for _, payload in session._waiting or ())
            assert BYTES_PER_TURN <= waiting <= BYTES_PER_TURN + 30_000

    @on_both_loops
    async def test_two_reasons(self):
        """It is held until both are gone."""
        handler = RecordingHandler()
        async with connected(handler) as (session, peer):
            session.hold(Hold.ANSWER)
            assert is_reading(session)
            session.hold()
            assert not is_reading(session)
            await peer.send(frames_of([b"1"]))
            session.release()
            session.release()
            assert session.is_held
            await eventually(lambda: session._waiting is not None, "it is read from")
            assert handler.received == []
            session.release(Hold.ANSWER)
            await eventually(lambda: handler.received == [b"1"], "it is handled")

    @pytest.mark.parametrize("held_at", [b"1", b""], ids=["while it speaks", "before"])
    @pytest.mark.parametrize("end", [BYE, client_frame(0x82)], ids=["close", "violation"])
    @on_both_loops
    async def test_the_end_under_back_pressure(self, end: bytes, held_at: bytes):
        """It comes after the messages before it."""
        handler = HoldingHandler(held_at, Hold.BACKPRESSURE)
        async with connected(handler) as (session, peer):
            if not held_at:
                session.hold()
            session.data_received(frames_of([b"1", b"2"]) + end)
            assert session._waiting is not None
            await asyncio.sleep(0)
            assert session.state is State.OPEN
            session.release()
            await peer.until_close()
        assert handler.received == [b"1", b"2"]
        assert handler.dropped == {}

    @pytest.mark.parametrize("end", [BYE, client_frame(0x82)], ids=["close", "violation"])
    @on_both_loops
    async def test_the_end_right_behind_a_hold(self, end: bytes):
        """With nothing before it that waits it does not wait either."""
        handler = HoldingHandler(b"1", Hold.BACKPRESSURE)
        async with connected(handler) as (_, peer):
            await peer.send(frames_of([b"1"]) + end)
            await peer.until_close()

    @pytest.mark.parametrize("end", [BYE, client_frame(0x82)], ids=["close", "violation"])
    @on_both_loops
    async def test_the_end_while_an_answer_is_awaited(self, end: bytes):
        """It comes at once: what waited is dropped, and counted."""
        handler = HoldingHandler(b"1", Hold.ANSWER)
        async with connected(handler) as (session, peer):
            await peer.send(frames_of([b"1", b"2", b"3"]) + end)
            await peer.until_close()
            session.release(Hold.ANSWER)
        assert handler.received == [b"1"]
        assert handler.dropped == {"not_handled": 2}

    @on_both_loops
    async def test_lost_under_back_pressure(self):
        """What came before the connection was lost is handled when it is let go, then it ends."""
        handler = HoldingHandler(b"1", Hold.BACKPRESSURE)
        async with connected(handler) as (session, peer):
            messages = [b"1", *[b"x"] * FRAMES_PER_TURN * 3]
            await peer.send(frames_of(messages))
            await eventually(lambda: session._waiting is not None, "it is read")
            session.abort()
            await eventually(lambda: session._transport is None, "it is lost")
            assert session.state is State.OPEN
            assert handler.received == [b"1"]
            session.write(b"nowhere")
            session.send(b"nowhere")
            session.release()
            await eventually(lambda: session.state is State.CLOSED, "it is closed")
            assert handler.received == messages

    @on_both_loops
    async def test_lost_while_an_answer_is_awaited(self):
        """The answer counts for nothing, and what waited is dropped."""
        handler = HoldingHandler(b"1", Hold.ANSWER)
        async with connected(handler) as (session, peer):
            await peer.send(frames_of([b"1", b"2"]))
            await eventually(lambda: session._waiting is not None, "it is read")
            peer.reset()
            await eventually(lambda: session.state is State.CLOSED, "it is closed")
            session.release(Hold.ANSWER)
        assert handler.received == [b"1"]
        assert handler.dropped == {"not_handled": 1}

    @both_holds
    @on_both_loops
    async def test_closed_by_us(self, hold: Hold):
        """A session that we close is held no more: the client's close frame is read."""
        handler = HoldingHandler(b"1", hold)
        async with connected(handler) as (session, peer):
            await peer.send(frames_of([b"1", *numbered(FRAMES_PER_TURN * 3)]))
            await eventually(lambda: session._waiting is not None, "it is held")
            session.close(CloseCode.GOING_AWAY)
            await peer.until_close()
            await peer.send(BYE)
            assert await peer.rest() == []
        assert handler.received == [b"1"]
        assert handler.dropped["not_handled"] > 0

    @on_both_loops
    async def test_both_close(self):
        """A close frame that waited while we closed is the answer to ours."""
        handler = HoldingHandler(b"1", Hold.BACKPRESSURE)
        async with connected(handler) as (session, peer):
            await peer.send(frames_of([b"1", b"2"]) + client_frame(A_CLOSE, b"\x03\xe8"))
            await eventually(lambda: len(session._waiting or ()) == 2, "it is held")
            session.close(CloseCode.GOING_AWAY)
            [(_, payload)] = await peer.rest()
            assert int.from_bytes(payload[:2], "big") == CloseCode.GOING_AWAY
