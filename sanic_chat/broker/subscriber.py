"""The channels this pod listens to on Redis.

Keeps the set of wanted channels true on Redis: batches SUBSCRIBEs, tells who waits when Redis has
confirmed, subscribes to everything again after a reconnect, and unsubscribes late, after a second
look, since rooms flap. Does not know what is in a message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator

from .connection import Reply, pack
from .endpoint import Endpoint
from .link import Link

BATCH = 1000
"""Channels in one SUBSCRIBE or UNSUBSCRIBE: bounds the time Redis spends on one command."""

_PONG = [b"pong", b""]


class Subscriber:
    """Delivers what is published on the wanted channels, for as long as it is not closed.

    `on_message(channel, payload)` is called for every message that does not begin with
    `echo_prefix`, as this pod's own do, and `on_down(good_until)` when a connection is lost that
    had subscribed to every wanted channel (see `LinkOwner.link_down`).
    `is_needed(channel)` is the second look before an UNSUBSCRIBE, which comes between one and two
    `unsubscribe_delay` seconds after `unsubscribe_later`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        name: str,
        timeout: float,
        unsubscribe_delay: float,
        is_needed: Callable[[bytes], bool],
        echo_prefix: bytes,
        on_message: Callable[[bytes, bytes], None],
        on_down: Callable[[float], None],
    ) -> None:
        self.link = Link(endpoint, name=name, owner=self, timeout=timeout)
        self.wanted: set[bytes] = set()
        self.confirmed: set[bytes] = set()
        self.is_up = False
        """Whether this connection has confirmed what was wanted when it came up."""
        self.echoes = 0
        """Messages that began with `echo_prefix`."""
        self._loop = asyncio.get_running_loop()
        self._unsubscribe_delay = unsubscribe_delay
        self._is_needed = is_needed
        self._echo_prefix = echo_prefix
        self._on_message = on_message
        self._on_down = on_down
        self._waiters: dict[bytes, asyncio.Future[None]] = {}
        self._to_subscribe: list[bytes] = []
        self._recovering: set[bytes] = set()
        self._leaving: set[bytes] = set()
        self._left_before: set[bytes] = set()
        self._sweep: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to connect."""
        self.link.start()

    async def close(self) -> None:
        """End the connection; who still waits for a confirmation is cancelled."""
        if self._sweep is not None:
            self._sweep.cancel()
        await self.link.close()
        for waiter in self._waiters.values():
            waiter.cancel()
        self._waiters.clear()

    # -- what is wanted --------------------------------------------------------------------

    def subscribe(self, channel: bytes) -> asyncio.Future[None] | None:
        """Want a channel. None if Redis has confirmed it, else a future that waits for that.

        The future is shared: wait for it with `asyncio.wait`, do not cancel it. All new channels
        of a loop turn leave in one command.
        """
        self._leaving.discard(channel)
        self._left_before.discard(channel)
        if channel in self.confirmed:
            return None
        if channel not in self.wanted:
            self.wanted.add(channel)
            if self.link.is_up:
                if not self._to_subscribe:
                    self._loop.call_soon(self._send_subscribe)
                self._to_subscribe.append(channel)
        waiter = self._waiters.get(channel)
        if waiter is None:
            waiter = self._waiters[channel] = self._loop.create_future()
        return waiter

    def unsubscribe_later(self, channel: bytes) -> None:
        """Stop wanting a channel in a while, unless somebody needs it again by then."""
        if channel not in self.wanted:
            return
        self._leaving.add(channel)
        if self._sweep is None:
            self._sweep = self._loop.call_later(self._unsubscribe_delay, self._unsubscribe)

    def _unsubscribe(self) -> None:
        self._sweep = None
        gone = [c for c in self._left_before if not self._is_needed(c)]
        # What was left during the last period gets its whole delay first.
        self._left_before = self._leaving
        self._leaving = set()
        if self._left_before:
            self._sweep = self._loop.call_later(self._unsubscribe_delay, self._unsubscribe)
        if not gone:
            return
        self.wanted.difference_update(gone)
        self.confirmed.difference_update(gone)
        self._recovering.difference_update(gone)
        for channel in gone:
            waiter = self._waiters.pop(channel, None)
            if waiter is not None:
                waiter.cancel()
        self._command("UNSUBSCRIBE", gone)

    def _send_subscribe(self) -> None:
        channels, self._to_subscribe = self._to_subscribe, []
        self._command("SUBSCRIBE", [c for c in channels if c in self.wanted])

    def _command(self, command: str, channels: list[bytes]) -> None:
        if channels and self.link.is_up:
            self.link.send(b"".join(pack((command, *batch)) for batch in _batches(channels)))

    # -- what the link tells ---------------------------------------------------------------

    def link_up(self) -> None:
        self._to_subscribe = []
        self._recovering = set(self.wanted)
        if self._recovering:
            self.link.send(b"".join(pack(("SUBSCRIBE", *batch)) for batch in _batches(self.wanted)))
        else:
            self._recovered()

    def link_writable(self) -> None:
        """Subscribing is rare and small: it does not wait for the socket."""

    def link_unwritable(self) -> None:
        """As `link_writable`."""

    def link_down(self, good_until: float) -> None:
        self.confirmed.clear()
        self._recovering.clear()
        if self.is_up:
            self.is_up = False
            self._on_down(good_until)

    def replies_received(self, replies: list[Reply]) -> None:
        echo_prefix = self._echo_prefix
        on_message = self._on_message
        for reply in replies:
            if type(reply) is not list or len(reply) != 3 or type(reply[1]) is not bytes:
                if reply != _PONG:
                    self.link.rebuild(f"it answered the subscriber: {reply!r:.100}")
                continue
            kind, channel, content = reply
            if kind == b"message" and type(content) is bytes:
                if content.startswith(echo_prefix):
                    self.echoes += 1
                else:
                    on_message(channel, content)
            elif kind == b"subscribe":
                self._confirm(channel)
            elif kind != b"unsubscribe":
                self.link.rebuild(f"it told the subscriber: {reply!r:.100}")
            elif channel in self.confirmed:
                self.link.rebuild("it gave up a subscription that is wanted")

    def _confirm(self, channel: bytes) -> None:
        if channel not in self.wanted:
            return
        self.confirmed.add(channel)
        waiter = self._waiters.pop(channel, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        if self._recovering:
            self._recovering.discard(channel)
            if not self._recovering:
                self._recovered()

    def _recovered(self) -> None:
        self.is_up = True
        self.link.prove()


def _batches(channels: Iterable[bytes]) -> Iterator[list[bytes]]:
    listed = list(channels)
    for start in range(0, len(listed), BATCH):
        yield listed[start : start + BATCH]
