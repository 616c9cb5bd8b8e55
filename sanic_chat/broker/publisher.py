"""The publisher: the envelopes of this pod, on their way to Redis.

    publish ─→ outbox ─→ (end of the loop turn: one write) ─→ Redis ─→ confirmed
                  └→ (Redis is away) ─→ queue ─→ (it is back) ─→ Redis
                                          └→ does not fit, or too old ─→ on_dropped

The queue is bounded (`publish_queue`), and leaves in order. No envelope is sent twice: whether an
unanswered PUBLISH arrived cannot be known, and delivery is at most once. So envelopes that are not
confirmed when a connection is lost count as dropped too. While Redis is there it sets the pace:
`congested` is true long before the queue is full.

May live here: when an envelope leaves, waits, and is dropped. Must not know what is in one, nor
whose it is.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from enum import Enum
from functools import lru_cache, partial
from typing import Any, NamedTuple

import hiredis

from .connection import Call, Reply
from .endpoint import Endpoint
from .link import Link
from .publish_queue import PublishQueue

PATIENCE_SECONDS = 1.0
"""The time for which a Redis that takes and answers nothing may hold up clients that publish. Then
envelopes go to the queue instead."""

HOLD_SHARE = 0.5
"""The share of the queue's bounds at which `congested` is true, while Redis is there."""

MIN_HOLD_MESSAGES = 1000
MIN_HOLD_BYTES = 1024 * 1024
"""The bytes that may be under way to Redis in any case, however small the queue is."""

CHUNK_BYTES = 256 * 1024
"""The bytes of the queue that are given to the socket at once, about."""

Receipt = tuple[Any, ...]
"""The arguments of `on_dropped` by which its owner knows the envelope."""

OnAnswer = Callable[[Reply], None]


class Asked(NamedTuple):
    """The receipt of an envelope whose owner wants to know that it was published, too."""

    receipt: Receipt
    on_published: Callable[[int], None]
    """Called with the number of subscriptions that Redis has handed it to."""


class Drop(Enum):
    """The reasons why an envelope was not published, or not for certain."""

    FULL = "publish_queue_full"
    """Redis is away, or answers nothing, and the queue is full."""
    EXPIRED = "publish_expired"
    """It waited in the queue for too long, or until this pod ended."""
    UNCONFIRMED = "publish_unconfirmed"
    """The connection was lost before Redis confirmed it: it may have arrived."""
    REFUSED = "publish_refused"
    """Redis answered it with an error."""


