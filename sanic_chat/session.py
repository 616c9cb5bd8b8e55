"""One connected client: the bytes in and out of its upgraded socket.

May live here: the life of one WebSocket (open, closing, closed), when what goes to the transport,
answers to control frames. Must not know JSON, rooms beyond holding them, Redis or Sanic; what a
message means is its owner's business, and what a full send queue loses its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import cast

from .errors import CloseConnection
from .owner import SessionOwner
from .room import Room
from .send_queue import SendQueue
from .websocket import (
    CLOSE,
    PING,
    TEXT,
    CloseCode,
    FrameParser,
    close_frame,
    parse_close,
    pong_frame,
)

FRAMES_PER_TURN = 64
"""Frames of one client that are handled before everybody else gets a turn."""

CLOSING_BYTES = 32 * 1024 * 1024
"""What a client may still send after our close frame before its socket is dropped."""

_SLOW = close_frame(CloseCode.TRY_AGAIN_LATER, "slow consumer: the send queue is full")
_OVERLOAD = close_frame(CloseCode.TRY_AGAIN_LATER, "overload: too much waits to be read by clients")


class State(Enum):
    OPEN = "open"
    CLOSING = "closing"  # our close frame is on its way; the client's is awaited
    CLOSED = "closed"


_OPEN = State.OPEN  # looking a member up in its class costs as much as the rest of the question
_write = os.write


class Session(asyncio.Protocol):
    """A client after its upgrade, as the asyncio protocol of its socket.

    No task and no timer: it acts when the loop calls it. While the kernel takes what is sent,
    `writable` is true and `write` hands bytes straight to it; once it does not, frames wait in the
    transport and in a send queue. It has one only while the kernel is behind.
    """

    __slots__ = (
        "_descriptor",
        "_held",
        "_ignored_bytes",
        "_parser",
        "_queue",
        "_transport",
        "_unread",
        "echo",
        "heartbeat_slot",
        "owner",
        "presence",
        "quiet_looks",
        "room",
        "rooms",
        "sender",
        "state",
        "system_events",
        "writable",
        "write",
    )

    def __init__(
        self,
        owner: SessionOwner,
        *,
        sender: bytes,
        echo: bool = True,
        system_events: bool = False,
        presence: bool = False,
    ) -> None:
        self.owner = owner
        self.sender = sender
        """The client ID as JSON, ready for a message's `from`."""
        self.echo = echo
        """Whether it receives its own messages."""
        self.system_events = system_events
        """Whether it asked for the server's notices."""
        self.presence = presence
        """Whether it asked for joins and leaves of its rooms."""
        self.room: Room | None = None
        """The room it connected to, where messages without a room go; None: global."""
        self.rooms: tuple[Room, ...] = ()
        """Every room it is in, the hub's global one excepted; only the hub changes it."""
        self.quiet_looks = 0
        """How often the heartbeat has looked since the last sign of life."""
        self.heartbeat_slot = 0
        self.state = State.OPEN
        self.writable = False
        limits = owner.limits
        self._parser = FrameParser(limits.max_message_bytes, limits.max_message_fragments)
        self._unread: list[tuple[int, bytes]] | None = None  # frames for the next turns
        self._held = False
        self._queue: SendQueue | None = None
        self._ignored_bytes = 0

    # -- the socket ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over a socket; the answer to the handshake may be written from now on."""
        transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._transport: asyncio.Transport | None = transport
        # What the kernel does not take at once counts as waiting.
        socket = transport.get_extra_info("socket")
        if socket is None or transport.get_extra_info("sslcontext") is not None:
            self.write: Callable[[bytes], None] = transport.write
            # Not 0: transports over TLS would say `pause_writing` with nothing to write, and
            # nothing would end that pause.
            transport.set_write_buffer_limits(high=1, low=0)
        else:
            self._descriptor: int = socket.fileno()
            self.write = self._write_to_kernel
            transport.set_write_buffer_limits(high=0)
        # Answers to requests before the handshake may still wait there, and the transport says
        # only once that it does not keep up.
        if transport.get_write_buffer_size():
            self.pause_writing()
        else:
            self.writable = True

    def data_received(self, data: bytes) -> None:
        if self.state is _OPEN:
            self.quiet_looks = 0
            if self._unread is None and not self._held:
                message = self._parser.whole_text(data)
                if message is not None:
                    self.owner.message_received(self, message)
                    return
        elif not self._still_listens(len(data)):
            return
        frames = self._parser.receive(data)
        if self._unread is not None:
            self._unread += frames
        elif self._held:
            self._unread = frames
        elif len(frames) > FRAMES_PER_TURN:
            self._unread = frames
            self._pause_reading()
            self._read_on()
        else:
            self._take(frames)

    def eof_received(self) -> None:
        """Half a connection is none: the transport closes itself when this returns."""

    def pause_writing(self) -> None:
        self.writable = False
        if self.state is _OPEN:
            assert self._transport is not None
            self._send_queue().transport_holds(self._transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self.writable = True
        queue = self._queue
        if queue is None:
            return
        queue.transport_holds(0)
        while not queue.is_empty:
            self.write(queue.take())
            if not self.writable:
                return
        self._queue = None
        queue.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._unread is not None:  # it came before the end
            unread, self._unread = self._unread, None
            self._take(unread)
        self._drop_queue("connection_lost")
        self.write = _write_nowhere  # drops the reference to the transport
        self.writable = True  # what is pending for it goes nowhere too
        self._stop_receiving()
        self.state = State.CLOSED
        self.writable = False
        self._transport = None
        self.owner.session_closed(self)

    # -- receiving -------------------------------------------------------------------------

    def hold(self) -> None:
        """Read nothing more from the client, and handle no frame, until `release`."""
        self._held = True
        self._pause_reading()

    def release(self) -> None:
        """Go on reading after `hold`; what was missed meanwhile is not taken for silence."""
        if not self._held:
            return
        self._held = False
        self.quiet_looks = 0
        asyncio.get_running_loop().call_soon(self._read_on)

    @property
    def is_held(self) -> bool:
        """Whether `hold` was called, and `release` not yet."""
        return self._held

    def _read_on(self) -> None:
        """Handle the next frames that wait; once there are none, read again."""
        if self._held:
            return
        unread, self._unread = self._unread, None
        if unread is not None:
            if len(unread) > FRAMES_PER_TURN:
                self._unread = unread[FRAMES_PER_TURN:]
                asyncio.get_running_loop().call_soon(self._read_on)
            self._take(unread[:FRAMES_PER_TURN])
        if self._unread is None and not self._held:
            transport = self._transport
            if transport is not None and not transport.is_closing():
                transport.resume_reading()

    def _take(self, frames: list[tuple[int, bytes]]) -> None:
        pongs: list[bytes] = []  # to pings in a row: one write for all of them
        for opcode, payload in frames:
            if opcode == PING:
                pongs.append(pong_frame(payload))
                continue
            if pongs:
                self._answer_pings(pongs)
            if opcode == TEXT:
                if self.state is _OPEN:
                    self.owner.message_received(self, payload)
            elif opcode == CLOSE:
                self._close_received(payload)
        if pongs:
            self._answer_pings(pongs)
        violation = self._parser.failure
        if violation is not None and self._unread is None and self.state is not State.CLOSED:
            self._violated(violation)

    def _answer_pings(self, pongs: list[bytes]) -> None:
        self.send(b"".join(pongs), len(pongs))
        pongs.clear()

    def _pause_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    # -- sending ---------------------------------------------------------------------------

    def send(self, frames: bytes, messages: int = 1) -> None:
        """Send whole frames that hold `messages` messages, now or when the kernel takes them.

        Never blocks. A full send queue closes the session with 1013. On a session that is not
        open nothing happens: after a close frame nothing may follow (RFC 6455 section 5.5.1).
        """
        if self.state is not _OPEN:
            return
        if self.writable:
            self.write(frames)
        elif not self.enqueue(frames, messages):
            self.overflow(messages)

    def _write_to_kernel(self, frames: bytes) -> None:
        """What the transport's `write` does while it holds nothing, at nine tenths of the price.

        The descriptor is ours until `connection_lost` has returned: transports close it after that.
        """
        try:
            sent = _write(self._descriptor, frames)
        except OSError:
            sent = 0  # full, or broken: it is for the transport to find out and to tell
        if sent < len(frames) and self._transport is not None:
            self._transport.write(frames[sent:])

    def enqueue(self, frames: bytes, messages: int, room: Room | None = None) -> bool:
        """Put frames of a room, or of its own, into the send queue; False if they do not fit.

        For who sends to many at once: call `write` while `writable`, this otherwise, and
        `overflow` afterwards on those that gave False.
        """
        assert self._transport is not None
        unsent = self._transport.get_write_buffer_size()
        dropped = self._send_queue().push(frames, messages, room, unsent=unsent)
        if dropped:
            self.owner.messages_dropped(self, dropped, "slow_consumer")
        return dropped is not None

    def overflow(self, messages: int) -> None:
        """Close a slow consumer: its queue and the `messages` that did not fit are lost."""
        if self.state is _OPEN:
            self.owner.messages_dropped(self, messages, "slow_consumer")
            self._close_at_once(_SLOW, "slow_consumer")

    def shed(self) -> None:
        """Drop what may be dropped, or else close, since all clients together are too slow."""
        queue = self._queue
        dropped = queue.drop() if queue is not None else 0
        if dropped:
            self.owner.messages_dropped(self, dropped, "overload")
        elif self.state is _OPEN:
            self._close_at_once(_OVERLOAD, "overload")

    @property
    def queued_messages(self) -> int:
        """Messages in the send queue, and those that the transport has taken from it."""
        return 0 if self._queue is None else self._queue.waiting_messages

    @property
    def has_unsent_bytes(self) -> bool:
        """Whether something still waits for the kernel to take it."""
        return self._transport is not None and self._transport.get_write_buffer_size() > 0

    def _send_queue(self) -> SendQueue:
        if self._queue is None:
            tell = partial(self.owner.gap_frames, self) if self.system_events else None
            self._queue = self.owner.send_queues.open(shed=self.shed, gap_frames=tell)
        return self._queue

    # -- closing ---------------------------------------------------------------------------

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Begin an orderly close: what is queued, then a close frame; the client's is awaited.

        The socket goes when the client answers, or when the heartbeat or the drain aborts it.
        Does nothing on a session that is closing or closed.
        """
        if self.state is not _OPEN:
            return
        self._stop_receiving()
        frame = close_frame(code, reason)
        queue, self._queue = self._queue, None
        assert self._transport is not None
        if queue is None:
            self._transport.write(frame)
        else:
            self._transport.writelines([*queue.take_all(), frame])

    def abort(self) -> None:
        """Drop the socket at once, with all that waits; `connection_lost` follows."""
        if self._transport is not None:
            self._transport.abort()

    def _still_listens(self, size: int) -> bool:
        """Whether what comes after our own close frame is still looked at.

        Only the client's close frame is of interest there. The rest is read all the same: closing
        with bytes unread resets the connection, and the client would never see why.
        """
        self._ignored_bytes += size
        if self._ignored_bytes > CLOSING_BYTES:
            self.abort()
            return False
        return not self._parser.finished

    def _close_received(self, payload: bytes) -> None:
        if self.state is _OPEN:
            code, _ = parse_close(payload)
            self._close_at_once(close_frame(code), "closed_by_client")
        self._close_transport()

    def _violated(self, violation: CloseConnection) -> None:
        if self.state is _OPEN:
            frame = close_frame(violation.code, violation.reason)
            self._close_at_once(frame, "protocol_violation")
            # The rest of a broken stream is not worth waiting for, but closing while bytes
            # arrive resets the connection and may take the close frame with it.
            if self._transport is not None:
                if self._transport.can_write_eof():
                    with suppress(OSError):  # it is reset already, and `connection_lost` follows
                        self._transport.write_eof()
                else:
                    self._transport.close()  # TLS says goodbye, and reads until the client does
        else:
            self._close_transport()

    def _close_at_once(self, frame: bytes, reason: str) -> None:
        """Send a close frame in place of what is queued; that is lost for `reason`."""
        self._stop_receiving()
        self._drop_queue(reason)
        if self._transport is not None:
            self._transport.write(frame)  # which may hold the rest of another frame

    def _stop_receiving(self) -> None:
        if self.state is _OPEN:
            self.state = State.CLOSING
            self.quiet_looks = 0
            self.owner.session_closing(self)

    def _close_transport(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _drop_queue(self, reason: str) -> None:
        queue, self._queue = self._queue, None
        if queue is not None:
            if queue.messages:
                self.owner.messages_dropped(self, queue.messages, reason)
            queue.close()


def _write_nowhere(data: bytes) -> None:
    """What a closed session writes to."""
