"""The server's log, and the bound of what clients can cause there.

May live here: how often a warning is logged. Must not know what is logged.
"""

from __future__ import annotations

import logging
import time

logger = logging.getLogger("sanic.root")
"""The server's own log: Sanic's, so that both are formatted and switched together."""


REMINDER_SECONDS = 300.0
"""The time after which a warning that goes on is logged again."""

CALM_SECONDS = 60.0
"""The time without a warning after which the same one is news."""


class RateLimitedWarning:
    """Logs warnings about one thing that may go wrong often, or for long.

    One in `interval` seconds at most, and what says the same as the one before only as a reminder
    every five minutes, or after `calm` seconds without. Each says how many were left out before it.
    What is left out is logged at debug.
    """

    def __init__(self, interval: float = 1.0, calm: float = CALM_SECONDS) -> None:
        self._interval = interval
        self._calm = calm
        self._next = 0.0
        self._reminder = 0.0
        self._last = 0.0
        self._said = ""
        self._left_out = 0

    def log(self, text: str, *arguments: object, error: BaseException | None = None) -> bool:
        """Log `text % arguments`, with the traceback of an `error`, or count it.

        Returns whether it was logged.
        """
        now = time.monotonic()
        is_news = now - self._last >= self._calm
        self._last = now
        if now < self._next:
            return self._leave_out(text, *arguments)
        line = text % arguments
        if line == self._said and now < self._reminder and not is_news:
            return self._leave_out(text, *arguments)
        self._next = now + self._interval
        self._said = line
        self._reminder = now + REMINDER_SECONDS
        if self._left_out:
            line += f" ({self._left_out} more since the last such line)"
            self._left_out = 0
        logger.warning("%s", line, exc_info=error)
        return True

    def _leave_out(self, text: str, *arguments: object) -> bool:
        self._left_out += 1
        logger.debug(text, *arguments)
        return False

    def over(self, text: str, *arguments: object) -> None:
        """Log that it is over, if it was logged. The same warning is then news again."""
        if self._said:
            self._said = ""
            self._left_out = 0
            logger.info(text, *arguments)
