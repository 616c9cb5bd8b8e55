"""The inbound half of a session: it reads one client, a bounded part in each turn of the loop.

    socket ─→ data_received ─→ (one whole text: at once) ─→ handler.message_received
                  └→ parser ─→ a turn's worth ─→ pings, messages, the end
                        └→ the rest: raw bytes, for the next turns; the socket is paused

May live here: when the client is read from, how much a turn handles, and what waits while the
session is held. Must not know how anything is sent, nor what a message means.
"""

from __future__ import annotations

import asyncio
from enum import Enum, Flag, auto

from ..errors import CloseConnection
from ..websocket.frames import CLOSE, PING, TEXT, pong_frame
from ..websocket.parser import FrameParser
from .handler import SessionHandler

FRAMES_PER_TURN = 64
"""The frames of one client that are handled before everybody else gets a turn."""

BYTES_PER_TURN = 64 * 1024
"""The bytes of such frames, after which no further one is begun."""

CLOSING_BYTES = 32 * 1024 * 1024
"""The bytes that a client may send after our close frame before its socket is dropped."""

VIOLATION = -1
"""The opcode that stands for a violation of the protocol."""

Frame = tuple[int, bytes]


class State(Enum):
    """The states of a session, in their order."""

    OPEN = "open"
    CLOSING = "closing"  # our close frame is on its way; the client's is awaited
    CLOSED = "closed"


class Hold(Flag):
    """The reasons why the messages of a session wait.

    BACKPRESSURE: the pod cannot pass on what it has read. The socket is not read from, so that the
    client has to wait too. RECEIPTS: the same, for a client that does not take the receipts that it
    has asked for. ANSWER: no message can be handled before an answer is there. The socket is still
    read from, for control frames, until a turn's worth of messages waits.

    Pings that were read are answered at once in any case. A close frame or a violation, which end
    the session, come after the messages before them, but for ANSWER. There they come at once: the
    messages are dropped and counted, and the answer is not sent.
    """

    BACKPRESSURE = auto()
    RECEIPTS = auto()
    ANSWER = auto()


_OPEN = State.OPEN  # looking a member up in its class costs as much as the rest of the question


