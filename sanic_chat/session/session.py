"""A session: one connected client, from its upgrade to the end of its socket.

    hub, pod ─→ write, send ─→ (the kernel takes it: at once)
                    └→ the transport, and behind it a SendQueue until the kernel takes more

May live here: the life of one WebSocket (open, closing, closed), its answers to control frames, and
when bytes go to the transport. Must not know JSON, Redis or Sanic, nor more of channels than which
it is in. What a message means is its handler's; what a full send queue drops is the queue's.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ..errors import CloseConnection
from ..hub.channel import Channel
from ..logs.logger import logger
from ..protocol.identity import Identity
from ..protocol.message import json_text
from ..websocket.frames import CloseCode, close_frame, parse_close
from .handler import EndedBy, Ending, SessionHandler
from .inbound import Inbound, State
from .send_queue import SendQueue

_by_server = partial(Ending, EndedBy.SERVER)

_SLOW = _by_server(CloseCode.TRY_AGAIN_LATER, "slow consumer: the send queue is full")
_OVERLOAD = _by_server(CloseCode.TRY_AGAIN_LATER, "overload: too much waits to be read by clients")
_FAILED = _by_server(CloseCode.INTERNAL_ERROR, "the server's fault")
_SILENT = Ending(EndedBy.SILENCE, None, "")
_LOST = Ending(EndedBy.NOBODY, None, "")

_OPEN = State.OPEN  # looking a member up in its class costs as much as the rest of the question
_write = os.write


class Session(Inbound):
    """A client after its upgrade, as the asyncio protocol of its socket.

    It has no task and no timer: it acts when the loop or the pod calls it. While the kernel takes
    what is sent, `writable` is true, and `write` hands bytes straight to it. Once the kernel does
    not, `writable` is false, and frames wait in the transport and in a send queue, which exists
    only for that time.

    A session that is not open any more, or whose connection is lost, is `writable` and writes
    nowhere. An error that one of its callbacks raises ends this session and no other.
    """

    __slots__ = (
        "_client_id",
        "_descriptor",
        "_has_failed",
        "_queue",
        "channels",
        "default_channel",
        "echo",
        "heartbeat_slot",
        "identity",
        "presence",
        "sender",
        "system_events",
        "writable",
        "write",
    )

    def __init__(
        self,
        handler: SessionHandler,
        *,
        client_id: str,
        identity: Identity | None = None,
        echo: bool = True,
        system_events: bool = False,
        presence: bool = False,
    ) -> None:
        super().__init__(handler)
        self._client_id = None if identity is None else client_id  # `sender` has it, if it is None
        self.identity = identity
        """The client as its token says; None: it has none, and speaks for itself."""
        # A copy: what msgspec makes keeps up to 31 bytes that it does not need.
        self.sender = b"%b" % json_text(client_id if identity is None else identity.user)
        """The user as JSON, ready for a message's `from`."""
        self.echo = echo
        """Whether it gets its own messages."""
        self.system_events = system_events
        """Whether it asked for system events."""
        self.presence = presence
        """Whether it asked for joins and leaves of its rooms."""
        self.default_channel: Channel | None = None
        """The channel of the room it connected to, for messages without a room. None: global."""
        self.channels: tuple[Channel, ...] = ()
        """Every channel that it is in, but for the global one; only the hub changes it."""
        self.heartbeat_slot = 0
        self.writable = False
        self._has_failed = False
        self._queue: SendQueue | None = None
        self._descriptor = -1

    @property
    def client_id(self) -> str:
        """The ID of this one connection, made by us."""
        return self.sender[1:-1].decode() if self._client_id is None else self._client_id

    @property
    def user(self) -> str:
        """The user that the client speaks for; without a token its client ID."""
        return self.client_id if self.identity is None else self.identity.user

    # -- the socket ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over a socket. The answer to the handshake may be written from now on."""
        if TYPE_CHECKING:  # uvloop's is none by inheritance
            assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        # What the kernel does not take at once counts as waiting.
        socket = transport.get_extra_info("socket")
        if socket is None or transport.get_extra_info("sslcontext") is not None:
            self.write: Callable[[bytes], None] = (
                transport.write if socket is None else self._write_to_transport
            )
            # Not 0: transports over TLS would say `pause_writing` with nothing to write, and
            # nothing would end that pause.
            transport.set_write_buffer_limits(high=1, low=0)
        else:
            self._descriptor = socket.fileno()
            self.write = self._write_to_kernel
            transport.set_write_buffer_limits(high=0)
        # Answers to requests before the handshake may still wait there, and the transport says
        # only once that it does not keep up.
        if transport.get_write_buffer_size():
            self.pause_writing()
        else:
            self.writable = True

    def eof_received(self) -> None:
        """Have the transport close itself: half a connection is none."""
        if self._descriptor < 0:  # TLS has said goodbye, and would complain of every write
            self.write = _write_nowhere
            self.writable = True
            self._drop_queue("connection_lost")

    def pause_writing(self) -> None:
        if self.state is not _OPEN or self._transport is None:
            return
        self.writable = False
        try:
            self._send_queue().transport_holds(self._transport.get_write_buffer_size())
        except Exception as error:
            self.fail(error)

    def resume_writing(self) -> None:
        self.writable = True
        try:
            self._write_on()
        except Exception as error:
            self.fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        # First of all, and so that nothing can skip it: the descriptor is soon somebody else's.
        self.write = _write_nowhere
        self._descriptor = -1
        self._transport = None
        self.writable = True
        try:
            if self._queue is not None:
                self._drop_queue("connection_lost")
            if (self._waiting is not None or self._parser.has_rest) and self._ends_in_order():
                self._go_on()  # what came before the end is still handled
                return
        except Exception as error:
            self._report(error)
        self._finish()

    def _finish(self) -> None:
        if self.state is not State.CLOSED:
            self._stop_receiving(_LOST)
            self.state = State.CLOSED
            self._attempt(self.handler.session_closed, self)

    # -- sending ---------------------------------------------------------------------------

    def send(self, frames: bytes, messages: int = 1) -> None:
        """Send whole frames with so many messages, now or when the kernel takes them.

        Never blocks and never raises. A full send queue closes the session with 1013. Does nothing
        on a session that is not open: no frame may follow a close frame (RFC 6455 section 5.5.1).
        """
        if self.state is not _OPEN:
            return
        try:
            if self.writable:
                self.write(frames)
            elif not self.enqueue(frames, messages):
                self.overflow(messages)
        except Exception as error:
            self.fail(error)

    def _write_on(self) -> None:
        """Write the send queue until the kernel is behind again; close it once it is empty."""
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

    def _write_to_kernel(self, frames: bytes) -> None:
        """Write as the transport does while its buffer is empty, at nine tenths of the price.

        The descriptor is ours until `connection_lost` has returned: transports close it after that.
        """
        try:
            sent = _write(self._descriptor, frames)
        except OSError:
            sent = 0  # full, or broken: it is for the transport to find out and to tell
        if sent < len(frames):
            self._write_to_transport(frames[sent:] if sent else frames)

    def _write_to_transport(self, frames: bytes) -> None:
        transport = self._transport
        if transport is not None:
            transport.write(frames)
            if _is_closing(transport):  # by this, or before; asyncio's would log every further one
                self.write = _write_nowhere

    def enqueue(self, frames: bytes, messages: int, channel: Channel | None = None) -> bool:
        """Put frames of a channel, or of its own, into the send queue; False if they do not fit.

        A caller that sends to many sessions calls `write` on those that are `writable`, this on the
        others, and afterwards `overflow` on those that returned False.
        """
        if self._transport is None or self.state is not _OPEN:
            return True  # it goes nowhere
        unsent = self._transport.get_write_buffer_size()
        dropped = self._send_queue().push(frames, messages, channel, unsent=unsent)
        if dropped:
            self.handler.messages_dropped(self, dropped, "slow_consumer")
        return dropped is not None

    def overflow(self, messages: int) -> None:
        """Close a slow consumer with 1013; its queue and `messages` that did not fit are lost."""
        if self.state is _OPEN:
            self._attempt(self.handler.messages_dropped, self, messages, "slow_consumer")
            self._close_at_once(_SLOW, "slow_consumer")

    def shed(self) -> None:
        """Drop what may be dropped, or else close with 1013, for an overload of the pod."""
        queue = self._queue
        try:
            dropped = queue.drop() if queue is not None else 0
            if dropped:
                self.handler.messages_dropped(self, dropped, "overload")
            elif self.state is _OPEN:
                self._close_at_once(_OVERLOAD, "overload")
        except Exception as error:
            self.fail(error)

    @property
    def peername(self) -> object:
        """The socket's name for its other end; None without a socket."""
        return None if self._transport is None else self._transport.get_extra_info("peername")

    @property
    def queued_messages(self) -> int:
        """The messages in the send queue, and those that the transport has taken from it."""
        return 0 if self._queue is None else self._queue.waiting_messages

    @property
    def has_unsent_bytes(self) -> bool:
        """Whether the transport has bytes that the kernel has not taken."""
        return self._transport is not None and self._transport.get_write_buffer_size() > 0

    def _send_queue(self) -> SendQueue:
        if self._queue is None:
            tell = partial(self.handler.gap_frames, self) if self.system_events else None
            self._queue = self.handler.send_queues.open(shed=self.shed, gap_frames=tell)
        return self._queue

    # -- closing ---------------------------------------------------------------------------

    def close(self, code: int, reason: str = "", *, by: EndedBy = EndedBy.SERVER) -> None:
        """Begin an orderly close: send what is queued, then a close frame, and await the client's.

        The socket is closed when the client answers, or when the heartbeat or the drain aborts it.
        Does nothing on a session that is closing or closed. Never raises.
        """
        if self.state is not _OPEN:
            return
        self._stop_receiving(Ending(by, code, reason))
        try:
            queued = [] if self._queue is None else self._queue.take_all()
            self._queue = None
            if self._transport is not None:
                self._transport.writelines([*queued, close_frame(code, reason)])
            self._go_on()
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """End the session with 1011 because of an error of ours; what waits for it is lost.

        The handler is told of the first error only. Never raises, in any state of the session, and
        not for an error of its handler or its transport.
        """
        self._report(error)
        if self.state is _OPEN:
            self._close_at_once(_FAILED, "session_failed")
        else:
            self._attempt(self.abort)  # nothing may follow a close frame

    def give_up(self) -> None:
        """Abort, because nothing was heard of the client for too long."""
        self._stop_receiving(_SILENT)
        self.abort()

    def abort(self) -> None:
        """Drop the socket at once, with all that is still to be sent; `connection_lost` follows.

        Messages that were read are still handled, unless the session has no socket.
        """
        if self._transport is not None:
            self._transport.abort()
        else:
            self._finish()

    def _ended_by_client(self, violation: CloseConnection | None, payload: bytes) -> None:
        if violation is None:
            if self.state is _OPEN:
                self._close_at_once(
                    Ending(EndedBy.CLIENT, *parse_close(payload)), "closed_by_client"
                )
            self._close_transport()
            return
        if self.state is _OPEN:
            self._close_at_once(_by_server(violation.code, violation.reason), "protocol_violation")
        if self._parser.finished:  # it was a close frame, and no other one follows
            self._close_transport()

    def _close_at_once(self, ending: Ending, reason: str) -> None:
        """Send a close frame in place of what is queued, which is lost for `reason`.

        Never raises. After an error the socket is dropped, without a close frame.
        """
        try:
            self._stop_receiving(ending)
            self._drop_queue(reason)
            if self._transport is not None:
                said = ending.reason if ending.by is EndedBy.SERVER else ""
                # The transport may hold the rest of another frame.
                self._transport.write(close_frame(ending.code, said))
            self._go_on()
        except Exception as error:
            self._report(error)
            self._attempt(self.abort)

    def _stop_receiving(self, ending: Ending) -> None:
        if self.state is _OPEN:
            self.state = State.CLOSING
            self.write = _write_nowhere
            self.writable = True
            self.quiet_looks = 0
            handler = self.handler
            self._attempt(self._drop_messages)
            self._attempt(handler.session_ends, self, ending)
            self._attempt(handler.session_closing, self)

    def _drop_messages(self) -> None:
        """Drop the messages that were read and not handled yet."""
        unhandled = self._stop_reading_messages()
        if unhandled:
            self.handler.messages_dropped(self, unhandled, "not_handled")

    def _attempt(self, step: Callable[..., None], *arguments: object) -> None:
        """Take a step of the session's end. An error is reported, and the end goes on."""
        try:
            step(*arguments)
        except Exception as error:
            self._report(error)

    def _report(self, error: Exception) -> None:
        if not self._has_failed:
            self._has_failed = True
            try:
                self.handler.session_failed(self, error)
            except Exception:
                logger.exception("A session could not tell that it failed")

    def _close_transport(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _drop_queue(self, reason: str) -> None:
        queue, self._queue = self._queue, None
        if queue is not None:
            if queue.messages:
                self._attempt(self.handler.messages_dropped, self, queue.messages, reason)
            self._attempt(queue.close)


def _is_closing(transport: asyncio.Transport) -> bool:
    if transport.is_closing():
        return True
    # asyncio's transport over TLS does not look at the one below it before Python 3.12, nor ever
    # whether the client has said goodbye behind what is not read yet: then it writes nothing.
    tls = getattr(transport, "_ssl_protocol", None)
    below = getattr(tls, "_transport", None)
    return bool(getattr(tls, "_conn_lost", 0) or (below is not None and below.is_closing()))


def _write_nowhere(data: bytes) -> None:
    """The `write` of a session that is not open any more."""
