"""A hub with real sessions over recording transports, and errors for it to meet."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sanic_chat.hub.channel import Channel
from sanic_chat.hub.hub import Hub
from sanic_chat.session.session import Session
from sanic_chat.websocket.frames import text_frame

from .sessions import RecordingHandler
from .transports import RecordingTransport, transport_of


class HubHandler(RecordingHandler):
    """A hub with its rooms and sessions, and with loop turns that the test makes."""

    def __init__(
        self,
        *,
        slice_members: int = 256,
        write_messages: int = 1000,
        write_bytes: int = 2**20,
        ready_messages: int = 0,
        **limits: Any,
    ) -> None:
        super().__init__(**limits)
        self.turn = self.soon
        self.hub = Hub(
            call_soon=self.turn.append,
            everyone=Channel(b"global", None, b"null"),
            write_messages=write_messages,
            write_bytes=write_bytes,
            ready_messages=ready_messages,
            slice_members=slice_members,
        )
        self.gone: list[Channel] = []
        self.hub.on_empty = self.gone.append

    def session_closing(self, session: Session) -> None:
        super().session_closing(session)
        self.hub.remove(session)

    def open(
        self,
        *rooms: Channel,
        echo: bool = True,
        system_events: bool = False,
        stalled: bool = False,
        client_id: str = "anna",
    ) -> Session:
        """A session in some rooms; a stalled one has one message in its transport already."""
        session = Session(
            self,
            client_id=client_id,
            echo=echo,
            system_events=system_events,
        )
        transport = RecordingTransport()
        transport.set_protocol(session)
        session.connection_made(transport)
        self.hub.add(session)
        for room in rooms:
            self.hub.join(session, room)
        if stalled:
            self.stall(session)
        return session

    def stall(self, session: Session) -> None:
        transport_of(session).stalled = True
        session.send(text_frame(b"in the transport"))

    def end_turn(self) -> None:
        """Let the loop run what was called soon."""
        callbacks, self.turn[:] = self.turn[:], []
        for callback in callbacks:
            callback()

    def rest(self) -> None:
        """Let the loop turn until nothing is left to do."""
        turns = 0
        while self.turn:
            self.end_turn()
            turns += 1
            assert turns < 1000, "it never comes to rest"


def channel_of(name: str) -> Channel:
    return Channel(b"room:" + name.encode(), name, b'"%b"' % name.encode())


def deliver(
    handler: HubHandler, room: Channel, *messages: bytes, sender: Session | None = None
) -> None:
    for message in messages:
        handler.hub.deliver(room, text_frame(message), sender=sender)


@contextmanager
def short_stack(frames: int) -> Iterator[None]:
    """Allow no more than so many frames on the stack beyond those there are."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(stack_depth() + frames)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def stack_depth() -> int:
    """How many frames are on the stack."""
    frame, depth = sys._getframe(), 0
    while frame.f_back is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


def explode(*_: Any) -> bool:
    raise RuntimeError("it went wrong")


class Announcer(HubHandler):
    """A handler that says `bye` in a room for every session that closes."""

    def __init__(self, room: Channel, **limits: Any) -> None:
        super().__init__(**limits)
        self._room = room

    def session_closing(self, session: Session) -> None:
        super().session_closing(session)
        self.hub.deliver(self._room, text_frame(b"bye"))
