"""The wall clock as messages carry it: their IDs and their timestamps.

May live here: what a message gets from the clock, as text. Must not know messages.
"""

from __future__ import annotations

import secrets
import time

_IDS_PER_HEAD = 256
_TAILS = [b"%02x" % number for number in range(_IDS_PER_HEAD)]
_RANDOM_BITS = 65
"""Of the 66 that are left of an ID: the top one is 0, so that counting up has room."""


class Clock:
    """Stamps messages: each gets a UUIDv7 (RFC 9562), and the time in UTC.

    IDs are different, and sort in the order in which they were made, also when the wall clock is
    put back. Of their 74 bits that are not time, 65 are random for each millisecond, and the whole
    counts up within it (section 6.2): what two pods make does not collide.

    Text is made once for a millisecond, which many messages share under load.
    """

    __slots__ = (
        "_counter",
        "_id_head",
        "_newest",
        "_second",
        "_second_text",
        "_since",
        "_timestamp",
        "_until",
        "_used",
    )

    def __init__(self) -> None:
        self._since = self._until = 0.0  # while the clock is between them, the text is right
        self._second = -1
        self._second_text = ""
        self._timestamp = b""
        self._newest = -1  # the millisecond that IDs tell: never an earlier one than before
        self._counter = 0  # of heads: the upper 66 of the 74 bits
        self._id_head = b""
        self._used = 0  # of the IDs that begin so

    def stamp(self) -> tuple[bytes, bytes]:
        """A new ID, and the current time like `2026-02-05T00:00:00.000Z`; both ASCII."""
        now = time.time()
        if not self._since <= now < self._until:
            self._go_on(int(now * 1000))
        elif self._used == _IDS_PER_HEAD:
            self._count_up()
        tail = _TAILS[self._used]
        self._used += 1
        return self._id_head + tail, self._timestamp

    def _go_on(self, millisecond: int) -> None:
        self._since = millisecond / 1000
        self._until = (millisecond + 1) / 1000
        second, rest = divmod(millisecond, 1000)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        self._timestamp = b"%b.%03dZ" % (self._second_text.encode(), rest)
        if millisecond > self._newest:
            self._newest = millisecond
            self._counter = secrets.randbits(_RANDOM_BITS)
            self._begin_head()
        else:
            self._count_up()

    def _count_up(self) -> None:
        self._counter += 1
        self._begin_head()

    def _begin_head(self) -> None:
        """What 256 IDs begin with: all of them but the last two digits."""
        self._used = 0
        time_text = b"%012x" % self._newest
        low = self._counter & (1 << 54) - 1
        self._id_head = b"%b-%b-7%03x-%04x-%010x" % (
            time_text[:8],
            time_text[8:],
            self._counter >> 54,
            0x8000 | low >> 40,
            low & (1 << 40) - 1,
        )
