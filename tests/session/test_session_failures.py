"""Errors of ours at one session: its own end, and nobody else's."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

import sanic_chat
from sanic_chat.hub.channel import Channel
from sanic_chat.session.inbound import State
from sanic_chat.session.session import Session
from sanic_chat.websocket.frames import CLOSE, CloseCode, text_frame

from ..support import sessions
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
    connection,
    on_both_loops,
    stall,
    texts,
)


class Unable(Exception):
    """An error that a test raises."""


class TestFail:
    @on_both_loops
    async def test_an_open_session(self):
        """It is closed with 1011, and its handler is told why, once."""
        handler = RecordingHandler()
        handler.expected_failures = [error := Unable()]
        async with connected(handler) as (session, peer):
            session.send(text_frame(b"before"))
            session.fail(error)
            session.fail(Unable())
            session.send(text_frame(b"behind"))
            session.write(text_frame(b"behind"))
            frames = await peer.until_close()
            assert texts(frames) == [b"before"]
            assert close_code(frames) == CloseCode.INTERNAL_ERROR

    @on_both_loops
    async def test_a_slow_consumer(self):
        """What waits for it is lost, and counted."""
        handler = RecordingHandler()
        handler.expected_failures = [error := Unable()]
        async with connected(handler) as (session, peer):
            count = stall(session)
            for _ in range(3):
                session.send(text_frame(b"queued"))
            session.fail(error)
            assert handler.dropped == {"session_failed": 3}
            frames = await peer.until_close()
            assert len(texts(frames)) == count
            assert handler.send_queues.held_bytes == 0

    @pytest.mark.parametrize("state", [State.CLOSING, State.CLOSED])
    @on_both_loops
    async def test_a_session_that_ends(self, state: State):
        """One that is closing gets no second close frame, and one that is closed is left alone."""
        handler = RecordingHandler()
        handler.expected_failures = [error := Unable()]
        async with connected(handler) as (session, peer):
            session.close(CloseCode.GOING_AWAY)
            assert (await peer.until_close())[-1][0] == CLOSE
            if state is State.CLOSED:
                await peer.send(client_frame(A_CLOSE, b"\x03\xe9"))
                await eventually(lambda: session.state is State.CLOSED, "it is closed")
            session.fail(error)


class TestMessages:
    @on_both_loops
    async def test_a_message_that_cannot_be_handled(self):
        """It costs its session, and nothing behind it is handled."""

        class RaisingOwner(RecordingHandler):
            def message_received(self, session: Session, payload: bytes) -> None:
                super().message_received(session, payload)
                if payload == b"bad":
                    raise error

        error = Unable()
        handler = RaisingOwner()
        handler.expected_failures = [error]
        async with connected(handler) as (_, peer):
            for text in (b"good", b"bad", b"behind"):
                await peer.send(client_frame(A_TEXT, text))
            frames = await peer.until_close()
            assert close_code(frames) == CloseCode.INTERNAL_ERROR
        assert handler.received == [b"good", b"bad"]


# -- whatever raises, wherever -------------------------------------------------------------------

HANDLERS = {
    "fail",
    "abort",
    "_report",
    "_attempt",
    "_go_on_safely",
    "_close_at_once",
    "_stop_receiving",
    "_finish",
    "session_failed",
}
"""These deal with errors, and can be called: there is one error at a time."""

PACKAGE = str(Path(sanic_chat.__file__).parent)


class Sabotage:
    """Has one call of a function raise: the `step`-th of the package and of a session's handler.

    What the loop, the hub and the pod call is not among them, since nothing could catch that; all
    that these call is.
    """

    def __init__(self, step: int) -> None:
        self.error = Unable(f"step {step}")
        self.where = ""
        """The function that raised; none if there are fewer steps."""
        self.is_in_a_queue = False
        """Whether it is one of a send queue, whose sums are not right then."""
        self._left = step

    def during(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Call something that is not to raise, whatever happens in it."""
        self._entry = getattr(call, "__func__", call).__code__
        sys.setprofile(self._profile)
        try:
            call(*arguments)
        finally:
            sys.setprofile(None)

    def _profile(self, frame: FrameType, event: str, arg: Any) -> None:
        code = frame.f_code
        if event != "call" or code is self._entry or code.co_name in HANDLERS:
            return
        if code.co_filename.startswith(PACKAGE) or code.co_filename == sessions.__file__:
            if not self._left:
                self.where = code.co_qualname
                self.is_in_a_queue = code.co_filename.endswith("send_queue.py")
                raise self.error  # which ends the profiling too
            self._left -= 1


