"""One socket to Redis that speaks RESP2 in batches, from its opening to its loss.

May live here: bytes in, replies out, and questions whose answer tells how far Redis has come. Must
not know when a connection is made, what it is for, nor what comes after it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, cast

import hiredis

Reply = Any
"""What hiredis makes of a reply: bytes, int, list, None, or a hiredis.ReplyError."""

WRITE_BUFFER_BYTES = 1024 * 1024
FEED_BYTES = 32 * 1024
"""What hiredis is given at once: every KiB it reads, it moves all that it still has to read."""

MAX_REPLY_BYTES = 64 * 1024 * 1024
"""A reply that has more is not waited for. Redis itself cuts a subscriber off at half of that."""


def pack(command: Sequence[str | bytes]) -> bytes:
    """A command as RESP."""
    return bytes(hiredis.pack_command(tuple(command)))  # type: ignore[arg-type]


class ConnectionOwner(Protocol):
    """What a connection tells. All calls are synchronous."""

    def link_writable(self) -> None:
        """The socket takes again what it is given, after it did not for a while."""

    def link_unwritable(self) -> None:
        """The socket does not take what it was given; what is sent now waits in memory."""

    def replies_received(self, replies: list[Reply]) -> None:
        """Replies in the order in which they came; those to PINGs among them."""


class Connection(asyncio.Protocol):
    """One socket to Redis. Who makes it hands it over once it has introduced itself."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.writable = False
        self.heard_at = time.monotonic()
        """When Redis last gave a sign of life."""
        self.is_held = False
        self.reason = "the connection was closed"
        """Why it is lost, once it is."""
        self.good_until: float | None = None
        """Until when it did what it is for, if that was not until it was lost."""
        self.lost: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._reader = hiredis.Reader()
        self._unread_bytes = 0  # read since the last reply was complete
        self._receive: Callable[[list[Reply]], None] = self._keep
        self._on_writable: Callable[[], None] | None = None
        self._on_unwritable: Callable[[], None] | None = None
        self._kept: list[Reply] = []
        self._enough: asyncio.Future[None] | None = None
        self._wanted = 0
        self._questions: deque[bytes] = deque()
        self._on_answer: Callable[[], None] = _nothing

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
                while (reply := reader.gets()) is not False:
                    replies.append(reply)
        except (hiredis.HiredisError, MemoryError, TypeError) as error:
            # An absurd length is a MemoryError there, a map with a list for a key a TypeError.
            self.give_up(f"not RESP: {error or 'out of memory'}")
        if replies:
            self._unread_bytes = 0
            asked = len(self._questions)
            if asked:
                replies = list(filter(self._is_no_answer, replies))
            self._receive(replies)
            if asked and not self._questions:
                self._on_answer()
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
        if exc is not None:
            self.reason = str(exc)
        if not self.lost.done():
            self.lost.set_result(None)
        if self._enough is not None and not self._enough.done():
            self._enough.set_exception(ConnectionResetError(self.reason))

    async def take(self, count: int) -> list[Reply]:
        """The first `count` replies. Raises ConnectionResetError if the connection is lost."""
        self._wanted = count
        self._enough = self._loop.create_future()
        if self.lost.done():
            raise ConnectionResetError(self.reason)
        self._check_enough()
        await self._enough
        replies, self._kept = self._kept[:count], self._kept[count:]
        return replies

    def hand_over(self, owner: ConnectionOwner) -> None:
        """From now on replies go to `owner`."""
        self._receive = owner.replies_received
        self._on_writable = owner.link_writable
        self._on_unwritable = owner.link_unwritable
        if self._kept:
            kept, self._kept = self._kept, []
            self._receive(kept)

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

    def ask(self, question: bytes, on_answer: Callable[[], None]) -> None:
        """See `Link.ask`."""
        self._questions.append(question)
        self._on_answer = on_answer
        self.write(pack(("PING", question)))

    def _is_no_answer(self, reply: Reply) -> bool:
        """Whether a reply is anything but the answer to the oldest open question."""
        # Who has subscribed is answered with a list, others with the question.
        if not self._questions or reply not in (self._questions[0], [b"pong", self._questions[0]]):
            return True
        self._questions.popleft()
        return False

    def close(self) -> None:
        """Close once what was written has left."""
        self._transport.close()

    def give_up(self, reason: str, good_until: float | None = None) -> None:
        """Close at once, and say why, and since when (`time.monotonic()`) it was no good."""
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
    """What a lost connection writes to."""


def _nothing() -> None:
    """What happens on an answer that nobody waits for."""
