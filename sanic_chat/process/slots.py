"""Slots: memory in which each process of a server leaves something for all of them to read.

    process ─→ claim: a lock that ends with it ─→ write ─→ the older of its slot's two pages
    any of them ─→ read ─→ of each slot that is locked, the newer page that is whole

No process waits for another. A page says how long it is and has a checksum, and the other one stays
as it was: a process that is killed or stopped in the middle of a write leaves its last content. The
lock is the kernel's (POSIX, of one byte of the file), and ends with its process however that ends:
no PID is looked at, which another process may have got since.

May live here: slots, and whose they are. Must not know what is written.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection
from typing import NamedTuple

from ..logs.logger import logger

SLOTS = 512
"""The processes that may have a slot at the same time, beside the main process."""
MAIN = SLOTS
"""The slot of the main process."""
PAGE_BYTES = 16 * 1024

_MAGIC = b"sanic_chat slots, first layout"
_CLAIMED_AT = 1024
_HEAD_BYTES = 4096
_SIZE = _HEAD_BYTES + (SLOTS + 1) * 2 * PAGE_BYTES
_PAGE_HEAD = struct.Struct("<QdI")
_CHECKSUM = struct.Struct("<I")
_CONTENT_AT = _PAGE_HEAD.size + _CHECKSUM.size
_TRIES = 5

MAX_BYTES = PAGE_BYTES - _CONTENT_AT
"""The bound of what is written."""


class Written(NamedTuple):
    """The content of a slot."""

    slot: int
    age: float
    """Seconds since it was written, by the clock of this machine that is never set."""
    content: bytes


class SharedSlots:
    """The slots of one server. The main process makes them, and hands `handle` on to its workers.

    Each process has one object of this class, for as long as it lives: who closes it, or any other
    descriptor of that file, gives up its slot.
    """

    def __init__(self, handle: Connection) -> None:
        """Open the slots that `handle` is of. Raises OSError if they are of another version."""
        self.handle = handle
        """The file, in a wrapping that `multiprocessing` passes on to new processes."""
        self.slot: int | None = None
        """The slot that this process has; None before `claim`."""
        self._file = handle.fileno()
        if os.fstat(self._file).st_size != _SIZE:
            raise OSError("the shared memory has another size")
        self._memory = mmap.mmap(self._file, _SIZE)
        if self._memory[: len(_MAGIC)] != _MAGIC:
            raise OSError("the shared memory has another layout")
        self._writes = 0

    @classmethod
    def create(cls) -> SharedSlots:
        """Make slots, all of them free. Raises OSError if there is no memory to share.

        Linux needs no directory for them, any other system one for temporary files. What nobody has
        used takes no memory.
        """
        file = _anonymous_file()
        os.ftruncate(file, _SIZE)
        os.pwrite(file, _MAGIC, 0)
        return cls(Connection(file))

    def claim(self, slots: Iterable[int] = range(SLOTS)) -> bool:
        """Take the first of `slots` that is free, for the life of this process.

        Returns False if there is none.
        """
        for slot in slots:
            if self._lock(slot, fcntl.LOCK_EX):
                self.slot = slot
                for page in _pages(slot):  # what another has left there
                    self._memory[page : page + _CONTENT_AT] = bytes(_CONTENT_AT)
                self._memory[_CLAIMED_AT + slot] = True
                return True
        return False

    def write(self, content: bytes) -> None:
        """Put `content` into this process's slot, in place of what it wrote before.

        Raises ValueError beyond `MAX_BYTES`. Only after `claim`.
        """
        if len(content) > MAX_BYTES:
            raise ValueError(f"{len(content)} bytes; a slot has {MAX_BYTES}")
        assert self.slot is not None
        self._writes += 1
        head = _PAGE_HEAD.pack(self._writes, time.monotonic(), len(content))
        page = _pages(self.slot)[self._writes % 2]
        written = head + _CHECKSUM.pack(_checksum(head, content)) + content
        self._memory[page : page + len(written)] = written

    def read(self) -> list[Written]:
        """Return what living processes have written, in the order of their slots."""
        claimed = self._memory[_CLAIMED_AT : _CLAIMED_AT + SLOTS + 1]
        return [
            written
            for slot, was_claimed in enumerate(claimed)
            if was_claimed and self._is_taken(slot) and (written := self._read(slot)) is not None
        ]

    def _read(self, slot: int) -> Written | None:
        for _ in range(_TRIES):  # its owner may be writing, again and again
            found = max(self._whole_pages(slot), default=None)
            if found is not None:
                _, moment, content = found
                return Written(slot, max(0.0, time.monotonic() - moment), content)
        return None

    def _whole_pages(self, slot: int) -> Iterator[tuple[int, float, bytes]]:
        memory = self._memory
        for page in _pages(slot):
            start = memory[page : page + _CONTENT_AT]
            head = start[: _PAGE_HEAD.size]
            number, moment, length = _PAGE_HEAD.unpack(head)
            if number and length <= MAX_BYTES:
                content = memory[page + _CONTENT_AT : page + _CONTENT_AT + length]
                if _CHECKSUM.unpack_from(start, _PAGE_HEAD.size) == (_checksum(head, content),):
                    yield number, moment, content

    def _is_taken(self, slot: int) -> bool:
        if slot == self.slot:
            return True  # no lock keeps its own process out
        # Who claims a slot in this very moment takes another one.
        if not self._lock(slot, fcntl.LOCK_SH):
            return True
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, slot)
        return False

    def _lock(self, slot: int, kind: int) -> bool:
        try:
            fcntl.lockf(self._file, kind | fcntl.LOCK_NB, 1, slot)
        except OSError:
            return False
        return True


class LoneSlot:
    """The slot of a process that is alone, as `SharedSlots` would be."""

    def __init__(self) -> None:
        self._content: bytes | None = None
        self._moment = 0.0

    def write(self, content: bytes) -> None:
        """Keep `content`, in place of what was written before."""
        self._content, self._moment = content, time.monotonic()

    def read(self) -> list[Written]:
        """Return what was written last."""
        if self._content is None:
            return []
        return [Written(0, time.monotonic() - self._moment, self._content)]


def make_slots() -> SharedSlots | None:
    """Make slots, and claim the main process's. Logs why there are none, and returns None then."""
    try:
        slots = SharedSlots.create()
    except OSError as error:
        logger.error("There will be no metrics: no memory can be shared with workers: %s", error)
        return None
    slots.claim((MAIN,))
    return slots


def claim_slot(handle: Connection | None) -> SharedSlots | None:
    """Claim a worker's slot. Logs why there is none, and returns None then.

    Without a `handle` the main process has said why.
    """
    if handle is None:
        return None
    try:
        slots = SharedSlots(handle)
    except OSError as error:
        logger.error("No metrics from this worker, nor of it: %s", error)
        return None
    if not slots.claim():
        logger.error("No metrics from this worker, nor of it: no slot is free")
        return None
    return slots


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        try:
            return os.memfd_create("sanic-chat-slots")
        except OSError:
            pass  # forbidden, as some containers do
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _pages(slot: int) -> tuple[int, int]:
    """The places of a slot's two pages."""
    start = _HEAD_BYTES + slot * 2 * PAGE_BYTES
    return start, start + PAGE_BYTES


def _checksum(head: bytes, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(head))
