"""The level of the log, and its change while the server runs.

    CHAT_LOG_LEVEL ─→ LogLevel ─→ loggers        begin_debug, end_debug: in between, everything

May live here: which loggers have it, and how it reaches processes that are made later. Must not
know what asks for a change.
"""

from __future__ import annotations

import logging
import os

from .logger import logger

LOGGERS = ("sanic.root", "sanic.error", "sanic.access", "sanic.server")
"""The loggers that are ours, and Sanic's."""

IS_DEBUGGING = "SANIC_CHAT_DEBUG"
"""The variable that tells a new process to begin with debug."""


class LogLevel:
    """The level of this process's log: as it is set, or debug until further notice."""

    def __init__(self, level: str) -> None:
        self._level = level

    def apply(self) -> None:
        """Set the loggers' levels."""
        level = "debug" if os.environ.get(IS_DEBUGGING) else self._level
        for name in LOGGERS:
            logging.getLogger(name).setLevel(level.upper())

    def begin_debug(self) -> None:
        """Log everything, in this process and in all that it makes, until `end_debug`."""
        os.environ[IS_DEBUGGING] = "1"
        self.apply()
        logger.info("The log level is debug")

    def end_debug(self) -> None:
        """Log what is set again."""
        logger.info("The log level is %s again", self._level)
        os.environ.pop(IS_DEBUGGING, None)
        self.apply()

    def change(self, level: str) -> None:
        """Set the level; until `end_debug` it stays debug."""
        self._level = level
        self.apply()
