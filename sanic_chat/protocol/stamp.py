"""Stamps: the ID and the timestamp that a message gets from the wall clock.

May live here: how both are made, as text. Must not know messages.
"""

from __future__ import annotations

import secrets
import time

_IDS_PER_HEAD = 256
_TAILS = [b"%02x" % number for number in range(_IDS_PER_HEAD)]
"""The last two characters of the IDs that share the first 34, their head."""

_RANDOM_BITS = 65
"""The random ones of the 66 bits that are neither time nor tail; the top one is 0, to count up."""


class Stamper:
    """Stamps messages: each gets a UUIDv7 (RFC 9562) and the time in UTC.

    No ID comes twice, and IDs sort in the order in which they were made, also after the wall clock
    was put back. Of their 74 bits that are not time, 65 are random for each millisecond, and the
    whole counts up within it (section 6.2), so the IDs of two pods do not collide.

    The text of a millisecond is made once, for all its messages.
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
        self._counter = 0  # what a head has beside the time
        self._id_head = b""
        self._used = 0  # of the IDs that begin so

    def stamp(self) -> tuple[bytes, bytes]:
        """Return a new ID, and the current time like `2026-02-05T00:00:00.000Z`; both ASCII."""
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
        self._used = 0
        rand_a, rand_b = divmod(self._counter * _IDS_PER_HEAD, 1 << 62)
        number = self._newest << 80 | 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b
        digits = b"%032x" % number
        self._id_head = b"-".join(
            (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:30])
        )
