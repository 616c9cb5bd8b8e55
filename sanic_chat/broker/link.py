"""One supervised connection to Redis.

redis-py's asyncio client costs tens of microseconds per command and per received message; here
all replies of one read are handed on together, and all commands of one loop turn leave in one
write. The link connects, authenticates, pings, notices silence, and reconnects with jittered
back-off until it is closed. What the replies mean is its owner's business.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from enum import Enum
from typing import Protocol

import hiredis

from ..logs import RateLimitedWarning, logger
from .connection import Connection, ConnectionOwner, pack
from .endpoint import Endpoint

MIN_BACKOFF = 0.05
MAX_BACKOFF = 1.0
SETTLE_MARGIN = 0.25
PINGS_PER_TIMEOUT = 2

MIN_CONNECT_SECONDS = 1.0
CONNECT_SHARE = 0.25
"""Of the timeout, for connecting: an attempt that the network has swallowed is never answered,
also when Redis can be reached again, and must not keep the next one waiting for long."""

_PING = pack(("PING",))


class LinkState(Enum):
    CONNECTING = "connecting"
    REFUSED = "refused"
    """Redis is there, and does not let this pod in; it is asked again and again."""
    UP = "up"
    CLOSED = "closed"


class LinkOwner(ConnectionOwner, Protocol):
    """What a link tells. All calls are synchronous."""

    def link_up(self) -> None:
        """A new connection is ready: nothing of an earlier one is known to it."""

    def link_down(self, good_until: float) -> None:
        """The connection is gone; what was sent and not answered may or may not have arrived.

        `good_until` (`time.monotonic()`) is the last moment at which it seemed to work.
        """


class Link:
    """A connection to Redis that is built anew for as long as the link is not closed.

    `timeout` (seconds) bounds the silence after a ping; a quarter of it, but no less than one
    second of it, connecting and authenticating.
    """

    def __init__(self, endpoint: Endpoint, *, name: str, owner: LinkOwner, timeout: float) -> None:
        self.state = LinkState.CONNECTING
        self.last_error = ""
        """Why the link is not up, fit for logs and probes."""
        self.reconnects = 0
        self._endpoint = endpoint
        self._name = name
        self._owner = owner
        self._timeout = timeout
        self._connect_timeout = min(timeout, max(MIN_CONNECT_SECONDS, timeout * CONNECT_SHARE))
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._backoff = MIN_BACKOFF
        self._last_attempt_hung = False
        self._proven = False
        self._away = RateLimitedWarning()
        self._said = ""

    def start(self) -> None:
        """Begin to connect; `link_up` tells when it has worked."""
        self._task = asyncio.get_running_loop().create_task(
            self._run(), name=f"redis-link-{self._name}"
        )

    async def close(self) -> None:
        """End the link for good. What was sent before still leaves, if the socket takes it."""
        self.state = LinkState.CLOSED
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    @property
    def settle_seconds(self) -> float:
        """How long other pods' links may still take to notice that Redis is back."""
        pause = min(self._backoff * 2, MAX_BACKOFF)
        if self._last_attempt_hung:
            pause = max(pause, self._connect_timeout)
        return pause + SETTLE_MARGIN

    @property
    def is_up(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    @property
    def writable(self) -> bool:
        """Whether `send` may be called: the link is up and the socket takes what it is given."""
        return self._connection is not None and self._connection.writable

    def send(self, commands: bytes) -> None:
        """Write packed commands. Only while the link is up; while not `writable` memory grows."""
        assert self._connection is not None
        self._connection.write(commands)

    def hold(self) -> None:
        """Read nothing more from this connection until `release`; Redis keeps it, up to a bound
        at which it gives up the connection (its `client-output-buffer-limit pubsub`)."""
        if self._connection is not None:
            self._connection.hold()

    def release(self) -> None:
        """Go on reading after `hold`."""
        if self._connection is not None:
            self._connection.release()

    def ask(self, question: bytes, on_answer: Callable[[], None]) -> None:
        """Send a PING with `question` in it; only while the link is up.

        Redis answers in order: `on_answer` is called when all it had for this connection before
        was handed on. It is not called if the connection is lost first, nor while a later question
        is open.
        """
        assert self._connection is not None
        self._connection.ask(question, on_answer)

    def prove(self) -> None:
        """Tell that the connection does what it is for; only then does the back-off begin anew."""
        if self._proven:
            return
        self._proven = True
        self._backoff = MIN_BACKOFF
        self._last_attempt_hung = False
        self.last_error = ""
        if self._said:
            self._said = ""
            logger.info("Redis %s (%s) is there again", self._endpoint, self._name)

    def rebuild(self, reason: str, good_until: float | None = None) -> None:
        """Give up the connection, if there is one, and build a new one.

        `good_until` (`time.monotonic()`, default now): see `LinkOwner.link_down`.
        """
        if self._connection is not None:
            self._connection.give_up(reason, good_until)

    async def _run(self) -> None:
        while True:
            try:
                await self._connect_and_watch()
            except TimeoutError as error:
                self._failed(str(error) or f"no answer within {self._connect_timeout:g} s")
                self._last_attempt_hung = True
            except (OSError, hiredis.HiredisError) as error:
                self._failed(str(error) or type(error).__name__)
            except _Refused as refusal:
                self._failed(str(refusal))
                self.state = LinkState.REFUSED
            except Exception:
                # A link that gives up is a deaf pod: whatever went wrong, try again.
                logger.exception("Redis %s (%s): unexpected error", self._endpoint, self._name)
            # An attempt that hung was a pause itself.
            backoff = MIN_BACKOFF if self._last_attempt_hung else self._backoff
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0))
            self._backoff = min(self._backoff * 2, MAX_BACKOFF)

    async def _connect_and_watch(self) -> None:
        """Build a connection and return, or raise, when it is lost."""
        async with asyncio.timeout(self._connect_timeout):
            connection = await self._connect(asyncio.get_running_loop())
        try:
            self._proven = False
            self._connection = connection
            self.state = LinkState.UP
            connection.hand_over(self._owner)
            self._owner.link_up()
            await self._watch(connection)
            self.reconnects += 1
            raise ConnectionResetError(connection.reason)
        finally:
            self._connection = None
            if self.state is LinkState.UP:
                self.state = LinkState.CONNECTING
            connection.close()
            good_until = connection.good_until
            self._owner.link_down(time.monotonic() if good_until is None else good_until)

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> Connection:
        connection = await self._endpoint.open(loop, lambda: Connection(loop))
        try:
            commands = self._endpoint.introduction(self._name)
            connection.write(b"".join(map(pack, commands)))
            for reply in await connection.take(len(commands)):
                if isinstance(reply, hiredis.ReplyError):
                    raise _Refused(self._endpoint.without_secrets(str(reply)))
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _watch(self, connection: Connection) -> None:
        """Return once the connection is lost; silence after a ping makes it so."""
        interval = self._timeout / PINGS_PER_TIMEOUT
        while not connection.lost.done():
            heard_at = connection.heard_at
            connection.write(_PING)
            for _ in range(PINGS_PER_TIMEOUT):
                await asyncio.wait([connection.lost], timeout=interval)
                heard = connection.heard_at != heard_at or connection.is_held
                if connection.lost.done() or heard:
                    break
            else:
                connection.give_up(f"silent for {self._timeout:g} s after a ping", heard_at)
                return

    def _failed(self, reason: str) -> None:
        self.state = LinkState.CONNECTING
        self.last_error = reason
        self._last_attempt_hung = False
        # Once per change and not once per attempt, and whatever comes too fast is said later.
        if reason != self._said and self._away.log(
            "Redis %s (%s) is away: %s", self._endpoint, self._name, reason
        ):
            self._said = reason


class _Refused(Exception):
    """Redis answered the introduction with an error."""
