"""Redaction: it keeps tokens out of the log, in URLs, headers and tracebacks, malformed ones too.

May live here: how a token is recognised in any text, and where log records have text. Must not know
what a token means.

Text of clients gets here. So every step is linear in its length, and long text is cut first.
"""

from __future__ import annotations

import logging
import re
from typing import Any

MAX_LOGGED_CHARACTERS = 32 * 1024
"""The bound of a message or a traceback in the log. Of one with many lines the end is kept."""

HIDDEN = "***"

LOGGERS = (
    "sanic.root",
    "sanic.error",
    "sanic.access",
    "sanic.server",
    "sanic.websockets",
    "asyncio",
)
"""The loggers that see URLs, headers and exceptions: filters do not go down from a parent."""

# Every part is a constant, or a run that ends where the next part cannot begin: no step back.
_TOKEN = re.compile(
    r"""
    (   # A name that ends in "token", in any case and however encoded; what ends the name; quotes.
        (?:t|%[57]4) (?:o|%[46]f) (?:k|%[46]b) (?:e|%[46]5) (?:n|%[46]e)
        (?: \s{0,2} (?: = | %(?:25){0,2}3d ) | ["'] \s? : )
        \s? ["'[]{0,2}
    |   # RFC 6750, and the same as a WebSocket subprotocol.
        \b bearer (?: [\s.:=+"'] | %20 ){1,4} (?= [^\s&,]{8} )
    |   # A key of the HTTP API as it is written in a setting, or in a URL by mistake.
        (?: publish | read | admin ) \s? : \s? (?= [\w.~+/=-]{32} )
    |   (?: (?:k|%[46]b) (?:e|%[46]5) (?:y|%[57]9)
        |   (?:s|%[57]3) (?:e|%[46]5) (?:c|%[46]3) (?:r|%[57]2) (?:e|%[46]5) (?:t|%[57]4) )
        (?: = | %(?:25){0,2}3d ) (?= [\w.~+/=%-]{32} )
    |   # A JSON Web Token by itself: base64url of a JSON object, and two more parts.
        (?<! [\w-] ) (?= e(?:yJ|yA|wo|w0) [\w-]{8,}+ \. [\w-]++ \. )
    )
    ( [^\s&]*+ )
    """,
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)

_CLOSERS = "\"')]}>,;"


def redact(text: str) -> str:
    """Replace every token in `text` by `HIDDEN`, up to the next blank or `&`.

    A token is what follows `token=`, `"token":` or `Bearer`, or the scopes of an API key, or is as
    long as one and follows `key=` or `secret=`, or has the form of a JSON Web Token.
    """
    return _TOKEN.sub(_hide, text)


def _hide(found: re.Match[str]) -> str:
    before, value = found.groups()
    end = value[len(value.rstrip(_CLOSERS)) :]  # of what the token stands in, not of the token
    return f"{before}{HIDDEN}{end}" if len(end) < len(value) else found[0]


def cut(text: str, limit: int = MAX_LOGGED_CHARACTERS) -> str:
    """Cut a text to `limit` characters, and a few more that say so.

    The first and the last lines are kept. No line begins in its middle, where a token could no
    longer be recognised.
    """
    if len(text) <= limit:
        return text
    _, _, tail = text[-(limit // 2) :].partition("\n")
    head = text[: limit - len(tail)]
    left_out = f"… [{len(text) - len(head) - len(tail)} characters left out]"
    return f"{head}{left_out}\n{tail}" if tail else head + left_out


def clean(text: str) -> str:
    """Return `text` as it may be logged: cut, and without tokens."""
    return redact(cut(text))


class TokenFilter(logging.Filter):
    """Cuts and redacts all text of a record: its message, its traceback, and its `extra`."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = clean(_message(record))
        if isinstance(record.args, dict):  # arguments by name are fields of their own in JSON
            record.args = _cleaned(record.args)
            message = message.replace("%", "%%")
        else:
            record.args = None
        record.msg = message
        if record.exc_info and not record.exc_text:
            text = _TRACEBACKS.formatException(record.exc_info)
            shown = clean(text)
            if shown != text:  # else it is for the handler's own formatter
                record.exc_info, record.exc_text = None, shown
        elif record.exc_text:
            record.exc_text = clean(record.exc_text)
        for name in record.__dict__.keys() - _STANDARD:
            record.__dict__[name] = _cleaned(record.__dict__[name])
        return True


_TRACEBACKS = logging.Formatter()
_STANDARD = logging.makeLogRecord({}).__dict__.keys()


def _cleaned(value: Any) -> Any:
    """Return a value, or its redacted text if it has a token."""
    if isinstance(value, (int, float, type(None))):
        return value
    if isinstance(value, dict):
        return {name: _cleaned(each) for name, each in value.items()}
    text = str(value)
    shown = clean(text)
    return value if shown == text else shown


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # logging would print the arguments beside us
        return f"{record.msg!r} does not fit {record.args!r}"


def keep_tokens_out_of_logs() -> None:
    """Install `TokenFilter` on `LOGGERS`, once. Further calls do nothing."""
    token_filter = TokenFilter()
    for name in LOGGERS:
        target = logging.getLogger(name)
        if not any(isinstance(present, TokenFilter) for present in target.filters):
            target.addFilter(token_filter)
