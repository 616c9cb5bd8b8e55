"""One socket to Redis that speaks RESP2 in batches, from its opening to its loss.

    call, write ─→ `expected` ─→ (Redis answers in order) ─→ handler.replies_received

May live here: bytes in, replies out, and which answers are still to come. Must not know when a
connection is made, what it is for, nor what comes after it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, cast, final

import hiredis

Reply = Any
"""A reply as hiredis reads it: bytes, int, list, None, or a hiredis.ReplyError."""

WRITE_BUFFER_BYTES = 1024 * 1024
FEED_BYTES = 32 * 1024
"""The bytes given to hiredis at once. It moves all it has left with every KiB that it reads."""

MAX_REPLY_BYTES = 64 * 1024 * 1024
"""The bound of one reply. Redis itself cuts a subscriber off at half of it."""

_NO_REPLY = object()  # hiredis' own is False, which 0 equals


def pack(command: Sequence[str | bytes]) -> bytes:
    """Encode a command as RESP."""
    return bytes(hiredis.pack_command(tuple(command)))  # type: ignore[arg-type]


@final
class Call:
    """A command whose answer is waited for: an element of `Connection.expected`.

    `answered(reply)` is called once; the reply may be a hiredis.ReplyError. It is not called if the
    connection is lost first; `lost()` is then, if the connection's user does it.
    """

    __slots__ = ("answered", "lost")

    def __init__(
        self, answered: Callable[[Reply], None], lost: Callable[[], None] | None = None
    ) -> None:
        self.answered = answered
        self.lost = lost


class ConnectionHandler(Protocol):
    """The user of a connection. All calls are synchronous."""

    def link_writable(self) -> None:
        """The socket takes again what it is given, after `link_unwritable`."""

    def link_unwritable(self) -> None:
        """The socket does not take what it was given: bytes that are sent now wait in memory."""

    def replies_received(self, replies: list[Reply]) -> None:
        """Replies came, in this order.

        For each that is the answer to a command, this first takes the first element off the
        connection's `expected`.
        """


class Connection(asyncio.Protocol):
    """One socket to Redis. Its maker reads the first replies with `take`, then hands it over."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.writable = False
        self.heard_at = time.monotonic()
        """The moment (`time.monotonic()`) of the last bytes from Redis."""
        self.is_held = False
        self.reason = "the connection was closed"
        """The reason why it is lost, once it is."""
        self.good_until: float | None = None
        """The last moment at which it did what it is for, if that was before it was lost."""
        self.lost: asyncio.Future[None] = loop.create_future()
        self.expected: deque[Any] = deque()
        """The commands that Redis has still to answer, in order: each a `Call`, or its own."""
        self._loop = loop
        self._reader = hiredis.Reader(notEnoughData=_NO_REPLY)
        self._unread_bytes = 0  # read since the last reply was complete
        self._receive: Callable[[list[Reply]], None] = self._keep
        self._on_writable: Callable[[], None] | None = None
        self._on_unwritable: Callable[[], None] | None = None
        self._kept: list[Reply] = []
        self._enough: asyncio.Future[None] | None = None
        self._wanted = 0
        self._is_given_up = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self.write: Callable[[bytes], None] = transport.write
        self.writable = True

    def data_received(self, data: bytes) -> None:
        self.heard_at = time.monotonic()
        reader = self._reader
        replies: list[Reply] = []
        try:
            for piece in (data,) if len(data) <= FEED_BYTES else _pieces(data):
                reader.feed(piece)
                replies.extend(iter(reader.gets, _NO_REPLY))
        except (hiredis.HiredisError, MemoryError, TypeError) as error:
            # An absurd length is a MemoryError there, a map with a list for a key a TypeError.
            self.give_up(f"not RESP: {error or 'out of memory'}")
        if replies:
            self._unread_bytes = 0
            self._receive(replies)
        else:
            self._unread_bytes += len(data)
            if self._unread_bytes > MAX_REPLY_BYTES:
                self.give_up(f"a reply of over {MAX_REPLY_BYTES} bytes")

    def pause_writing(self) -> None:
        self.writable = False
        if self._on_unwritable is not None:
            self._on_unwritable()

    def resume_writing(self) -> None:
        self.writable = True
        if self._on_writable is not None:
            self._on_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_writing()
        if not self._is_given_up:
            if self._kept and isinstance(self._kept[-1], hiredis.ReplyError):
                self.reason = str(self._kept[-1])  # it says why in place of all answers
            elif exc is not None:
                self.reason = str(exc)
        if not self.lost.done():
            self.lost.set_result(None)
        if self._enough is not None and not self._enough.done():
            self._enough.set_exception(ConnectionResetError(self.reason))

    async def take(self, count: int) -> list[Reply]:
        """Wait for `count` replies. Raises ConnectionResetError if the connection is lost."""
        self._wanted = count
        self._enough = self._loop.create_future()
        if self.lost.done():
            raise ConnectionResetError(self.reason)
        self._check_enough()
        await self._enough
        replies, self._kept = self._kept[:count], self._kept[count:]
        return replies

    def hand_over(self, handler: ConnectionHandler) -> None:
        """Give replies to `handler` from now on."""
        self._receive = handler.replies_received
        self._on_writable = handler.link_writable
        self._on_unwritable = handler.link_unwritable
        if self._kept:
            self.give_up(f"it said what it was not asked: {self._kept[0]!r:.100}")

    def hold(self) -> None:
        """Read no more until `release`."""
        if not (self.is_held or self._transport.is_closing()):
            self.is_held = True
            self._transport.pause_reading()

    def release(self) -> None:
        """Read again."""
        if self.is_held:
            self.is_held = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def call(
        self,
        command: Sequence[str | bytes],
        answered: Callable[[Reply], None],
        lost: Callable[[], None] | None = None,
    ) -> None:
        """Send a command; `answered` gets its reply (see `Call`)."""
        self.expected.append(Call(answered, lost))
        self.write(pack(command))

    @property
    def unsent_bytes(self) -> int:
        """The bytes that the kernel has not taken yet."""
        return self._transport.get_write_buffer_size()

    def close(self) -> None:
        """Close once all that was written has left."""
        self._transport.close()

    def give_up(self, reason: str, good_until: float | None = None) -> None:
        """Close at once, with the reason, and the last moment at which it was good.

        Only the first call counts: later ones explain nothing.
        """
        if not self._is_given_up:
            self._is_given_up = True
            self.reason = reason
            self.good_until = good_until
        self.abort()

    def abort(self) -> None:
        """Close at once."""
        self._end_writing()
        self._transport.abort()

    def _end_writing(self) -> None:
        # The link learns of the end a few turns of the loop later, and uvloop's transports raise
        # an error when they are written to then.
        self.writable = False
        self.write = _write_nowhere

    def _keep(self, replies: list[Reply]) -> None:
        self._kept += replies
        self._check_enough()

    def _check_enough(self) -> None:
        if self._enough is not None and not self._enough.done() and len(self._kept) >= self._wanted:
            self._enough.set_result(None)


def _pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), FEED_BYTES):
        yield data[start : start + FEED_BYTES]


def _write_nowhere(data: bytes) -> None:
    """The `write` of a lost connection."""