class Publisher:
    """Publishes envelopes in the order of the calls, until it is closed.

    `on_dropped(why, *receipt)` is called, at once or later, for every envelope that had a receipt
    and that Redis has not confirmed; for one that was `Asked` for, either that or its
    `on_published`.
    `on_down(good_until)` is called when a connection is lost (see `LinkHandler.link_down`).

    `congested` is true while Redis is there, and half of the queue's bounds is under way to it or
    the socket is full. A pod that then reads no more from clients loses nothing, however slow Redis
    is: an envelope is dropped as `FULL` only while there is no connection, or Redis has taken and
    answered nothing for a second; `congested` is false then.
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
        self.link = Link(endpoint, name=name, handler=self, timeout=timeout)
        self.published = 0
        """Envelopes that Redis has confirmed."""
        self.dropped: Counter[Drop] = Counter()
        """Envelopes that were dropped, or that Redis has not confirmed."""
        self.congested = False
        """Whether clients that publish are to wait."""
        self.is_open = False
        """Whether what is published now leaves at once."""
        self._loop = asyncio.get_running_loop()
        self._on_dropped = on_dropped
        self._on_down = on_down
        self._outbox: list[bytes] = []  # the commands of this loop turn
        self._receipts: list[Receipt | Asked | None] = []  # theirs
        self._unconfirmed: deque[Receipt | Asked | Call | None] = deque()  # as Redis will answer
        self._queue: PublishQueue[Receipt | Asked | None] = PublishQueue(
            self._loop,
            max_messages=queue_messages,
            max_bytes=queue_bytes,
            max_seconds=queue_seconds,
            is_leaving=lambda: self._is_flowing,
            on_expired=partial(self._drop, Drop.EXPIRED),
        )
        # One bound for number and bytes: each message counts for so many bytes more than it has.
        self._max_load = max(int(queue_bytes * HOLD_SHARE), MIN_HOLD_BYTES)
        self._message_load = self._max_load // max(
            int(queue_messages * HOLD_SHARE), MIN_HOLD_MESSAGES
        )
        self._outbox_load = 0
        self._spare_load = self._max_load  # beside what is queued and unconfirmed
        self._is_stuck = False  # whether Redis is there, and patience with it is over
        self._is_proven = False
        self._answers = 0
        self._before = (0, 0)  # answers and unsent bytes when the patience began
        self._settling: asyncio.TimerHandle | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._idle: asyncio.Future[None] | None = None  # `close` waits for it

    def start(self) -> None:
        """Begin to connect."""
        self.link.start()

    async def close(self, timeout: float) -> None:
        """Wait up to `timeout` seconds until Redis has confirmed everything, then disconnect.

        Envelopes that still wait are dropped. It does not wait without a connection.
        """
        if self.link.writable and not self._is_idle:
            self._idle = self._loop.create_future()
            await asyncio.wait([self._idle], timeout=timeout)
        await self.link.close()
        self._write()  # to the queue
        self._queue.close()

    @property
    def _is_idle(self) -> bool:
        return not (self._unconfirmed or self._outbox or self._queue)

    @property
    def queued(self) -> int:
        """The envelopes that wait for Redis to come back."""
        return len(self._queue)

    def publish(
        self,
        channel: bytes,
        envelope: bytes,
        receipt: Receipt | Asked | None = None,
        head: bytes = b"",
    ) -> None:
        """Publish `head + envelope` (Redis PUBLISH) at the end of this loop turn.

        Never blocks and never raises.
        """
        size = len(head) + len(envelope)
        command = b"".join((_head(channel), b"%d\r\n" % size, head, envelope, b"\r\n"))
        if not self._outbox:
            if not self.is_open:
                self._wait(command, receipt)
                return
            self._loop.call_soon(self._write)
        self._outbox.append(command)
        self._receipts.append(receipt)
        self._outbox_load += size + self._message_load
        if self._outbox_load > self._spare_load:
            self.congested = True

    def probe(self, channel: bytes, payload: bytes, on_answered: OnAnswer) -> None:
        """Publish a payload that is no envelope, at once and uncounted; only while `writable`.

        It leaves behind all that was published before. `on_answered` gets the number of
        connections that received it, or a hiredis.ReplyError. It is not called if the connection is
        lost first.
        """

        def answered(reply: Reply) -> None:
            if type(reply) is int:
                self._prove()
            on_answered(reply)

        self.call(("PUBLISH", channel, payload), answered)

    def call(
        self,
        command: tuple[str | bytes, ...],
        answered: OnAnswer,
        lost: Callable[[], None] | None = None,
    ) -> None:
        """Send a command at once, behind all that was published before; only while `is_open`.

        Either `answered` is called, with the reply, or `lost`, if the connection is lost first.
        """
        if self._outbox:
            self._write()
        self.link.call(command, answered, lost)

    def _write(self) -> None:
        if not self._outbox:
            return  # a probe has taken it along
        commands, self._outbox = self._outbox, []
        receipts, self._receipts = self._receipts, []
        self._outbox_load = 0
        if self.is_open:
            self._unconfirmed += receipts
            self.link.send(b"".join(commands))
            self._spare_load = self._max_load - self._message_load * len(self._unconfirmed)
        else:
            # The link went down, or was filled up, in this very turn: none of these has left.
            for command, receipt in zip(commands, receipts, strict=True):
                self._wait(command, receipt)
        if self.congested or self._spare_load < 0:
            self._look()

    def _look(self) -> None:
        """Look at the link and the load, and set `congested` and whether the outbox is open."""
        waiting = len(self._unconfirmed) + len(self._queue)
        self._spare_load = self._max_load - self._message_load * waiting - self._queue.bytes
        writable = self.link.writable
        self.is_open = self._is_flowing and writable and not self._queue
        self.congested = (self.link.is_up and not self._is_stuck) and (
            self._outbox_load > self._spare_load or not writable
        )
        if self.congested and self._settling is None:
            if self._patience is None:
                self._wait_patiently()
        elif self._patience is not None:
            self._patience.cancel()
            self._patience = None

    @property
    def _is_flowing(self) -> bool:
        """Whether Redis is there, and still takes and answers."""
        return self.link.is_up and not self._is_stuck and self._settling is None

    def _wait_patiently(self) -> None:
        self._before = self._answers, self.link.unsent_bytes
        self._patience = self._loop.call_later(PATIENCE_SECONDS, self._lose_patience)

    def _lose_patience(self) -> None:
        self._patience = None
        answers, unsent = self._before
        if self._answers != answers or self.link.unsent_bytes < unsent:
            self._wait_patiently()  # it is only slow
            return
        self._is_stuck = True
        self._look()

    # -- while Redis is away ---------------------------------------------------------------

    def _wait(self, command: bytes, receipt: Receipt | Asked | None) -> None:
        # While Redis is there, clients that publish are held, and those not held yet find a place.
        if (self._is_stuck or not self.link.is_up) and not self._queue.has_place(command):
            self._drop(Drop.FULL, receipt)
            return
        self._queue.add(command, receipt)
        if self._settling is not None and not self.congested:
            self._look()

    def _send_queue(self) -> None:
        while self._queue and self._is_flowing and self.link.writable:
            commands, receipts = self._queue.take(CHUNK_BYTES)
            self._unconfirmed += receipts
            self.link.send(commands)
        self._look()

    def _drop(self, why: Drop, receipt: Receipt | Asked | None) -> None:
        self.dropped[why] += 1
        if isinstance(receipt, Asked):
            receipt = receipt.receipt
        if receipt is not None:
            self._on_dropped(why, *receipt)

    def _prove(self) -> None:
        # Not a PING: a connection may answer that, and know no PUBLISH.
        self._is_proven = True
        self.link.prove()

    # -- what the link tells ---------------------------------------------------------------

    def link_up(self) -> None:
        self._unconfirmed = self.link.expected
        self._is_proven = False
        if self._queue:
            # Other pods' subscribers may still be waiting for their next attempt to connect, and
            # would miss what was kept for them.
            self._settling = self._loop.call_later(self.link.settle_seconds, self._settled)
        self._look()

    def _settled(self) -> None:
        self._settling = None
        self._send_queue()

    def link_unwritable(self) -> None:
        self._look()

    def link_writable(self) -> None:
        self._send_queue()

    def link_down(self, good_until: float) -> None:
        self._is_stuck = False
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        unconfirmed, self._unconfirmed = self._unconfirmed, deque()
        self._look()
        for receipt in unconfirmed:
            if type(receipt) is not Call:
                self._drop(Drop.UNCONFIRMED, receipt)
            elif receipt.lost is not None:
                receipt.lost()
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        self._on_down(good_until)

    def replies_received(self, replies: list[Reply]) -> None:
        unconfirmed = self._unconfirmed
        confirmed = 0
        for reply in replies:
            if not unconfirmed:
                self.link.rebuild(f"it said what it was not asked: {reply!r:.100}")
                break
            receipt = unconfirmed.popleft()
            if type(receipt) is tuple and type(reply) is int:  # as nearly always
                confirmed += 1
            elif type(receipt) is Call:
                receipt.answered(reply)
            elif type(reply) is int:
                confirmed += 1
                if type(receipt) is Asked:
                    receipt.on_published(reply)
            elif isinstance(reply, hiredis.ReplyError):
                self.link.refused("PUBLISH", reply)
                self._drop(Drop.REFUSED, receipt)
            else:
                unconfirmed.appendleft(receipt)
                self.link.rebuild(f"it answered a PUBLISH with {reply!r:.100}")
                break
        self.published += confirmed
        self._answers += 1
        if not self._is_proven and confirmed:
            self._prove()
        if self._is_stuck or self.congested:
            self._is_stuck = False
            self._send_queue()
        else:
            self._spare_load = self._max_load - self._message_load * len(unconfirmed)
        if self._idle is not None and self._is_idle and not self._idle.done():
            self._idle.set_result(None)


@lru_cache(maxsize=512)
def _head(channel: bytes) -> bytes:
    """The start of a PUBLISH to a channel."""
    return b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$" % (len(channel), channel)
