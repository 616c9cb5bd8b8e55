"""The lines of an event loop about writes to a client that is gone: they are left out of the log.

uvloop tells nobody that a client under TLS has gone without a goodbye, until it has torn down the
connection a turn later. What a session says in that turn goes nowhere, with a line for each frame.

May live here: which lines say no more than that. Must not know why something is written.
"""

from __future__ import annotations

import logging

_LINE = "SSL connection is closed"


def _is_news(record: logging.LogRecord) -> bool:
    return record.msg != _LINE


def leave_out_gone_clients() -> None:
    """Leave that line out of the event loops' log. Further calls do nothing."""
    logging.getLogger("asyncio").addFilter(_is_news)
