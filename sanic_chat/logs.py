"""What goes into the log, and what must not: bounded rates, and no tokens."""

from __future__ import annotations

import logging
import re
import time
from urllib.parse import unquote

logger = logging.getLogger("sanic.root")
"""The server's own log: Sanic's, so that it is formatted and switched with it."""

_PARAMETER = re.compile(r"([?&])([^=&\s]+)=([^&\s\"'#]*)")


class RateLimitedWarning:
    """Logs at most one warning a second; the next one says how many were left out."""

    def __init__(self, interval: float = 1.0) -> None:
        self._interval = interval
        self._next = 0.0
        self._left_out = 0

    def log(self, text: str, *arguments: object) -> bool:
        """Log `text % arguments`, or count it if one was logged less than `interval` s ago.

        True if it was logged.
        """
        now = time.monotonic()
        if now < self._next:
            self._left_out += 1
            return False
        self._next = now + self._interval
        if self._left_out:
            text += f" ({self._left_out} more since the last such line)"
            self._left_out = 0
        logger.warning(text, *arguments)
        return True


class TokenFilter(logging.Filter):
    """Replaces the value of every `token=` query parameter, wherever in a record it stands."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = _redact(record.msg)
        if isinstance(record.args, tuple):
            record.args = tuple(map(_redact, record.args))
        for attribute in ("request", "exc_text"):
            if hasattr(record, attribute):
                setattr(record, attribute, _redact(getattr(record, attribute)))
        return True


def _redact(value: object) -> object:
    # Only text, and things like exceptions and requests whose text would hold the token.
    if isinstance(value, (int, float, type(None))):
        return value
    text = str(value)
    clean = _PARAMETER.sub(_without_token, text)
    return value if clean == text else clean


def _without_token(parameter: re.Match[str]) -> str:
    separator, name, value = parameter.groups()
    # A name may be percent-encoded, and is the same name then.
    hidden = "***" if unquote(name).lower() == "token" else value
    return f"{separator}{name}={hidden}"


def keep_tokens_out_of_logs() -> None:
    """Install `TokenFilter` on the loggers that see URLs."""
    token_filter = TokenFilter()
    for name in ("sanic.root", "sanic.error", "sanic.access", "sanic.server", "sanic.websockets"):
        target = logging.getLogger(name)
        if not any(isinstance(present, TokenFilter) for present in target.filters):
            target.addFilter(token_filter)
