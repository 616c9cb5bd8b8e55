"""The subscriber: the channels that this pod listens to on Redis.

    subscribe ─→ wanted ─→ (end of the loop turn: one SUBSCRIBE) ─→ Redis ─→ confirmed, or refused
    unsubscribe_later ─→ (a delay, since rooms flap) ─→ is_needed? ─→ UNSUBSCRIBE
    Redis ─→ on_message, but for this pod's own envelopes

After a reconnect everything wanted is subscribed to again.

May live here: which channels are wanted, confirmed and refused. Must not know what is in a message,
nor who is in a channel.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Literal

import hiredis

from ..errors import SubscribeRefused
from ..logs.logger import logger
from .connection import Call, Reply, pack
from .endpoint import Endpoint
from .link import Link
from .refusals import is_about_the_command, is_forbidden

BATCH = 512
"""The channels in one SUBSCRIBE or UNSUBSCRIBE, which bounds the time that Redis spends on it."""

MAX_LINGERING = 10_000
"""The channels that stay subscribed though nobody needs them; beyond it the oldest go at once."""

RETRY_SECONDS = 1.0
"""The pause before a command is sent again that Redis may have refused for the moment only."""

Command = Literal["SUBSCRIBE", "UNSUBSCRIBE"]


class _Batch:
    """A command that Redis answers with a confirmation for each channel in turn, or one error."""

    __slots__ = ("channels", "command", "confirmed")

    def __init__(self, command: Command, channels: list[bytes]) -> None:
        self.command = command
        self.channels = channels
        self.confirmed = 0


class Subscriber:
    """Delivers what is published on the wanted channels, until it is closed.

    `on_message(channel, payload)` is called for every message that does not begin with
    `echo_prefix`, as this pod's own do. `on_down(good_until)` is called when a connection is lost
    that had subscribed to every wanted channel (see `LinkHandler.link_down`).

    `on_refused(channel, error)` is called when Redis forbids a channel (NOPERM), which is then no
    longer wanted; the others of its command are subscribed to. Channels that Redis refuses for the
    moment (BUSY, say) are asked for again each second, and so are forbidden ones of `require`.

    `is_needed(channel)` is asked right before an UNSUBSCRIBE. That comes one to two times
    `unsubscribe_delay` (seconds) after `unsubscribe_later`, or at once for the oldest of more than
    10 000 channels.
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
        on_refused: Callable[[bytes, str], None],
        on_down: Callable[[float], None],
    ) -> None:
        self.link = Link(endpoint, name=name, handler=self, timeout=timeout)
        self.wanted: set[bytes] = set()
        self.confirmed: set[bytes] = set()
        self.is_up = False
        """Whether Redis has confirmed all that was wanted when this connection came up."""
        self.refusal = ""
        """The error of the last SUBSCRIBE that is to be sent again; empty if there is none."""
        self.echoes = 0
        """Messages that began with `echo_prefix`."""
        self._loop = asyncio.get_running_loop()
        self._unsubscribe_delay = unsubscribe_delay
        self._is_needed = is_needed
        self._echo_prefix = echo_prefix
        self._on_refused = on_refused
        self._on_down = on_down
        self._required: set[bytes] = set()
        self._waiters: dict[bytes, asyncio.Future[None]] = {}
        self._to_subscribe: list[bytes] = []
        self._to_unsubscribe: list[bytes] = []
        self._flush: asyncio.Handle | None = None
        self._expected: deque[_Batch | Call] = deque()
        self._recovering: set[bytes] = set()
        self._again: set[bytes] = set()  # refused, and to be asked for once more
        self._retry: asyncio.TimerHandle | None = None
        # Oldest first; whether a sweep has seen it. (A dict looks for its first ever longer.)
        self._lingering: OrderedDict[bytes, bool] = OrderedDict()
        self._sweep: asyncio.TimerHandle | None = None
        self._question: asyncio.Future[None] | None = None  # the last `flush`'s

    def start(self, on_message: Callable[[bytes, bytes], None]) -> None:
        """Begin to connect, and call `on_message` from now on."""
        self._on_message = on_message
        self.link.start()

    async def close(self) -> None:
        """End the connection. Futures that still wait for a confirmation are cancelled."""
        for timer in (self._sweep, self._flush, self._retry):
            if timer is not None:
                timer.cancel()
        await self.link.close()
        for waiter in self._waiters.values():
            waiter.cancel()
        self._waiters.clear()

    async def flush(self, timeout: float) -> None:
        """Return when everything that Redis has for this pod at the time of the call is delivered.

        Redis answers in order, so the answer to a PING comes behind all that. It is waited for at
        most `timeout` seconds, and not at all while an earlier one is missing, or without a
        connection.
        """
        if not self.link.is_up or not (self._question is None or self._question.done()):
            return
        self._question = question = self._loop.create_future()
        self.link.ask(b"flush", lambda: question.set_result(None))
        await asyncio.wait([question], timeout=timeout)

    # -- what is wanted --------------------------------------------------------------------

    def require(self, channel: bytes) -> None:
        """Subscribe to a channel for good: the subscriber is not up before it is confirmed."""
        self._required.add(channel)
        self.subscribe(channel)

    def subscribe(self, channel: bytes) -> asyncio.Future[None] | None:
        """Subscribe to a channel. Returns None if Redis has confirmed it, else a future.

        The future is done when Redis confirms. It raises SubscribeRefused if Redis forbids the
        channel, and is cancelled if nobody needs the channel any more. It is shared: wait for it
        with `asyncio.wait`, and do not cancel it. All new channels of a loop turn leave in one
        command.
        """
        self._lingering.pop(channel, None)
        if channel in self.confirmed:
            return None
        if channel not in self.wanted:
            self.wanted.add(channel)
            self._send_soon(self._to_subscribe, channel)
        waiter = self._waiters.get(channel)
        if waiter is None:
            waiter = self._waiters[channel] = self._loop.create_future()
        return waiter

    def unsubscribe_later(self, channel: bytes) -> None:
        """Unsubscribe from a channel after the delay, unless it is needed again by then."""
        if channel not in self.wanted or channel in self._required:
            return
        lingering = self._lingering
        lingering.pop(channel, None)
        lingering[channel] = False
        if len(lingering) > MAX_LINGERING:
            self._give_up([lingering.popitem(last=False)[0]])
        if self._sweep is None:
            self._sweep = self._loop.call_later(self._unsubscribe_delay, self._unsubscribe)

    def _unsubscribe(self) -> None:
        # What was left since the last look gets its whole delay first.
        gone = [channel for channel, is_seen in self._lingering.items() if is_seen]
        for channel in gone:
            del self._lingering[channel]
        for channel in self._lingering:
            self._lingering[channel] = True
        self._sweep = None
        if self._lingering:
            self._sweep = self._loop.call_later(self._unsubscribe_delay, self._unsubscribe)
        self._give_up(gone)

    def _give_up(self, channels: list[bytes]) -> None:
        for channel in channels:
            if not self._is_needed(channel):
                self._forget(channel)
                waiter = self._waiters.pop(channel, None)
                if waiter is not None:
                    waiter.cancel()
                self._send_soon(self._to_unsubscribe, channel)

    def _forget(self, channel: bytes) -> None:
        self.wanted.discard(channel)
        self.confirmed.discard(channel)
        self._lingering.pop(channel, None)
        self._settled(channel)

    # -- what is sent ----------------------------------------------------------------------

    def _send_soon(self, outbox: list[bytes], channel: bytes) -> None:
        if self.link.is_up:  # else everything wanted is subscribed to once it is
            outbox.append(channel)
            if self._flush is None:
                self._flush = self._loop.call_soon(self._send)

    def _send(self) -> None:
        """Send the commands of this turn, UNSUBSCRIBE first: a channel may be wanted again."""
        self._flush = None
        to_unsubscribe, self._to_unsubscribe = self._to_unsubscribe, []
        to_subscribe, self._to_subscribe = self._to_subscribe, []
        if self.link.is_up:
            wanted = self.wanted
            self._command("UNSUBSCRIBE", [c for c in to_unsubscribe if c not in wanted])
            self._command("SUBSCRIBE", [c for c in to_subscribe if c in wanted])

    def _command(self, command: Command, channels: list[bytes]) -> None:
        if channels:
            logger.debug("%s of %d channels, like %.100r", command, len(channels), channels[0])
            batches = list(_batches(channels))
            self._expected += [_Batch(command, batch) for batch in batches]
            self.link.send(b"".join(pack((command, *batch)) for batch in batches))

    def _try_again(self, channels: list[bytes]) -> None:
        self._again.update(channels)
        if self._retry is None:
            self._retry = self._loop.call_later(RETRY_SECONDS, self._send_again)

    def _send_again(self) -> None:
        self._retry = None
        for channel in self._again:
            wanted = channel in self.wanted
            self._send_soon(self._to_subscribe if wanted else self._to_unsubscribe, channel)

    # -- what the link tells ---------------------------------------------------------------

    def link_up(self) -> None:
        self._expected = self.link.expected
        self._to_subscribe = []
        self._to_unsubscribe = []
        self._recovering = set(self.wanted)
        # Apart from the rooms, so that one that is forbidden does not hold them up.
        self._command("SUBSCRIBE", list(self._required))
        self._command("SUBSCRIBE", list(self.wanted - self._required))
        if not self._recovering:
            self._recovered()

    @property
    def congested(self) -> bool:
        """Whether Redis does not take what it is asked, so that clients that join are to wait."""
        return self.link.is_up and not self.link.writable

    def link_writable(self) -> None:
        """Do nothing: what is asked does not wait here; see `congested`."""

    def link_unwritable(self) -> None:
        """Do nothing; see `link_writable`."""

    def link_down(self, good_until: float) -> None:
        self.confirmed.clear()
        self._recovering.clear()
        self._again.clear()
        self.refusal = ""
        if self._question is not None and not self._question.done():
            self._question.set_result(None)  # no answer comes any more
        if self.is_up:
            self.is_up = False
            self._on_down(good_until)

    def replies_received(self, replies: list[Reply]) -> None:
        echo_prefix = self._echo_prefix
        on_message = self._on_message
        echoes = 0
        for reply in replies:
            if type(reply) is not list or len(reply) != 3:
                self._answered(reply)
                continue
            kind, channel, content = reply
            is_message = kind == b"message" and type(content) is bytes
            if is_message and content.startswith(echo_prefix):
                echoes += 1
            elif type(channel) is not bytes:
                self._answered(reply)
            elif is_message:
                on_message(channel, content)
            elif kind == b"subscribe":
                self._confirm("SUBSCRIBE", channel)
            elif kind == b"unsubscribe":
                self._confirm("UNSUBSCRIBE", channel)
            else:
                self.link.rebuild(f"it told the subscriber: {reply!r:.100}")
        self.echoes += echoes

    def _answered(self, reply: Reply) -> None:
        """Take a reply that is neither a message nor about one channel."""
        first = self._expected.popleft() if self._expected else None
        if isinstance(first, Call):
            first.answered(reply)
        elif first is not None and isinstance(reply, hiredis.ReplyError):
            self._refused(first, reply)
        else:
            self.link.rebuild(f"it answered the subscriber: {reply!r:.100}")

    def _confirm(self, command: Command, channel: bytes) -> None:
        first = self._expected[0] if self._expected else None
        if (
            isinstance(first, _Batch)
            and first.command == command
            and first.channels[first.confirmed] == channel
        ):
            channel = first.channels[first.confirmed]  # the object that is kept already
            first.confirmed += 1
            if first.confirmed == len(first.channels):
                self._expected.popleft()
        elif command == "SUBSCRIBE" or channel in self.confirmed:
            self.link.rebuild(f"it said {command.lower()} of {channel!r:.100}, out of turn")
            return
        if (command == "SUBSCRIBE") != (channel in self.wanted):
            return  # another command is on its way
        if command == "SUBSCRIBE":
            self.confirmed.add(channel)
            waiter = self._waiters.pop(channel, None)
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
        self._settled(channel)

    def _refused(self, batch: _Batch, reply: hiredis.ReplyError) -> None:
        error = str(reply)
        self.link.refused(batch.command, reply)
        channels = batch.channels[batch.confirmed :]
        if batch.command == "SUBSCRIBE":
            channels = [channel for channel in channels if channel in self.wanted]
            if is_forbidden(error):
                if len(channels) > 1 and not is_about_the_command(error):
                    middle = len(channels) // 2  # Redis does not say which of them it means
                    self._command("SUBSCRIBE", channels[:middle])
                    self._command("SUBSCRIBE", channels[middle:])
                    return
                for channel in channels:
                    if channel not in self._required:
                        self._forbid(channel, error)
                channels = [channel for channel in channels if channel in self._required]
            if channels:
                self.refusal = error
        elif is_forbidden(error):
            return
        self._try_again(channels)

    def _forbid(self, channel: bytes, error: str) -> None:
        waiter = self._waiters.pop(channel, None)
        self._forget(channel)
        self._on_refused(channel, error)
        if waiter is not None and not waiter.done():
            waiter.set_exception(SubscribeRefused(error))
            waiter.exception()  # nobody need be waiting

    def _settled(self, channel: bytes) -> None:
        """Note that a channel is confirmed, refused or no longer wanted."""
        if channel in self._again:
            self._again.discard(channel)
            if not self._again:
                self.refusal = ""
                self.link.accepted("SUBSCRIBE")
        if channel in self._recovering:
            self._recovering.discard(channel)
            if not self._recovering:
                self._recovered()

    def _recovered(self) -> None:
        self.is_up = True
        self.link.prove()


def _batches(channels: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(channels), BATCH):
        yield channels[start : start + BATCH]