class Inbound(asyncio.Protocol):
    """The inbound half of a session. `Session`, its only subclass, adds the outbound half.

    Memory is bounded: one read from the socket, as the bytes it came in, and while the session is
    held a turn's worth of parsed messages.
    """

    __slots__ = (
        "_holds",
        "_ignored_bytes",
        "_is_behind",
        "_is_paused",
        "_parser",
        "_transport",
        "_turn_is_due",
        "_waiting",
        "handler",
        "quiet_looks",
        "state",
    )

    def __init__(self, handler: SessionHandler) -> None:
        self.handler = handler
        self.state = State.OPEN
        self.quiet_looks = 0
        """The heartbeat's looks since the last sign of life."""
        limits = handler.limits
        self._parser = FrameParser(limits)
        self._transport: asyncio.Transport | None = None
        self._waiting: list[Frame] | None = None  # messages, and what ends the session
        self._holds: Hold | None = None
        self._turn_is_due = False
        self._is_behind = False  # what comes has to wait for what came before it
        self._is_paused = False
        self._ignored_bytes = 0

    # -- the outbound half -----------------------------------------------------------------

    def send(self, frames: bytes, messages: int = 1) -> None:
        """See `Session`."""
        raise NotImplementedError

    def fail(self, error: Exception) -> None:
        """See `Session`."""
        raise NotImplementedError

    def abort(self) -> None:
        """See `Session`."""
        raise NotImplementedError

    def _ended_by_client(self, violation: CloseConnection | None, payload: bytes) -> None:
        """End the session for a violation, or for the client's close frame with that payload."""
        raise NotImplementedError

    def _finish(self) -> None:
        """Close the session: its connection is lost, and what came over it is handled."""
        raise NotImplementedError

    # -- reading ---------------------------------------------------------------------------

    def begin(self, early: bytes) -> None:
        """Begin to read; `early` are the bytes that came before the session had its socket."""
        transport = self._transport
        try:
            self._is_paused = transport is not None and not transport.is_reading()
            if early:
                self.data_received(early)
            if early or self._is_paused:
                self._go_on()
        except Exception as error:
            self.fail(error)

    def data_received(self, data: bytes) -> None:
        try:
            if self.state is _OPEN:
                self.quiet_looks = 0
                if not self._is_behind:
                    message = self._parser.whole_text(data)
                    if message is not None:
                        self.handler.message_received(self, message)  # type: ignore[arg-type]
                        return
            else:
                # Only the client's close frame is of interest. The rest is read all the same:
                # closing with bytes unread resets the connection, and may take ours with it.
                self._ignored_bytes += len(data)
                if self._ignored_bytes > CLOSING_BYTES:
                    self.abort()
                    return
            if self._turn_is_due:
                self._parser.receive(data, 0)
            else:
                self._look_at(data)
        except Exception as error:
            self.fail(error)

    def hold(self, reason: Hold = Hold.BACKPRESSURE) -> None:
        """Have the client's messages wait until `release` was called for every reason.

        Called while a message is handled, it concerns all that come after that one. Does nothing
        on a session that is not open. A close ends every hold.
        """
        if self.state is _OPEN:
            self._holds = reason if self._holds is None else self._holds | reason
            self._go_on_safely()

    def release(self, reason: Hold = Hold.BACKPRESSURE) -> None:
        """End a `hold`. Its time does not count as the client's silence."""
        if self._holds is not None and reason in self._holds:
            self._holds = self._holds & ~reason or None
            self.quiet_looks = 0
            self._go_on_safely()

    @property
    def is_held(self) -> bool:
        """Whether the session is held for any reason."""
        return self._holds is not None

    def _go_on(self) -> None:
        """Schedule a turn if there is something to do in it, and pause or resume the socket.

        No other method does either.
        """
        if self.state is State.CLOSED:
            return
        waiting, has_rest, holds = self._waiting, self._parser.has_rest, self._holds
        if holds is not None and (waiting is None or waiting[0][0] == TEXT):
            is_full = waiting is not None and _is_full(waiting)
            is_due = has_rest and not is_full
            pauses = has_rest or is_full or holds is not Hold.ANSWER
        else:
            is_due = pauses = has_rest or waiting is not None
        self._is_behind = pauses or holds is not None
        transport = self._transport
        if transport is None:
            if self.state is not _OPEN or not (has_rest or waiting):
                self._finish()
                return
        elif pauses is not self._is_paused and not transport.is_closing():
            self._is_paused = pauses
            if pauses:
                transport.pause_reading()
            else:
                transport.resume_reading()
        if is_due and not self._turn_is_due:
            self._turn_is_due = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _go_on_safely(self) -> None:
        """Do the same. An error ends this session, and does not reach the caller."""
        try:
            self._go_on()
        except Exception as error:
            self.fail(error)

    def _turn(self) -> None:
        self._turn_is_due = False
        waiting = self._waiting
        try:
            if waiting is None:
                self._look_at(b"")
            elif self._holds is None or waiting[0][0] != TEXT:
                self._waiting = None
                self._take(waiting)
                self._go_on()
            elif not _is_full(waiting):  # it was not when this turn became due
                self._look_at(b"")
        except Exception as error:
            self.fail(error)

    def _look_at(self, data: bytes) -> None:
        """Handle a turn's worth of what was read, of which `data` is the newest part."""
        parser = self._parser
        failure = parser.failure
        max_frames = FRAMES_PER_TURN - (0 if self._waiting is None else len(self._waiting))
        frames = parser.receive(data, max_frames, BYTES_PER_TURN)
        if parser.failure is not failure:
            frames.append((VIOLATION, b""))
        self._take(frames)
        if self._is_behind or parser.has_rest or self._waiting is not None:
            self._go_on()

    def _take(self, frames: list[Frame]) -> None:
        """Handle frames in their order, or have them wait for their turn.

        A close frame or a violation has its own turn, after that of the last messages. So their
        consequences are sent to the client before its close frame is answered.
        """
        pongs: list[bytes] = []  # to pings in a row: one write for all of them
        has_handled = False
        waits = self._waiting is not None
        for opcode, payload in frames:
            if opcode == PING:
                pongs.append(pong_frame(payload))
                continue
            if pongs:
                self._answer_pings(pongs)
            if opcode == TEXT:
                if waits or self._holds is not None:
                    waits = True
                    self._wait(opcode, payload)
                elif self.state is _OPEN:
                    has_handled = True
                    self.handler.message_received(self, payload)  # type: ignore[arg-type]
            elif opcode in (CLOSE, VIOLATION):
                if (has_handled or waits) and self._ends_in_order():
                    waits = True
                    self._wait(opcode, payload)
                else:
                    self._ended_by_client(
                        self._parser.failure if opcode == VIOLATION else None, payload
                    )
        if pongs:
            self._answer_pings(pongs)

    def _answer_pings(self, pongs: list[bytes]) -> None:
        self.send(b"".join(pongs), len(pongs))
        pongs.clear()

    def _ends_in_order(self) -> bool:
        """Whether the messages before the end are handled first."""
        return self.state is _OPEN and (self._holds is None or Hold.ANSWER not in self._holds)

    def _wait(self, opcode: int, payload: bytes) -> None:
        if self._waiting is None:
            self._waiting = []
        self._waiting.append((opcode, payload))

    def _stop_reading_messages(self) -> int:
        """Step over all frames up to the client's close frame; return the messages dropped by that.

        These are the ones that were read and not handled yet. The caller calls `_go_on`.
        """
        self._holds = None
        self._parser.follow()
        waiting = self._waiting
        if waiting is None:
            return 0
        ends = [frame for frame in waiting if frame[0] != TEXT]
        self._waiting = ends or None
        return len(waiting) - len(ends)


def _is_full(waiting: list[Frame]) -> bool:
    """Whether a turn's worth waits, so that no further frame is looked at."""
    return (
        len(waiting) >= FRAMES_PER_TURN
        or sum(len(payload) for _, payload in waiting) >= BYTES_PER_TURN
    )
