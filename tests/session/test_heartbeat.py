"""Who is silent goes, who answers stays: on a clock that the test winds, and on real loops."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any, cast

import pytest

from sanic_chat.session.heartbeat import LOOKS, SLOTS, Heartbeat
from sanic_chat.session.inbound import State
from sanic_chat.session.session import Session
from sanic_chat.websocket.frames import PING, CloseCode

from ..support.frames import client_frame, server_frames
from ..support.harness import eventually
from ..support.sessions import RecordingHandler, connected, on_both_loops
from ..support.transports import RecordingTransport

TIMEOUT = 60.0
A_TEXT, A_PONG = 0x81, 0x8A


class Clock:
    """As much of an event loop as the heartbeat needs; time passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[tuple[float, int, Callable[[], None], list[bool]]] = []
        self._numbers = count()

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Any:
        cancelled = [False]
        heapq.heappush(self._timers, (when, next(self._numbers), callback, cancelled))

        class Handle:
            def cancel(self) -> None:
                cancelled[0] = True

        return Handle()

    def advance(self, seconds: float) -> None:
        """Let time pass, and call each timer when it is due."""
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            self.now, _, callback, cancelled = heapq.heappop(self._timers)
            if not cancelled[0]:
                callback()
        self.now = end

    def freeze(self, seconds: float) -> None:
        """Let time pass without calling anything, as when the process is stopped."""
        self.now += seconds
        late = [(self.now, *timer[1:]) for timer in self._timers]
        self._timers = late


