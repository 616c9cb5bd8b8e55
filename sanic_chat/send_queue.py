"""What clients are still to receive: one client's send queue, and those of all clients of a pod.

May live here: the bounds, what is dropped when they are passed, and which clients then make room
for the others. Must not know sockets, JSON, or what a message says.

What a room gets in one loop turn is one `bytes` object, and the queues of all its members refer to
that one. So it counts once here, in however many queues it waits, as it does in memory.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

from .room import Room
from .websocket import frame_size

ENTRY_BYTES = 128
"""What an entry of a queue costs beside its frames, about."""

FLUSH_BYTES = 16 * 1024
"""How much is joined for one write: a copy, and what the transport has cannot be dropped."""

RELIEF = 7 / 8
"""The share of the bound for all queues that is left once it was passed.

To find the longest queues all are looked at, which this makes rare.
"""

SLOW = "slow"
OVERLOAD = "overload"

Missed = dict[tuple[str | None, str], int]
"""How many messages are missing, by the name of their room (None: global ones) and the reason."""


class SendQueues:
    """The send queues of one pod, their common settings, and the bound for all of them together.

    Only clients that do not keep up have one. `max_messages` and `max_bytes` bound each queue;
    `drop_oldest` says what happens at a bound: the oldest messages are dropped, or (False) what is
    new does not fit. Once all of them hold more than `max_total_bytes`, those with the most are
    shed, at the end of the loop turn.
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
        """What all queues hold, and the transports below them, about."""
        self._max_total_bytes = max_total_bytes
        self._call_soon = call_soon
        self._sheds: dict[SendQueue, Callable[[], None]] = {}
        self._uses: dict[int, int] = {}  # in how many entries frames are, by their id()
        self._relief_scheduled = False

    def __len__(self) -> int:
        return len(self._sheds)

    def open(
        self, *, shed: Callable[[], None], gap_frames: Callable[[Missed], bytes] | None = None
    ) -> SendQueue:
        """A new, empty queue; close it with `SendQueue.close`.

        `shed` is called to have its client drop its messages, or else close the queue.
        `gap_frames` makes the frames that tell the client what is missing; None: it is not told.
        """
        queue = SendQueue(self, gap_frames)
        self._sheds[queue] = shed
        return queue

    def discard(self, queue: SendQueue) -> None:
        """A queue is closed, and holds nothing any more."""
        del self._sheds[queue]

    def hold(self, frames: bytes) -> None:
        """An entry with these frames is in a queue."""
        uses = self._uses.get(id(frames), 0)
        self._uses[id(frames)] = uses + 1
        self.add(ENTRY_BYTES if uses else ENTRY_BYTES + len(frames))

    def release(self, frames: bytes) -> None:
        """It is in that queue no more."""
        uses = self._uses.pop(id(frames)) - 1
        if uses:
            self._uses[id(frames)] = uses
        self.add(-ENTRY_BYTES if uses else -ENTRY_BYTES - len(frames))

    def add(self, size: int) -> None:
        """So many bytes more, or fewer, are held."""
        self.held_bytes += size
        if self.held_bytes > self._max_total_bytes and not self._relief_scheduled:
            # Not at once: a fan-out is under way, and who is shed may be in it.
            self._relief_scheduled = True
            self._call_soon(self._relieve)

    def _relieve(self) -> None:
        self._relief_scheduled = False
        if self.held_bytes <= self._max_total_bytes:
            return
        for queue in sorted(self._sheds, key=lambda queue: queue.waiting_bytes, reverse=True):
            if self.held_bytes <= self._max_total_bytes * RELIEF:
                return
            shed = self._sheds.get(queue)  # who was shed before may have closed it
            if shed is not None:
                shed()
        self.add(0)  # it may take a second go: the first one drops what can be dropped


