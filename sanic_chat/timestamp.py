"""The text of the current time, as messages carry it."""

from __future__ import annotations

import time


class TimestampText:
    """Formats the wall clock as `2026-02-05T00:00:00.000Z`, once per millisecond.

    Formatting takes several microseconds; under load many messages share a millisecond.
    """

    __slots__ = ("_millisecond", "_second", "_second_text", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._second_text = ""
        self._millisecond = -1
        self._text = b""

    def now(self) -> bytes:
        """The current UTC time with milliseconds, as ASCII bytes."""
        millisecond = int(time.time() * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            second, rest = divmod(millisecond, 1000)
            if second != self._second:
                self._second = second
                self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._text = b"%b.%03dZ" % (self._second_text.encode(), rest)
        return self._text
