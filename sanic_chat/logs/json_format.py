"""The log as JSON: each line an object.

May live here: the configuration of Python's logging. Must not know what is logged, nor what is
redacted in it.
"""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from typing import Any

from sanic.log import LOGGING_CONFIG_DEFAULTS

from .redaction import TokenFilter

_STANDARD = logging.makeLogRecord({}).__dict__.keys() | {"message", "asctime"}


class JSONFormatter(logging.Formatter):
    """Writes a record as one line: a JSON object in ASCII.

    Its keys are `time` (RFC 3339, UTC), `level`, `logger`, `pid`, `process` (Sanic's name of it),
    `message` and, with an exception, `exception`. Further fields of a record, from arguments by
    name or from `extra`, have their own names as keys.
    """

    def __init__(self) -> None:
        super().__init__()
        self._process = os.environ.get("SANIC_WORKER_IDENTIFIER", "").strip() or "Main"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        fields: dict[str, Any] = {
            name: value for name, value in record.__dict__.items() if name not in _STANDARD
        }
        if isinstance(record.args, dict):
            fields |= record.args
        time = datetime.fromtimestamp(record.created, UTC)
        fields |= {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "process": self._process,
            "message": record.getMessage(),
        }
        if record.exc_text or record.exc_info:
            fields["exception"] = record.exc_text or self.formatException(record.exc_info)  # type: ignore[arg-type]
        order = ("time", "level", "logger", "pid", "process", "message")
        return json.dumps({**{name: fields[name] for name in order}, **fields}, default=str)


def json_log_config() -> dict[str, Any]:
    """Return a configuration of Python's logging by which all that is logged is JSON.

    That includes the logs of asyncio and others, and Python's own warnings if they are captured.
    """
    sanics = LOGGING_CONFIG_DEFAULTS
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JSONFormatter}},
        "filters": {"tokens": {"()": TokenFilter}},  # for loggers that have none of their own
        "handlers": {
            name: {**handler, "formatter": "json", "filters": ["tokens"]}
            for name, handler in sanics["handlers"].items()
        },
        # What goes to the root logger as well would be written twice.
        "loggers": {
            name: {**logger, "propagate": False} for name, logger in sanics["loggers"].items()
        },
        "root": {"level": "WARNING", "handlers": ["error_console"]},
    }