class Scene(NamedTuple):
    """A call, and what comes before it."""

    prepare: Callable[[Session], object]
    call: Callable[[Session], tuple[Any, ...]]


def nothing(session: Session) -> None:
    pass


def queued(session: Session) -> None:
    """The client is behind."""
    stall(session)
    for number in range(20):
        session.enqueue(text_frame(b"%d" % number), 1, ROOM)


def unread(session: Session) -> None:
    """Of what it sent much is still to be looked at."""
    session.data_received(BURST)


def held(session: Session) -> None:
    session.hold()
    session.data_received(BURST)


def unread_and_queued(session: Session) -> None:
    unread(session)
    queued(session)


ROOM = Channel(b"room:a", "a", b'"a"')
BURST = (
    client_frame(A_TEXT, b"x") * 100
    + client_frame(A_PING)
    + client_frame(0x01, b"half")
    + client_frame(0x80, b"half")
)
SCENES = {
    "a message": Scene(nothing, lambda s: (s.data_received, client_frame(A_TEXT, b"x"))),
    "a burst": Scene(nothing, lambda s: (s.data_received, BURST)),
    "a burst while held": Scene(lambda s: s.hold(), lambda s: (s.data_received, BURST)),
    "a close frame": Scene(queued, lambda s: (s.data_received, BYE)),
    "a close frame behind a message": Scene(
        nothing, lambda s: (s.data_received, client_frame(A_TEXT, b"x") + BYE)
    ),
    "a violation": Scene(queued, lambda s: (s.data_received, client_frame(0x82))),
    "a turn": Scene(unread, lambda s: (s._turn,)),
    "a turn behind a hold": Scene(held, lambda s: (s.release,)),
    "a hold": Scene(nothing, lambda s: (s.hold,)),
    "a release": Scene(lambda s: s.hold(), lambda s: (s.release,)),
    "early frames": Scene(nothing, lambda s: (s.begin, BURST)),
    "a loss": Scene(nothing, lambda s: (s.connection_lost, None)),
    "a loss with much unread": Scene(unread, lambda s: (s.connection_lost, None)),
    "a loss with much queued": Scene(queued, lambda s: (s.connection_lost, None)),
    "a loss with much of both": Scene(unread_and_queued, lambda s: (s.connection_lost, None)),
    "a loss while held": Scene(held, lambda s: (s.connection_lost, None)),
    "a loss while closing": Scene(
        lambda s: s.close(CloseCode.GOING_AWAY), lambda s: (s.connection_lost, None)
    ),
    "a kernel that is full": Scene(nothing, lambda s: (s.pause_writing,)),
    "a kernel that takes more": Scene(queued, lambda s: (s.resume_writing,)),
    "a queue that is full": Scene(queued, lambda s: (s.send, text_frame(b"x" * 2**20))),
    "a queue that is shed": Scene(queued, lambda s: (s.shed,)),
    "an overflow": Scene(queued, lambda s: (s.overflow, 1)),
    "a close of ours": Scene(queued, lambda s: (s.close, CloseCode.GOING_AWAY)),
    "a close of ours while held": Scene(held, lambda s: (s.close, CloseCode.GOING_AWAY)),
    "a failure": Scene(unread_and_queued, lambda s: (s.fail, Unable())),
}


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
@on_both_loops
async def test_an_error_at_any_step(scene: Scene):
    """Whatever raises is that session's end, of which its handler hears once, and writes no byte.

    Its descriptor is another socket's by then.
    """
    steps = 0
    while await _survives(scene, Sabotage(steps)):
        steps += 1
        assert steps < 200
    print(steps, "steps")


