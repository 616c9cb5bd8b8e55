"""File descriptors of a process: the first three, their limit, and whether any are left.

May live here: limits, shortages, and what is done so that neither ends a process. Must not know
what a descriptor is for.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from ..logs.logger import logger

RESERVED = 64
"""The descriptors that clients do not get, or an eighth of all if that is less. Links to Redis that
are built anew, checks and refusals need some."""
OWN = 16
"""The descriptors of a worker that its lowest free number does not show at the start: those above
it, and those to come."""
CALM_SECONDS = 5.0
"""The time without a shortage after which it is over."""
LOOKS = 16
"""The clients after which the limit is read anew: that takes as long as much else of a client."""
USUAL_CLIENTS = 10_000
"""The clients that a worker is expected to have if `CHAT_MAX_CONNECTIONS` does not say."""

_MOST = 2**20
_MOST_OF_MACOS = 10_240
_ACCEPT_FAILED = "socket.accept() out of system resource"


def open_standard_streams() -> None:
    """Open those of standard input, output and error that are closed, before a socket gets a number
    of theirs.

    libuv takes such a socket for the stream, and aborts; Sanic asks `sys.stdout` for its encoding.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest number
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def raise_limit() -> int:
    """Raise the limit of open files of this process, and of those it makes, as far as allowed.

    Returns the limit as it is then.
    """
    soft, hard = map(_number, resource.getrlimit(resource.RLIMIT_NOFILE))
    for wanted in (min(hard, _MOST), min(hard, _MOST_OF_MACOS)):
        if wanted > soft and _set_soft_limit(wanted):
            logger.info("Raised the limit of open files from %d to %d", soft, wanted)
            soft = wanted
    return soft


def needed_limit(clients: int) -> int:
    """The limit of open files that a worker with so many clients needs."""
    return clients + 2 * RESERVED


class Descriptors:
    """The file descriptors that this process has left for clients.

    The kernel gives each new one the lowest free number. So no client stays whose own is among the
    highest: those are kept, whatever takes the others. `clients`, which tells how many there are,
    is asked too, since some below are still to be taken. Shortages are logged when they begin and
    end.
    """

    def __init__(self, clients: Callable[[], int] = int) -> None:
        self._clients = clients
        self._read_limit()
        self.connections = max(1, self._limit - _lowest_free() - OWN - self._reserve // 2)
        """The connections that there are descriptors for, reckoned when the process began."""
        self._most_clients = max(1, self.connections - self._reserve // 2)
        self.shortages = 0
        """The number of shortages so far."""
        self._short = False
        self._short_at = 0.0

    def are_left(self, number: int = 0) -> bool:
        """Whether one more client may have one, now; its own has that number (0: not known).

        The lowest free number would not do: it is low, too, when a client has just left, and all
        above it are taken.
        """
        if self._clients() < self._most_clients and number < self._first_reserved:
            self._looks -= 1
            if self._looks:  # as nearly always
                return True
        if self._are_beyond(number, reserves=1):
            self._run_short(f"`ulimit -n` is {self._limit}")
            return False
        return True

    def are_few(self, number: int) -> bool:
        """Whether whoever is only being told of a refusal must go, so that others find some."""
        return self._are_beyond(number, reserves=2)

    @property
    def are_short(self) -> bool:
        """Whether they have been short within the last five seconds."""
        if self.are_left(_lowest_free()) and self._short:
            self._short = time.monotonic() - self._short_at < CALM_SECONDS
            if not self._short:
                logger.info("There are file descriptors for clients again")
        return self._short

    def watch_accepting(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let `loop` accept one connection a turn, and let one that it cannot accept be a shortage.

        uvloop does. asyncio's own loop accepts a whole backlog before the first of it can make room
        for the others, and when that takes all descriptors it accepts nothing for a second.
        """
        start_serving = getattr(loop, "_start_serving", None)
        if start_serving is not None:

            def start(
                factory: object, sock: object, tls: object, server: object, _: int, *more: object
            ) -> None:
                start_serving(factory, sock, tls, server, 1, *more)

            loop._start_serving = start  # type: ignore[attr-defined]

        def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            if context["message"] == _ACCEPT_FAILED:
                self._run_short(str(context["exception"]))
            else:
                loop.default_exception_handler(context)

        loop.set_exception_handler(handle)

    def _are_beyond(self, number: int, *, reserves: int) -> bool:
        """Whether, of all but so many reserves, there is none left, or a client has one of them."""
        self._read_limit()
        most = self._most_clients - (reserves - 1) * self._reserve
        return self._clients() >= most or number >= self._limit - reserves * self._reserve

    def _read_limit(self) -> None:
        """Read the limit, which `prlimit` changes while a process runs."""
        self._limit = _number(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self._reserve = min(RESERVED, self._limit // 8)
        self._first_reserved = self._limit - self._reserve
        self._looks = LOOKS

    def _run_short(self, why: str) -> None:
        self._short_at = time.monotonic()
        if not self._short:
            self._short = True
            self.shortages += 1
            logger.error("No file descriptors are left for new clients, who get 503: %s", why)


def _lowest_free() -> int:
    """The number that the next descriptor will have."""
    try:
        number = os.dup(0)
    except OSError as error:
        if error.errno == errno.EMFILE:
            return sys.maxsize
        raise
    os.close(number)
    return number


def _set_soft_limit(wanted: int) -> bool:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # macOS allows less than it says
        return False
    return True


def _number(limit: int) -> int:
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit
