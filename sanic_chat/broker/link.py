"""A link: one supervised connection to Redis.

    look up ─→ connect ─→ authenticate ─→ is it the right server? ─→ link_up ─→ ping, now and then
       ↑                                                                             │
       └───────────── a jittered back-off ←─ link_down ←─ lost, or silent ←──────────┘

May live here: when a connection is made, watched and given up. Must not know what is published or
subscribed to: replies are its handler's. An error reply is an answer, logged once, and no reason to
reconnect.

redis-py's asyncio client costs tens of microseconds per command and per received message. Here all
replies of one read are handed on together, and all commands of one loop turn leave in one write.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict, deque
from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

import hiredis

from ..logs.logger import RateLimitedWarning, logger
from .addresses import Address
from .connection import Connection, ConnectionHandler, Reply, pack
from .endpoint import Endpoint
from .refusals import is_needed, is_withheld
from .role import HELLO, ROLE, is_in_a_cluster, why_wrong

MIN_BACKOFF = 0.05
MAX_BACKOFF = 1.0
SETTLE_MARGIN = 0.25
PINGS_PER_TIMEOUT = 2

MIN_CONNECT_SECONDS = 1.0
CONNECT_SHARE = 0.25
"""The share of the timeout for connecting. An attempt that the network has swallowed is never
answered, even if Redis can be reached again, and must not hold up the next one for long."""

_PING = ("PING",)


class LinkState(Enum):
    """The states of a link."""

    CONNECTING = "connecting"
    REFUSED = "refused"
    """Redis does not let this pod in; it is asked again and again."""
    WRONG = "wrong"
    """The server is a replica or a Sentinel; the name is looked up again and again."""
    UP = "up"
    CLOSED = "closed"


class LinkHandler(ConnectionHandler, Protocol):
    """The user of a link. All calls are synchronous."""

    def link_up(self) -> None:
        """A new connection is ready. Redis knows nothing of an earlier one."""

    def link_down(self, good_until: float) -> None:
        """The connection is lost; commands without an answer may or may not have arrived.

        `good_until` (`time.monotonic()`) is the last moment at which it seemed to work.
        """


class Link:
    """A connection to Redis, built anew whenever it is lost, until the link is closed.

    `timeout` (seconds) bounds the silence after a ping. A quarter of it, or one second of it if
    that is more, bounds connecting and authenticating. Each attempt looks up the name anew, and
    begins with the next of its addresses.
    """

    def __init__(
        self, endpoint: Endpoint, *, name: str, handler: LinkHandler, timeout: float
    ) -> None:
        self.state = LinkState.CONNECTING
        self.last_error = ""
        """The reason why the link is not up, fit for logs and probes."""
        self.tried = asyncio.Event()
        """Set once the first attempt to connect has worked or failed."""
        self.reconnects = 0
        self.in_a_cluster = False
        """Whether the last server said that it is a node of a Cluster."""
        self._endpoint = endpoint
        self._name = name
        self._handler = handler
        self._timeout = timeout
        self._connect_timeout = min(timeout, max(MIN_CONNECT_SECONDS, timeout * CONNECT_SHARE))
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._backoff = MIN_BACKOFF
        self._last_attempt_hung = False
        self._attempts = 0  # since the last `prove`
        self._proven = False
        self._has_worked = False  # whether Redis has ever answered
        self._away = RateLimitedWarning()
        self._refusals: defaultdict[str, RateLimitedWarning] = defaultdict(RateLimitedWarning)
        self._done_without: set[str] = set()  # commands
        self._role_command: tuple[str, ...] | None = None
        self._right_at = 0.0  # when the server was the right one

    def start(self) -> None:
        """Begin to connect; `link_up` follows once it has worked."""
        self._task = asyncio.get_running_loop().create_task(
            self._run(), name=f"redis-link-{self._name}"
        )

    async def close(self) -> None:
        """End the link for good. Earlier commands still leave, if the socket takes them."""
        self.state = LinkState.CLOSED
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    @property
    def settle_seconds(self) -> float:
        """The time that other pods' links may still need to notice that Redis is back."""
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

    @property
    def unsent_bytes(self) -> int:
        """The bytes that the socket has not taken yet; 0 without a connection."""
        return 0 if self._connection is None else self._connection.unsent_bytes

    def send(self, commands: bytes) -> None:
        """Write packed commands. Only while the link is up; while not `writable` memory grows."""
        assert self._connection is not None
        self._connection.write(commands)

    def hold(self) -> None:
        """Read nothing more from this connection until `release`.

        Redis keeps what it has for it, up to a bound at which it gives up the connection (its
        `client-output-buffer-limit pubsub`).
        """
        if self._connection is not None:
            self._connection.hold()

    def release(self) -> None:
        """Go on reading after `hold`."""
        if self._connection is not None:
            self._connection.release()

    @property
    def expected(self) -> deque[Any]:
        """See `Connection.expected`; another one for each connection. Only while the link is up."""
        assert self._connection is not None
        return self._connection.expected

    def call(
        self,
        command: tuple[str | bytes, ...],
        answered: Callable[[Reply], None],
        lost: Callable[[], None] | None = None,
    ) -> None:
        """Send a command; `answered` gets its reply (see `Call`). Only while the link is up."""
        assert self._connection is not None
        self._connection.call(command, answered, lost)

    def ask(self, question: bytes, on_answer: Callable[[], None]) -> None:
        """Send a PING with `question` in it; only while the link is up.

        Redis answers in order. So `on_answer` is called when everything that Redis had for this
        connection before has been handed on; an error reply to the PING counts too. It is not
        called if the connection is lost first.
        """
        assert self._connection is not None

        def answered(reply: Reply) -> None:
            if isinstance(reply, hiredis.ReplyError) or reply in (question, [b"pong", question]):
                on_answer()
            else:
                self.rebuild(f"it answered a PING with {reply!r:.100}")

        self._connection.call(("PING", question), answered)

    def ask_role(self, on_wrong: Callable[[str, float], None]) -> bool:
        """Ask for the server's role (Redis ROLE); only while the link is up and not subscribed.

        `on_wrong(reason, right_until)` is called if it is the wrong server, with the last moment
        (`time.monotonic()`) at which it was the right one. Returns False, and asks nothing, if the
        server does not tell its role, or not to this user.
        """
        assert self._connection is not None
        if self._role_command is None:
            return False

        def answered(reply: Reply) -> None:
            if reason := why_wrong(reply):
                on_wrong(reason, self._right_at)
            else:
                self._right_at = time.monotonic()

        self._connection.call(self._role_command, answered)
        return True

    def refused(self, subject: str, error: hiredis.ReplyError) -> None:
        """Log an error reply to a command of the handler, once until it changes."""
        text = self._endpoint.without_secrets(str(error))
        if text.startswith("NOAUTH"):
            # A proxy has changed the connection behind its back: it knows us no more.
            self.rebuild(f"it answered {subject}: {text}")
        else:
            self._refusals[subject].log(
                "Redis %s (%s) refuses %s: %.200s", self._endpoint, self._name, subject, text
            )

    def accepted(self, subject: str) -> None:
        """Note that Redis no longer refuses `subject`, so that a new refusal is logged."""
        if subject in self._refusals:
            self._refusals[subject].over(
                "Redis %s (%s) no longer refuses %s", self._endpoint, self._name, subject
            )

    def prove(self) -> None:
        """Note that the connection does what it is for. Only that resets the back-off."""
        if self._proven:
            return
        self._proven = True
        self._attempts = 0
        self._backoff = MIN_BACKOFF
        self._last_attempt_hung = False
        self.last_error = ""
        self._away.over("Redis %s (%s) is in use again", self._endpoint, self._name)

    def rebuild(self, reason: str, good_until: float | None = None) -> None:
        """Give up the connection, if there is one, and build a new one.

        `good_until` (`time.monotonic()`, default now): see `LinkHandler.link_down`.
        """
        if self._connection is not None:
            self._connection.give_up(reason, good_until)

    async def _run(self) -> None:
        while True:
            try:
                await self._connect_and_watch()
            except OSError as error:
                self._failed(self._why(error))
                self._last_attempt_hung = isinstance(error, TimeoutError)
            except hiredis.HiredisError as error:
                self._failed(str(error) or type(error).__name__)
            except _Unfit as reason:
                self._failed(str(reason))
                self.state = reason.state
            except Exception as error:
                # A link that gives up is a deaf pod: whatever went wrong, try again.
                self._failed(f"unexpected error {error!r:.200}", error)
            # An attempt that hung was a pause itself.
            backoff = MIN_BACKOFF if self._last_attempt_hung else self._backoff
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0))
            self._backoff = min(self._backoff * 2, MAX_BACKOFF)

    async def _connect_and_watch(self) -> None:
        """Build a connection; return, or raise, when it is lost."""
        addresses = await self._endpoint.addresses()
        self._attempts += 1
        async with asyncio.timeout(self._connect_timeout):
            connection = await self._connect(addresses)
        try:
            self._has_worked = True
            self._proven = False
            self._connection = connection
            self.state = LinkState.UP
            self.tried.set()
            logger.debug(
                "Redis %s (%s): connected, attempt %d", self._endpoint, self._name, self._attempts
            )
            connection.hand_over(self._handler)
            self._handler.link_up()
            await self._watch(connection)
            self.reconnects += 1
            raise ConnectionResetError(connection.reason)
        finally:
            self._connection = None
            if self.state is LinkState.UP:
                self.state = LinkState.CONNECTING
            connection.close()
            good_until = connection.good_until
            self._handler.link_down(time.monotonic() if good_until is None else good_until)

    async def _connect(self, addresses: list[Address]) -> Connection:
        loop = asyncio.get_running_loop()
        connection = await self._endpoint.open(
            loop, lambda: Connection(loop), addresses, turn=self._attempts - 1
        )
        try:
            await self._introduce(connection)
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _introduce(self, connection: Connection) -> None:
        """Introduce the client, and check the server. Raises _Unfit."""
        commands = [*self._endpoint.introduction(self._name), HELLO]
        connection.write(b"".join(map(pack, commands)))
        replies = await connection.take(len(commands))
        for command, reply in zip(commands, replies, strict=True):
            if isinstance(reply, hiredis.ReplyError):
                text = self._endpoint.without_secrets(str(reply))
                if is_needed(command[0], text):
                    raise _Unfit(LinkState.REFUSED, text)
                if command is not HELLO:
                    self._withheld(" ".join(command[:-1]), text)
        self._role_command, role = HELLO, replies[-1]
        if isinstance(role, hiredis.ReplyError):  # before 6.0, or behind a proxy
            connection.write(pack(ROLE))
            [role] = await connection.take(1)
            self._role_command = None if isinstance(role, hiredis.ReplyError) else ROLE
        if wrong := why_wrong(role):
            raise _Unfit(LinkState.WRONG, wrong)
        self.in_a_cluster = is_in_a_cluster(role)
        self._right_at = time.monotonic()

    async def _watch(self, connection: Connection) -> None:
        """Ping, and give the connection up after silence; return once it is lost."""
        interval = self._timeout / PINGS_PER_TIMEOUT
        while not connection.lost.done():
            heard_at = connection.heard_at
            connection.call(_PING, self._pinged)
            for _ in range(PINGS_PER_TIMEOUT):
                await asyncio.wait([connection.lost], timeout=interval)
                heard = connection.heard_at != heard_at or connection.is_held
                if connection.lost.done() or heard:
                    break
            else:
                connection.give_up(f"silent for {self._timeout:g} s after a ping", heard_at)
                return

    def _pinged(self, reply: Reply) -> None:
        if isinstance(reply, hiredis.ReplyError):  # a sign of life all the same
            if is_withheld(str(reply)):
                self._withheld("PING", str(reply))
            else:
                self.refused("PING", reply)
        elif reply in (b"PONG", [b"pong", b""]):
            self.accepted("PING")
        else:
            self.rebuild(f"it answered a PING with {reply!r:.100}")

    def _withheld(self, subject: str, error: str) -> None:
        """Log once and for all that something dispensable is refused."""
        if subject not in self._done_without:
            self._done_without.add(subject)
            logger.warning(
                "Redis %s (%s) refuses %s: %.200s", self._endpoint, self._name, subject, error
            )

    def _why(self, error: OSError) -> str:
        reason = self._endpoint.without_secrets(str(error)) or type(error).__name__
        if isinstance(error, TimeoutError):
            reason = str(error) or f"no answer within {self._connect_timeout:g} s"
        doubt = "" if self._has_worked else self._endpoint.doubt(error)
        return f"{reason} ({doubt})" if doubt else reason

    def _failed(self, reason: str, error: Exception | None = None) -> None:
        self.state = LinkState.CONNECTING
        self.last_error = reason
        self.tried.set()
        self._last_attempt_hung = False
        told = self._endpoint, self._name, reason
        self._away.log("Redis %s (%s) cannot be used: %s", *told, error=error)


class _Unfit(Exception):
    """The server answered the introduction, and is of no use."""

    def __init__(self, state: LinkState, reason: str) -> None:
        super().__init__(reason)
        self.state = state
