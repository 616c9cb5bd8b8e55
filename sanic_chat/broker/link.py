"""One supervised connection to Redis that speaks RESP2 in batches.

redis-py's asyncio client costs tens of microseconds per command and per received message; here
all replies of one read are handed on together, and all commands of one loop turn leave in one
write. The link connects, authenticates, pings, notices silence, and reconnects with jittered
back-off until it is closed. What the replies mean is its owner's business.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Protocol, cast

import hiredis

from ..logs import RateLimitedWarning, logger
from .endpoint import Endpoint

Reply = Any
"""What hiredis makes of a reply: bytes, int, list, None, or a hiredis.ReplyError."""

MIN_BACKOFF = 0.05
MAX_BACKOFF = 1.0
SETTLE_MARGIN = 0.25
PINGS_PER_TIMEOUT = 2
WRITE_BUFFER_BYTES = 1024 * 1024
MAX_REPLY_BYTES = 64 * 1024 * 1024
"""A reply that has more is not waited for. Redis itself cuts a subscriber off at half of that."""


def pack(command: Sequence[str | bytes]) -> bytes:
    """A command as RESP."""
    return bytes(hiredis.pack_command(tuple(command)))  # type: ignore[arg-type]


_PING = pack(("PING",))


class LinkState(Enum):
    CONNECTING = "connecting"
    UP = "up"
    CLOSED = "closed"


class LinkOwner(Protocol):
    """What a link tells. All calls are synchronous."""

    def link_up(self) -> None:
        """A new connection is ready: nothing of an earlier one is known to it."""

    def link_writable(self) -> None:
        """The socket takes again what it is given, after it did not for a while."""

    def link_unwritable(self) -> None:
        """The socket does not take what it was given; what is sent now waits in memory."""

    def link_down(self) -> None:
        """The connection is gone; what was sent and not answered may or may not have arrived."""

    def replies_received(self, replies: list[Reply]) -> None:
        """Replies in the order in which they came; those to the link's own PINGs among them."""


class Link:
    """A connection to Redis that is built anew for as long as the link is not closed.

    `timeout` (seconds) bounds connecting and authenticating, and the silence after a ping.
    """

    def __init__(self, endpoint: Endpoint, *, name: str, owner: LinkOwner, timeout: float) -> None:
        self.state = LinkState.CONNECTING
        self.last_error = ""
        """Why the link is not up, fit for logs and stats."""
        self.reconnects = 0
        self._endpoint = endpoint
        self._name = name
        self._owner = owner
        self._timeout = timeout
        self._connection: _Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._backoff = MIN_BACKOFF
        self._proven = False
        self._away = RateLimitedWarning()
        self._said_away = False

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
        return min(self._backoff * 2, MAX_BACKOFF) + SETTLE_MARGIN

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
        self.last_error = ""
        if self._said_away:
            self._said_away = False
            logger.info("Redis %s (%s) is there again", self._endpoint, self._name)

    def rebuild(self, reason: str) -> None:
        """Give up the connection, if there is one, and build a new one."""
        if self._connection is not None:
            self._connection.give_up(reason)

    async def _run(self) -> None:
        while True:
            try:
                await self._connect_and_watch()
            except (OSError, TimeoutError, hiredis.HiredisError, _Refused) as error:
                self._log_down(str(error) or f"no answer within {self._timeout:g} s")
            except Exception:
                # A link that gives up is a deaf pod: whatever went wrong, try again.
                logger.exception("Redis %s (%s): unexpected error", self._endpoint, self._name)
            await asyncio.sleep(self._backoff * random.uniform(0.5, 1.0))
            self._backoff = min(self._backoff * 2, MAX_BACKOFF)

    async def _connect_and_watch(self) -> None:
        """Build a connection and return, or raise, when it is lost."""
        async with asyncio.timeout(self._timeout):
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
            self._owner.link_down()

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> _Connection:
        connection = await self._endpoint.open(loop, lambda: _Connection(loop))
        try:
            commands = self._endpoint.introduction(self._name)
            connection.write(b"".join(map(pack, commands)))
            for reply in await connection.take(len(commands)):
                if isinstance(reply, hiredis.ReplyError):
                    raise _Refused(str(reply))
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _watch(self, connection: _Connection) -> None:
        """Return once the connection is lost; silence after a ping makes it so."""
        interval = self._timeout / PINGS_PER_TIMEOUT
        while not connection.lost.done():
            heard = connection.reads
            connection.write(_PING)
            for _ in range(PINGS_PER_TIMEOUT):
                await asyncio.wait([connection.lost], timeout=interval)
                if connection.lost.done() or connection.reads != heard or connection.is_held:
                    break
            else:
                connection.give_up(f"silent for {self._timeout:g} s after a ping")
                return

    def _log_down(self, reason: str) -> None:
        if reason != self.last_error:  # once per change, not once per attempt
            self.last_error = reason
            if self._away.log("Redis %s (%s) is away: %s", self._endpoint, self._name, reason):
                self._said_away = True


class _Refused(Exception):
    """Redis answered the introduction with an error."""


class _Connection(asyncio.Protocol):
    """One socket to Redis, from its opening to its loss."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.writable = False
        self.reads = 0
        self.is_held = False
        self.reason = "the connection was closed"
        self.lost: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._reader = hiredis.Reader()
        self._unread_bytes = 0  # read since the last reply was complete
        self._receive: Callable[[list[Reply]], None] = self._keep
        self._on_writable: Callable[[], None] | None = None
        self._on_unwritable: Callable[[], None] | None = None
        self._kept: list[Reply] = []
        self._enough: asyncio.Future[None] | None = None
        self._wanted = 0
        self._questions: deque[bytes] = deque()
        self._on_answer: Callable[[], None] = _nothing

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self.write: Callable[[bytes], None] = transport.write
        self.writable = True

    def data_received(self, data: bytes) -> None:
        self.reads += 1
        reader = self._reader
        replies: list[Reply] = []
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                replies.append(reply)
        except (hiredis.HiredisError, MemoryError, TypeError) as error:
            # An absurd length is a MemoryError there, a map with a list for a key a TypeError.
            self.give_up(f"not RESP: {error or 'out of memory'}")
        if replies:
            self._unread_bytes = 0
            asked = len(self._questions)
            if asked:
                replies = list(filter(self._is_no_answer, replies))
            self._receive(replies)
            if asked and not self._questions:
                self._on_answer()
        else:
            self._unread_bytes += len(data)
            if self._unread_bytes > MAX_REPLY_BYTES:
                self.give_up(f"a reply of over {MAX_REPLY_BYTES} bytes")

    def pause_writing(self) -> None:
        self.writable = False
        if self._on_unwritable is not None:
            self._on_unwritable()

    def resume_writing(self) -> None:
        self.writable = True
        if self._on_writable is not None:
            self._on_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_writing()
        if exc is not None:
            self.reason = str(exc)
        if not self.lost.done():
            self.lost.set_result(None)
        if self._enough is not None and not self._enough.done():
            self._enough.set_exception(ConnectionResetError(self.reason))

    async def take(self, count: int) -> list[Reply]:
        """The first `count` replies. Raises ConnectionResetError if the connection is lost."""
        self._wanted = count
        self._enough = self._loop.create_future()
        if self.lost.done():
            raise ConnectionResetError(self.reason)
        self._check_enough()
        await self._enough
        replies, self._kept = self._kept[:count], self._kept[count:]
        return replies

    def hand_over(self, owner: LinkOwner) -> None:
        """From now on replies go to `owner`."""
        self._receive = owner.replies_received
        self._on_writable = owner.link_writable
        self._on_unwritable = owner.link_unwritable
        if self._kept:
            kept, self._kept = self._kept, []
            self._receive(kept)

    def hold(self) -> None:
        """Read no more until `release`."""
        if not (self.is_held or self._transport.is_closing()):
            self.is_held = True
            self._transport.pause_reading()

    def release(self) -> None:
        """Read again."""
        if self.is_held:
            self.is_held = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def ask(self, question: bytes, on_answer: Callable[[], None]) -> None:
        """See `Link.ask`."""
        self._questions.append(question)
        self._on_answer = on_answer
        self.write(pack(("PING", question)))

    def _is_no_answer(self, reply: Reply) -> bool:
        """Whether a reply is anything but the answer to the oldest open question."""
        # Who has subscribed is answered with a list, others with the question.
        if not self._questions or reply not in (self._questions[0], [b"pong", self._questions[0]]):
            return True
        self._questions.popleft()
        return False

    def close(self) -> None:
        """Close once what was written has left."""
        self._transport.close()

    def give_up(self, reason: str) -> None:
        """Close at once, and say why."""
        self.reason = reason
        self.abort()

    def abort(self) -> None:
        """Close at once."""
        self._end_writing()
        self._transport.abort()

    def _end_writing(self) -> None:
        # The link learns of the end a few turns of the loop later, and uvloop's transports raise
        # an error when they are written to then.
        self.writable = False
        self.write = _write_nowhere

    def _keep(self, replies: list[Reply]) -> None:
        self._kept += replies
        self._check_enough()

    def _check_enough(self) -> None:
        if self._enough is not None and not self._enough.done() and len(self._kept) >= self._wanted:
            self._enough.set_result(None)


def _write_nowhere(data: bytes) -> None:
    """What a lost connection writes to."""


def _nothing() -> None:
    """What happens on an answer that nobody waits for."""