class SendQueue:
    """What one client is still to receive, in order; made by `SendQueues.open`.

    There are messages of rooms, which may be dropped, and there is what is the client's own
    (answers, notices, pings and pongs), which is not.
    """

    __slots__ = (
        "_entries",
        "_gap_frames",
        "_in_flight",
        "_missed",
        "_queues",
        "_room_bytes",
        "_room_messages",
        "_unsent",
        "bytes",
        "messages",
    )

    def __init__(
        self, queues: SendQueues, gap_frames: Callable[[Missed], bytes] | None = None
    ) -> None:
        self.bytes = 0
        """Bytes that wait here."""
        self.messages = 0
        """Messages that wait here."""
        self._queues = queues
        self._gap_frames = gap_frames
        self._entries: deque[_Entry] = deque()
        self._missed: Missed | None = None  # behind the last entry
        self._room_bytes = 0  # what of the two sums may be dropped
        self._room_messages = 0
        self._in_flight = 0
        self._unsent = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to take, and no gap to tell of."""
        return not self._entries and self._missed is None

    @property
    def waiting_messages(self) -> int:
        """Messages that wait here, and those last taken if the transport still holds some."""
        return self.messages + self._in_flight

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait here, and in the transport when it was last looked at."""
        return self.bytes + self._unsent

    def transport_holds(self, size: int) -> None:
        """So many bytes are in the transport, on their way to the kernel."""
        more = size - self._unsent
        self._unsent = size
        if not size:
            self._in_flight = 0
        self._queues.add(more)

    def push(self, frames: bytes, messages: int, room: Room | None, *, unsent: int) -> int | None:
        """Add whole frames with that many messages of a room, or (None) the client's own.

        `unsent` bytes in the transport count as waiting. Returns how many messages of rooms were
        dropped for it, oldest first, or None if it does not fit and nothing has changed. That
        happens to what is the client's own, and to everything unless the oldest is to be dropped.

        A message that would not fit if all that waits was dropped is dropped itself, and only it.
        """
        self.transport_holds(unsent)
        queues = self._queues
        entry = _Entry(frames, messages, room)
        excess_bytes = self.bytes + unsent + len(frames) - queues.max_bytes
        excess = self.messages + self._in_flight + messages - queues.max_messages
        if excess_bytes <= 0 and excess <= 0:
            self._append(entry)
            return 0
        if not queues.drop_oldest:
            return None
        dropped = 0
        while excess_bytes > self._room_bytes or excess > self._room_messages:
            if room is None:
                return None
            excess_bytes -= entry.drop_first()
            excess -= 1
            dropped += 1
            self._missed = self._note(self._missed, room, SLOW)
            if not entry.messages:
                return dropped
        dropped += self._drop_oldest(excess_bytes, excess, SLOW)
        self._append(entry)
        return dropped

    def drop(self) -> int:
        """Drop all that may be dropped, because of an overload; returns how many messages."""
        if not self._queues.drop_oldest:
            return 0
        return self._drop_oldest(self._room_bytes, self._room_messages, OVERLOAD)

    def take(self) -> bytes:
        """Take whole frames for one write: `FLUSH_BYTES` of them, or a single entry with more.

        A gap is told of where the messages are missing.
        """
        parts = self._take(FLUSH_BYTES)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def take_all(self) -> list[bytes]:
        """Take all there is, as pieces of whole frames, and close the queue."""
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
            self._queues.release(entry.frames)
            if entry.missed is not None and self._gap_frames is not None:
                parts.append(self._gap_frames(entry.missed))
            parts.append(entry.frames[entry.start :])
        if self._missed is not None and self._gap_frames is not None:
            parts.append(self._gap_frames(self._missed))
            self._missed = None
        return parts

    def close(self) -> None:
        """Let go of all that waits, for good."""
        for entry in self._entries:
            self._queues.release(entry.frames)
        self._entries.clear()
        self.transport_holds(0)
        self._queues.discard(self)

    def _append(self, entry: _Entry) -> None:
        entry.missed, self._missed = self._missed, None
        self._entries.append(entry)
        self._count(entry, entry.size, entry.messages)
        self._queues.hold(entry.frames)

    def _count(self, entry: _Entry, size: int, messages: int) -> None:
        self.bytes += size
        self.messages += messages
        if entry.room is not None:
            self._room_bytes += size
            self._room_messages += messages

    def _drop_oldest(self, excess_bytes: int, excess: int, reason: str) -> int:
        """Drop messages of rooms until so many bytes and messages are gone; there are as many."""
        entries = self._entries
        index = dropped = 0
        while excess_bytes > 0 or excess > 0:
            entry = entries[index]
            if entry.room is None:
                index += 1
                continue
            size = entry.drop_first()
            self._count(entry, -size, -1)
            excess_bytes -= size
            excess -= 1
            dropped += 1
            entry.missed = self._note(entry.missed, entry.room, reason)
            if not entry.messages:
                del entries[index]
                self._queues.release(entry.frames)
                if index < len(entries):
                    entries[index].missed = _merged(entry.missed, entries[index].missed)
                else:
                    self._missed = _merged(entry.missed, self._missed)
        return dropped

    def _note(self, missed: Missed | None, room: Room, reason: str) -> Missed | None:
        return _merged(missed, {(room.name, reason): 1}) if self._gap_frames is not None else None


class _Entry:
    """Frames that came together, and what is missing in front of them."""

    __slots__ = ("frames", "messages", "missed", "room", "start")

    def __init__(self, frames: bytes, messages: int, room: Room | None) -> None:
        self.frames = frames
        self.start = 0  # of the first frame that has not been dropped
        self.messages = messages
        self.room = room  # None: never dropped
        self.missed: Missed | None = None

    @property
    def size(self) -> int:
        return len(self.frames) - self.start

    def drop_first(self) -> int:
        """Drop the oldest message; returns how many bytes it had."""
        size = frame_size(self.frames, self.start)
        self.start += size
        self.messages -= 1
        return size


def _merged(first: Missed | None, second: Missed | None) -> Missed | None:
    """Two gaps without anything between them are one."""
    if first is None or second is None:
        return first or second
    for where, messages in second.items():
        first[where] = first.get(where, 0) + messages
    return first