class Ward(RecordingHandler):
    """An handler whose sessions are watched over, as a pod's are."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.heartbeat = Heartbeat(cast(asyncio.AbstractEventLoop, self.clock), timeout=TIMEOUT)
        self.heartbeat.start()
        self.transports: dict[Session, RecordingTransport] = {}

    def open(self) -> Session:
        session = Session(self, client_id="anna")
        transport = self.transports[session] = RecordingTransport()
        transport.set_protocol(session)
        session.connection_made(transport)
        self.heartbeat.add(session)
        return session

    def opcodes(self, session: Session) -> list[int]:
        """What was sent to a session."""
        return [opcode for opcode, _ in server_frames(b"".join(self.transports[session].writes))]

    def pings(self, session: Session) -> int:
        return self.opcodes(session).count(PING)

    def session_closed(self, session: Session) -> None:
        super().session_closed(session)
        self.heartbeat.discard(session)


def is_gone(session: Session) -> bool:
    return session.state is State.CLOSED


class TestOnAClock:
    @pytest.mark.parametrize("others", [0, 17, 49, 130])
    def test_a_silent_session_is_gone_within_the_timeout(self, others: int):
        """Without a sign of life a session ends between 11/12 of the timeout and all of it."""
        ward = Ward()
        for _ in range(others):
            ward.open()
        ward.clock.advance(others * 0.37)
        session = ward.open()
        ward.clock.advance(TIMEOUT * 11 / 12 - 0.001)
        assert not is_gone(session)
        ward.clock.advance(TIMEOUT / 12 + 0.002)
        assert is_gone(session)
        assert set(ward.opcodes(session)) == {PING}, "nobody is there to read a close frame"
        assert ward.heartbeat.timeouts == others + 1

    def test_a_silent_session_is_pinged_from_half_the_timeout_on(self):
        """In the first five twelfths nobody is pinged; in the second half three times."""
        ward = Ward()
        session = ward.open()
        ward.clock.advance(TIMEOUT * 5 / 12)
        assert ward.pings(session) == 0
        ward.clock.advance(TIMEOUT / 12 + 0.001)
        assert ward.pings(session) == 1
        ward.clock.advance(TIMEOUT / 2)
        assert ward.pings(session) == 3

    def test_a_session_that_answers_lives(self):
        """A client that answers every ping, and says nothing else, stays for ever."""
        ward = Ward()
        session = ward.open()
        answered = 0
        for _ in range(20 * LOOKS):
            ward.clock.advance(TIMEOUT / LOOKS)
            if ward.pings(session) > answered:
                answered = ward.pings(session)
                session.data_received(client_frame(A_PONG))
        assert not is_gone(session)
        assert ward.heartbeat.timeouts == 0
        assert answered >= 20

    def test_a_session_that_speaks_is_not_pinged(self):
        """Any message is a sign of life: who talks gets no pings."""
        ward = Ward()
        session = ward.open()
        for _ in range(40):
            ward.clock.advance(TIMEOUT * 0.4)
            session.data_received(client_frame(A_TEXT, b"hi"))
        assert ward.pings(session) == 0
        assert not is_gone(session)

    def test_half_a_frame_is_a_sign_of_life(self):
        """A client in the middle of sending a long message is not silent."""
        ward = Ward()
        session = ward.open()
        for byte in client_frame(A_TEXT, b"x" * 30)[:20]:
            ward.clock.advance(TIMEOUT * 0.4)
            session.data_received(bytes([byte]))
        assert not is_gone(session)

    def test_one_silent_session_among_many(self):
        """Only who is silent goes."""
        ward = Ward()
        sessions = [ward.open() for _ in range(SLOTS + 5)]
        silent = sessions[3]
        for _ in range(10):
            ward.clock.advance(TIMEOUT / 5)
            for session in sessions:
                if session is not silent:
                    session.data_received(client_frame(A_PONG))
        assert [session for session in sessions if is_gone(session)] == [silent]

    def test_pings_are_spread(self):
        """Sessions that came all at once are not pinged all at once, but evenly over a look."""
        ward = Ward()
        sessions = [ward.open() for _ in range(10 * SLOTS)]
        bursts: Counter[int] = Counter()
        for tick in range(LOOKS // 2 * SLOTS + SLOTS):
            before = sum(map(ward.pings, sessions)) if tick >= 5 * SLOTS else 0
            ward.clock.advance(TIMEOUT / LOOKS / SLOTS)
            if tick >= 5 * SLOTS:
                bursts[tick] = sum(map(ward.pings, sessions)) - before
        assert sum(bursts.values()) == len(sessions)
        assert max(bursts.values()) <= 20, "two slots' sessions in a tick at the most"

    @pytest.mark.parametrize("answers", [False, True], ids=["silent", "talks on"])
    def test_a_closing_session_is_dropped(self, answers: bool):
        """Who does not answer the close frame is dropped within a quarter of the timeout."""
        ward = Ward()
        session = ward.open()
        ward.clock.advance(TIMEOUT / 2)
        session.close(CloseCode.GOING_AWAY)
        for fraction in (1 / 6, 1 / 12):
            assert not is_gone(session)
            for _ in range(10):
                ward.clock.advance(TIMEOUT * fraction / 10 - 0.001)
                if answers:
                    session.data_received(client_frame(A_TEXT, b"ignored"))
        ward.clock.advance(0.03)
        assert is_gone(session)
        assert ward.heartbeat.timeouts == 0, "it was told to go"

    def test_a_frozen_process_blames_nobody(self):
        """After an hour in which the process stood still, all sessions are still there."""
        ward = Ward()
        sessions = [ward.open() for _ in range(120)]
        ward.clock.advance(TIMEOUT / 4)
        ward.clock.freeze(3600)
        ward.clock.advance(TIMEOUT / 4)
        assert not any(map(is_gone, sessions))
        ward.clock.advance(TIMEOUT)
        assert all(map(is_gone, sessions))

    def test_sessions_are_listed(self):
        """`sessions` has every session that is watched over, closing ones too, and no other."""
        ward = Ward()
        one, two, three = (ward.open() for _ in range(3))
        two.close(CloseCode.GOING_AWAY)
        three.connection_lost(None)
        assert set(ward.heartbeat.sessions()) == {one, two}
        ward.heartbeat.discard(three)
        assert len(ward.heartbeat.sessions()) == 2

    def test_stopping(self):
        """After `stop` nobody is looked at any more, and it may be called twice."""
        ward = Ward()
        session = ward.open()
        ward.heartbeat.stop()
        ward.heartbeat.stop()
        ward.clock.advance(10 * TIMEOUT)
        assert not is_gone(session)
        assert ward.pings(session) == 0


class TestOnARealLoop:
    @on_both_loops
    async def test_silent_and_answering_clients(self):
        """Over TCP: a client that answers pings stays, and one that is silent is cut off."""
        loop = asyncio.get_running_loop()
        handler = RecordingHandler()
        quiet_owner = RecordingHandler()
        heartbeat = Heartbeat(loop, timeout=0.6)
        async with connected(handler) as (session, peer):

            async def answer() -> None:
                while (frame := await peer.frame()) is not None:
                    if frame[0] == PING:
                        await peer.send(client_frame(A_PONG, frame[1]))

            answering = asyncio.create_task(answer())
            async with connected(quiet_owner) as (silent, _):
                heartbeat.add(session)
                heartbeat.add(silent)
                began = loop.time()
                heartbeat.start()
                await eventually(lambda: silent.state is State.CLOSED, "the silent one is gone")
                assert loop.time() - began >= 0.6 * 11 / 12 - 0.02
            heartbeat.discard(silent)
            assert session.state is State.OPEN
            assert heartbeat.timeouts == 1
            heartbeat.stop()
            answering.cancel()
            await asyncio.wait([answering])
