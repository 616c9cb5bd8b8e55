"""What this pod publishes on Redis.

Everything published in one loop turn leaves in one write. While Redis is away, or does not take
what it is given, envelopes wait in a queue that is bounded in number, bytes and age, and leave in
their order; what does not fit or waits too long is counted and its sender told. Nothing is sent
twice: whether an unanswered PUBLISH arrived cannot be known, and delivery is at most once. So what
was sent and not confirmed when a connection is lost counts as dropped too, and its sender is told.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

import hiredis

from ..logs import RateLimitedWarning
from .connection import Reply, pack
from .endpoint import Endpoint
from .link import Link

AGE_CHECK_SECONDS = 0.5

PATIENCE_SECONDS = 1.0
"""How long a Redis that takes nothing may slow down who publishes, before the queue has to do."""

CHUNK_BYTES = 256 * 1024
"""About how much of the queue is given to the socket at once."""

Receipt = tuple[Any, ...]
"""Arguments for `on_dropped`: what its caller needs to tell which envelope it was."""

OnAnswer = Callable[[Reply], None]


class _Waiting(NamedTuple):
    expires: float
    command: bytes
    receipt: Receipt | None


class _Probe(NamedTuple):
    on_answered: OnAnswer


class Publisher:
    """Publishes envelopes in the order of the calls, for as long as it is not closed.

    `on_dropped(*receipt)` is called, at once or later, for every envelope that had a receipt and
    that Redis has not confirmed: unless a connection was lost meanwhile, it has not reached it.
    `on_down(good_until)` is called when a connection is lost (see `LinkOwner.link_down`).
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        name: str,
        timeout: float,
        queue_messages: int,
        queue_bytes: int,
        queue_seconds: float,
        on_dropped: Callable[..., None],
        on_down: Callable[[float], None],
    ) -> None:
        self.link = Link(endpoint, name=name, owner=self, timeout=timeout)
        self.published = 0
        """Envelopes that Redis has confirmed."""
        self.dropped_full = 0
        """Envelopes dropped because the queue was full."""
        self.dropped_expired = 0
        """Envelopes dropped because they waited too long."""
        self.dropped_unconfirmed = 0
        """Envelopes that were sent on a connection that was lost before Redis confirmed them."""
        self.refused = 0
        """Envelopes that Redis answered with an error."""
        self.congested = False
        """Whether Redis is there and has not taken what it was given for less than a second."""
        self._loop = asyncio.get_running_loop()
        self._on_dropped = on_dropped
        self._on_down = on_down
        self._queue_messages = queue_messages
        self._queue_bytes = queue_bytes
        self._queue_seconds = queue_seconds
        self._outbox: list[bytes] = []  # the commands of this loop turn
        self._receipts: list[Receipt | None] = []  # theirs
        self._unconfirmed: deque[Receipt | _Probe | None] = deque()  # as Redis will answer
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._settling: asyncio.TimerHandle | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()
        self._refusal = RateLimitedWarning()

    def start(self) -> None:
        """Begin to connect."""
        self.link.start()

    async def close(self, timeout: float) -> None:
        """Wait up to `timeout` seconds until Redis has confirmed everything, then disconnect."""
        if self.link.writable:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), timeout)
        if self._timer is not None:
            self._timer.cancel()
        await self.link.close()
        while self._queue:
            self._drop_oldest()

    @property
    def queued(self) -> int:
        """Envelopes that wait for Redis to come back."""
        return len(self._queue)

    def publish(
        self,
        channel: bytes,
        envelope: bytes,
        receipt: Receipt | None = None,
        opening: bytes = b"",
    ) -> None:
        """Publish `opening + envelope` (Redis PUBLISH) at the end of this loop turn.

        Never blocks and never raises.
        """
        size = len(opening) + len(envelope)
        command = b"".join((_head(channel), b"%d\r\n" % size, opening, envelope, b"\r\n"))
        if not self._outbox:
            if self._queue or not self.link.writable:
                self._wait(command, receipt)
                return
            self._idle.clear()
            self._loop.call_soon(self._write)
        self._outbox.append(command)
        self._receipts.append(receipt)

    def probe(self, channel: bytes, payload: bytes, on_answered: OnAnswer) -> None:
        """Publish what is no message, at once: it is counted nowhere, and does not wait.

        Only while the link is `writable`. `on_answered` is given how many connections received
        it, or a hiredis.ReplyError; it is not called if the connection is lost first.
        """
        self._unconfirmed.append(_Probe(on_answered))
        self.link.send(pack(("PUBLISH", channel, payload)))

    def _write(self) -> None:
        commands, self._outbox = self._outbox, []
        receipts, self._receipts = self._receipts, []
        if self.link.writable:
            self._unconfirmed += receipts
            self.link.send(b"".join(commands))
        else:
            # The link went down, or was filled up, in this very turn: none of these has left.
            for command, receipt in zip(commands, receipts, strict=True):
                self._wait(command, receipt)

    # -- while Redis is away ---------------------------------------------------------------

    def _wait(self, command: bytes, receipt: Receipt | None) -> None:
        if (
            len(self._queue) >= self._queue_messages
            or self._queued_bytes + len(command) > self._queue_bytes
        ):
            self.dropped_full += 1
            self._drop(receipt)
            return
        self._idle.clear()
        expires = self._loop.time() + self._queue_seconds
        self._queue.append(_Waiting(expires, command, receipt))
        self._queued_bytes += len(command)
        self._watch_ages()

    def _watch_ages(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(AGE_CHECK_SECONDS, self._drop_expired)

    def _drop_expired(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._queue and self._queue[0].expires <= now:
            self._drop_oldest()
        if self._queue:
            self._watch_ages()

    def _send_queue(self) -> None:
        while self._queue and self.link.writable:
            chunk: list[bytes] = []
            size = 0
            while self._queue and size < CHUNK_BYTES:
                waiting = self._queue.popleft()
                chunk.append(waiting.command)
                size += len(waiting.command)
                self._unconfirmed.append(waiting.receipt)
            self._queued_bytes -= size
            self.link.send(b"".join(chunk))

    def _drop_oldest(self) -> None:
        waiting = self._queue.popleft()
        self._queued_bytes -= len(waiting.command)
        self.dropped_expired += 1
        self._drop(waiting.receipt)

    def _drop(self, receipt: Receipt | None) -> None:
        if receipt is not None:
            self._on_dropped(*receipt)

    # -- what the link tells ---------------------------------------------------------------

    def link_up(self) -> None:
        if self._queue:
            # Other pods' subscribers may still be waiting for their next attempt to connect, and
            # would miss what was kept for them.
            self._settling = self._loop.call_later(self.link.settle_seconds, self._settled)

    def _settled(self) -> None:
        self._settling = None
        self._send_queue()

    def link_unwritable(self) -> None:
        self.congested = True
        self._patience = self._loop.call_later(PATIENCE_SECONDS, self._lose_patience)

    def link_writable(self) -> None:
        self._lose_patience()
        if self._settling is None:
            self._send_queue()

    def _lose_patience(self) -> None:
        self.congested = False
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def link_down(self, good_until: float) -> None:
        self._lose_patience()
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        unconfirmed, self._unconfirmed = self._unconfirmed, deque()
        for receipt in unconfirmed:
            if type(receipt) is not _Probe:
                self.dropped_unconfirmed += 1
                self._drop(receipt)
        self._idle.set()
        self._on_down(good_until)

    def replies_received(self, replies: list[Reply]) -> None:
        unconfirmed = self._unconfirmed
        confirmed = 0
        for reply in replies:
            if type(reply) is int and unconfirmed:
                receipt = unconfirmed.popleft()
                if type(receipt) is _Probe:
                    receipt.on_answered(reply)
                else:
                    confirmed += 1
            elif isinstance(reply, hiredis.ReplyError) and unconfirmed:
                self._refused(reply, unconfirmed.popleft())
            elif reply == b"PONG":  # every connection begins with one
                self.link.prove()
            else:
                self.link.rebuild(f"it answered the publisher: {reply!r:.100}")
        self.published += confirmed
        if not unconfirmed and not self._outbox and not self._queue:
            self._idle.set()

    def _refused(self, error: hiredis.ReplyError, receipt: Receipt | _Probe | None) -> None:
        if isinstance(receipt, _Probe):
            receipt.on_answered(error)
            return
        self.refused += 1
        self._refusal.log("Redis refused a PUBLISH: %s", error)
        self._drop(receipt)


@lru_cache(maxsize=512)
def _head(channel: bytes) -> bytes:
    """What a PUBLISH to a channel begins with."""
    return b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$" % (len(channel), channel)
