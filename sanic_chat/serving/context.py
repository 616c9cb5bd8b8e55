"""The application as its listeners see it: the parts that a process has.

May live here: which parts, and in which process each is set. Must not know who makes them.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sanic import Sanic
from sanic.config import Config as SanicConfig

from ..config.settings import Config
from ..logs.level import LogLevel
from ..process.embedded_redis import EmbeddedRedis
from ..process.listener import Listener
from ..process.os_signals import LEVEL_SIGNALS
from ..process.slots import SharedSlots
from ..process.watchdog import Watchdog
from ..worker import Worker

if TYPE_CHECKING:
    from ..auth.auth import Authenticator


@dataclass
class ChatContext:
    """The parts of the application, in each of its processes."""

    config: Config
    doubts: list[str]
    """Sentences about settings, to be logged once."""
    is_configured: bool
    """Whether the program has made the settings itself, and not taken them from the environment."""
    authenticator: Authenticator | None
    log_level: LogLevel
    listener: Listener
    worker: Worker | None = None
    """Set in a worker process before it serves."""
    embedded_redis: EmbeddedRedis | None = None
    """Set in the process that has started it."""
    watchdog: Watchdog | None = None
    """Set in the main process."""
    admin_socket: socket.socket | None = None
    """Set in the main process, if there is a CHAT_ADMIN_LISTEN."""
    slots: SharedSlots | None = None
    """Set in the main process and in its workers, unless there is no memory to share."""

    @property
    def level_signals(self) -> dict[signal.Signals, Callable[[], None]]:
        """The signals that change the level of the log, with what each does."""
        begin, end = LEVEL_SIGNALS
        return {begin: self.log_level.begin_debug, end: self.log_level.end_debug}


ChatApp = Sanic[SanicConfig, ChatContext]
