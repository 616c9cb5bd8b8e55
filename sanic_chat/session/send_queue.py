"""Send queues: the frames that one client, or all clients of a pod, are still to receive.

    session ─→ SendQueue.push ─→ (the kernel takes more) ─→ take ─→ transport
                    └→ a bound of its own is passed: the oldest dropped, or refused
                    └→ SendQueuePool: the bound of all is passed: the longest are shed

May live here: the bounds, what is dropped at them, and which clients then make room for others.
Must not know sockets, JSON, or what a message says.

The frames that a channel gets in one loop turn are one `bytes` object, shared by the queues of all
its members. So they count once here, in however many queues they wait, as they do in memory.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

from ..hub.channel import Channel
from ..websocket.frames import frame_size

ENTRY_BYTES = 128
"""The memory of a queue's entry beside its frames, about."""

FLUSH_BYTES = 16 * 1024
"""The bytes joined for one write. More would be a longer copy, and more that cannot be dropped."""

RELIEF = 7 / 8
"""The share of the pool's bound that is left once it was passed.

All queues are looked at to find the longest, which this makes rare.
"""

SLOW = "slow"
OVERLOAD = "overload"

Missed = dict[tuple[str | None, str], int]
"""The numbers of missing messages, by the name of their room (None: global) and the reason."""


class SendQueuePool:
    """The send queues of one pod, their common settings, and the bound for all of them together.

    Only clients that do not keep up have one. `max_messages` and `max_bytes` bound each queue. At
    a bound the oldest messages are dropped if `drop_oldest`, and else the new ones are refused.

    Once all queues have more than `max_total_bytes`, the longest ones are shed in the next loop
    turn, until 7/8 of it are left.
    """

    def __init__(
        self,
        *,
        max_messages: int,
        max_bytes: int,
        max_total_bytes: int,
        drop_oldest: bool,
        call_soon: Callable[[Callable[[], None]], Any],
    ) -> None:
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self.drop_oldest = drop_oldest
        self.held_bytes = 0
        """The bytes in all queues, and in the transports below them, about."""
        self._max_total_bytes = max_total_bytes
        self._call_soon = call_soon
        self._sheds: dict[SendQueue, Callable[[], None]] = {}
        self._uses: dict[int, int] = {}  # in how many entries frames are, by their id()
        self._relief_scheduled = False

    def __len__(self) -> int:
        return len(self._sheds)

    def lengths(self, most: int) -> list[int]:
        """The messages of each queue; of more than `most` queues, of at most so many evenly."""
        step = len(self._sheds) // most + 1
        return [queue.waiting_messages for queue in islice(self._sheds, 0, None, step)]

    def open(
        self, *, shed: Callable[[], None], gap_frames: Callable[[Missed], bytes] | None = None
    ) -> SendQueue:
        """Open an empty queue, which counts until `SendQueue.close`.

        `shed` is called to have the client drop its messages, or else close the queue.
        `gap_frames` makes the frames that tell the client what is missing. None: it is not told.
        """
        queue = SendQueue(self, gap_frames)
        self._sheds[queue] = shed
        return queue

    def discard(self, queue: SendQueue) -> None:
        """Count a queue no more; it is empty."""
        del self._sheds[queue]

    def hold(self, frames: bytes) -> None:
        """Count an entry with these frames."""
        uses = self._uses.get(id(frames), 0)
        self._uses[id(frames)] = uses + 1
        self.add(ENTRY_BYTES if uses else ENTRY_BYTES + len(frames))

    def release(self, frames: bytes) -> None:
        """Count an entry with these frames no more."""
        uses = self._uses.pop(id(frames)) - 1
        if uses:
            self._uses[id(frames)] = uses
        self.add(-ENTRY_BYTES if uses else -ENTRY_BYTES - len(frames))

    def add(self, size: int) -> None:
        """Add to `held_bytes`; if it passes the bound, schedule the shedding."""
        self.held_bytes += size
        if self.held_bytes > self._max_total_bytes and not self._relief_scheduled:
            # Not at once: a fan-out is under way, and a client that is shed may be in it.
            self._relief_scheduled = True
            self._call_soon(self._relieve)

    def _relieve(self) -> None:
        self._relief_scheduled = False
        if self.held_bytes <= self._max_total_bytes:
            return
        for queue in sorted(self._sheds, key=lambda queue: queue.waiting_bytes, reverse=True):
            if self.held_bytes <= self._max_total_bytes * RELIEF:
                return
            shed = self._sheds.get(queue)  # None: a client that was shed before has closed it
            if shed is not None:
                shed()
        self.add(0)  # it may take a second go: the first one drops what can be dropped