async def _survives(scene: Scene, sabotage: Sabotage) -> bool:
    """Play a scene with an error in it; False if there are not so many steps."""
    handler = RecordingHandler(drop_oldest=True)
    async with connection(handler, system_events=True) as (session, peer):
        transport, descriptor = session._transport, session._descriptor
        assert transport is not None
        scene.prepare(session)
        call, *arguments = scene.call(session)
        sabotage.during(call, *arguments)
        peer.close()
        session.release()
        transport.abort()
        for _ in range(5):  # faster than to look again after a while
            await asyncio.sleep(0)
        await eventually(lambda: session.state is State.CLOSED, "it is closed")
    failures = handler.failures[:]
    await eventually(lambda: not is_open(descriptor), "its descriptor is free")
    with Successor(descriptor) as successor:
        session.write(b"stray")
        session.send(b"stray")
        session.enqueue(b"stray", 1)
        session.data_received(BURST)
        session.resume_writing()
        session.close(CloseCode.GOING_AWAY)
        session.overflow(1)
        session.shed()
        session.fail(Unable())
        await asyncio.sleep(0)
        assert successor.received() == b""
    ends = Counter(what for what, _ in handler.ends)
    ends.update({"RecordingHandler.session_closing": ["closing"]}.get(sabotage.where, ()))
    ends.update({"RecordingHandler.session_closed": ["closed"]}.get(sabotage.where, ()))
    assert ends == {"closing": 1, "closed": 1}, sabotage.where
    failure = arguments[:1] if call == session.fail else [sabotage.error] * bool(sabotage.where)
    assert failures == failure, sabotage.where
    if not sabotage.is_in_a_queue:
        assert handler.send_queues.held_bytes == len(handler.send_queues) == 0, sabotage.where
    return bool(sabotage.where)


class BrokenTransport:
    """A transport of which one method raises."""

    def __init__(self, transport: asyncio.Transport, method: str, error: Exception) -> None:
        self._transport = transport
        self._method = method
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return self._break if name == self._method else getattr(self._transport, name)

    def _break(self, *_: object) -> None:
        raise self._error


METHODS = (
    "write", "writelines", "pause_reading", "resume_reading", "is_reading", "is_closing",
    "get_write_buffer_size", "close", "abort",
)  # fmt: skip


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
@on_both_loops
async def test_a_transport_that_raises(scene: Scene):
    """That is its session's end too, and nothing that its callers notice."""
    for method in METHODS:
        await _with_a_broken_transport(scene, method)


async def _with_a_broken_transport(scene: Scene, method: str) -> None:
    error = Unable()
    handler = RecordingHandler(drop_oldest=True)
    async with connection(handler) as (session, _):
        transport = session._transport
        assert transport is not None
        scene.prepare(session)
        session._transport = BrokenTransport(transport, method, error)  # type: ignore[assignment]
        call, *arguments = scene.call(session)
        call(*arguments)
        session.release()
        if session._transport is not None:
            session._transport = transport
        transport.abort()
        await eventually(lambda: session.state is State.CLOSED, "it is closed")
    assert handler.failures in ([], [error], arguments[:1])
    assert [what for what, _ in handler.ends] == ["closing", "closed"]
    assert handler.send_queues.held_bytes == 0


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


class Successor:
    """A socket that was given a descriptor which has just become free."""

    def __init__(self, descriptor: int) -> None:
        self._own, self._other = socket.socketpair()
        if self._other.fileno() == descriptor:
            self._own, self._other = self._other, self._own
        elif self._own.fileno() != descriptor:
            elsewhere = self._own
            self._own = socket.socket(fileno=os.dup2(elsewhere.fileno(), descriptor))
            elsewhere.close()

    def __enter__(self) -> Successor:
        return self

    def __exit__(self, *_: object) -> None:
        self._own.close()
        self._other.close()

    def received(self) -> bytes:
        """What was written to it."""
        self._own.shutdown(socket.SHUT_WR)
        return self._other.recv(1000)
