"""A transport that notes what is written, for sessions without a socket."""

from __future__ import annotations

import asyncio
from typing import Any

from sanic_chat.session.session import Session
from sanic_chat.websocket.frames import TEXT

from .frames import server_frames


class RecordingTransport(asyncio.Transport):
    """Takes every write at once; while it is stalled it holds them back, as a full socket does."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.stalled = False
        self._held: list[bytes] = []
        self._protocol: Session | None = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, Session)
        self._protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert (high, low) == (1, 0)

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self._held))

    def write(self, data: Any) -> None:
        if not self.stalled:
            self.writes.append(data)
            return
        self._held.append(data)
        if len(self._held) == 1 and self._protocol is not None:
            self._protocol.pause_writing()

    def resume(self) -> None:
        """The socket takes everything again."""
        self.stalled = False
        if self._held:
            self.writes += self._held
            self._held.clear()
            assert self._protocol is not None
            self._protocol.resume_writing()

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """Nothing is read here."""

    def resume_reading(self) -> None:
        """The same."""

    def abort(self) -> None:
        assert self._protocol is not None
        self._protocol.connection_lost(None)

    def texts(self) -> list[bytes]:
        """The messages written so far."""
        return [
            payload for opcode, payload in server_frames(b"".join(self.writes)) if opcode == TEXT
        ]


def transport_of(session: Session) -> RecordingTransport:
    transport = session._transport
    assert isinstance(transport, RecordingTransport)
    return transport


def received(session: Session) -> list[bytes]:
    return transport_of(session).texts()