class SendQueue:
    """The frames that one client is still to receive, in order; made by `SendQueuePool.open`.

    Messages of channels may be dropped. The client's own (answers, events, pings, pongs) are not.
    """

    __slots__ = (
        "_droppable_bytes",
        "_droppable_messages",
        "_entries",
        "_gap_frames",
        "_in_flight",
        "_missed",
        "_pool",
        "_unsent",
        "bytes",
        "messages",
    )

    def __init__(
        self, pool: SendQueuePool, gap_frames: Callable[[Missed], bytes] | None = None
    ) -> None:
        self.bytes = 0
        """The bytes that wait here."""
        self.messages = 0
        """The messages that wait here."""
        self._pool = pool
        self._gap_frames = gap_frames
        self._entries: deque[_Entry] = deque()
        self._missed: Missed | None = None  # behind the last entry
        self._droppable_bytes = 0
        self._droppable_messages = 0
        self._in_flight = 0
        self._unsent = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to take, not even a gap to tell of."""
        return not self._entries and self._missed is None

    @property
    def waiting_messages(self) -> int:
        """The messages that wait here, and those last taken while the transport has any bytes."""
        return self.messages + self._in_flight

    @property
    def waiting_bytes(self) -> int:
        """The bytes that wait here, and those that the transport had when last asked."""
        return self.bytes + self._unsent

    def transport_holds(self, size: int) -> None:
        """Note that the transport has `size` bytes for the kernel."""
        more = size - self._unsent
        self._unsent = size
        if not size:
            self._in_flight = 0
        self._pool.add(more)

    def push(
        self, frames: bytes, messages: int, channel: Channel | None, *, unsent: int
    ) -> int | None:
        """Add whole frames with so many messages of a channel, or (None) of the client's own.

        `unsent` bytes in the transport count as waiting. Returns the number of messages that were
        dropped for it, oldest first. Returns None, and changes nothing, if the frames do not fit:
        without `drop_oldest`, or if they are the client's own.

        A message that would not fit even if all others were dropped is dropped itself, alone.
        """
        self.transport_holds(unsent)
        pool = self._pool
        entry = _Entry(frames, messages, channel)
        excess_bytes = self.bytes + unsent + len(frames) - pool.max_bytes
        excess = self.messages + self._in_flight + messages - pool.max_messages
        if excess_bytes <= 0 and excess <= 0:
            self._append(entry)
            return 0
        if not pool.drop_oldest:
            return None
        dropped = 0
        while excess_bytes > self._droppable_bytes or excess > self._droppable_messages:
            if channel is None:
                return None
            excess_bytes -= entry.drop_first()
            excess -= 1
            dropped += 1
            self._missed = self._note(self._missed, channel, SLOW)
            if not entry.messages:
                return dropped
        dropped += self._drop_oldest(excess_bytes, excess, SLOW)
        self._append(entry)
        return dropped

    def drop(self) -> int:
        """Drop all that may be dropped, for an overload; return the number of messages."""
        if not self._pool.drop_oldest:
            return 0
        return self._drop_oldest(self._droppable_bytes, self._droppable_messages, OVERLOAD)

    def take(self) -> bytes:
        """Take whole frames for one write: up to `FLUSH_BYTES`, or a single entry with more.

        The frames that tell of a gap stand where the messages are missing.
        """
        parts = self._take(FLUSH_BYTES)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def take_all(self) -> list[bytes]:
        """Take all there is, in pieces of whole frames, and close the queue."""
        parts = self._take(math.inf)
        self.close()
        return parts

    def _take(self, limit: float) -> list[bytes]:
        parts: list[bytes] = []
        size = 0
        self._in_flight = 0
        while self._entries:
            entry = self._entries[0]
            if size and size + entry.size > limit:
                return parts
            self._entries.popleft()
            size += entry.size
            self._in_flight += entry.messages
            self._count(entry, -entry.size, -entry.messages)
            self._pool.release(entry.frames)
            if entry.missed is not None and self._gap_frames is not None:
                parts.append(self._gap_frames(entry.missed))
            parts.append(entry.frames[entry.start :])
        if self._missed is not None and self._gap_frames is not None:
            parts.append(self._gap_frames(self._missed))
            self._missed = None
        return parts

    def close(self) -> None:
        """Drop all that waits, and count no more. The queue must not be used afterwards."""
        for entry in self._entries:
            self._pool.release(entry.frames)
        self._entries.clear()
        self.transport_holds(0)
        self._pool.discard(self)

    def _append(self, entry: _Entry) -> None:
        entry.missed, self._missed = self._missed, None
        self._entries.append(entry)
        self._count(entry, entry.size, entry.messages)
        self._pool.hold(entry.frames)

    def _count(self, entry: _Entry, size: int, messages: int) -> None:
        self.bytes += size
        self.messages += messages
        if entry.channel is not None:
            self._droppable_bytes += size
            self._droppable_messages += messages

    def _drop_oldest(self, excess_bytes: int, excess: int, reason: str) -> int:
        """Drop messages of channels until so many bytes and messages are gone; return how many.

        There must be as many.
        """
        entries = self._entries
        index = dropped = 0
        while excess_bytes > 0 or excess > 0:
            entry = entries[index]
            if entry.channel is None:
                index += 1
                continue
            size = entry.drop_first()
            self._count(entry, -size, -1)
            excess_bytes -= size
            excess -= 1
            dropped += 1
            entry.missed = self._note(entry.missed, entry.channel, reason)
            if not entry.messages:
                del entries[index]
                self._pool.release(entry.frames)
                if index < len(entries):
                    entries[index].missed = _merged(entry.missed, entries[index].missed)
                else:
                    self._missed = _merged(entry.missed, self._missed)
        return dropped

    def _note(self, missed: Missed | None, channel: Channel, reason: str) -> Missed | None:
        return (
            _merged(missed, {(channel.room, reason): 1}) if self._gap_frames is not None else None
        )


class _Entry:
    """Frames that came together, and the gap in front of them."""

    __slots__ = ("channel", "frames", "messages", "missed", "start")

    def __init__(self, frames: bytes, messages: int, channel: Channel | None) -> None:
        self.frames = frames
        self.start = 0  # of the first frame that has not been dropped
        self.messages = messages
        self.channel = channel  # None: never dropped
        self.missed: Missed | None = None

    @property
    def size(self) -> int:
        return len(self.frames) - self.start

    def drop_first(self) -> int:
        """Drop the oldest message; return its bytes."""
        size = frame_size(self.frames, self.start)
        self.start += size
        self.messages -= 1
        return size


def _merged(first: Missed | None, second: Missed | None) -> Missed | None:
    """Make one gap of two that have nothing between them."""
    if first is None or second is None:
        return first or second
    for where, messages in second.items():
        first[where] = first.get(where, 0) + messages
    return first
