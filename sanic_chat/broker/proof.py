"""The proof that what this pod publishes arrives, which no PING can give.

    canary ─→ publisher ─→ Redis ─→ subscriber ─→ received ─→ on_proven
                                └─→ (not back in time) ─→ on_overdue; a PING to the link at fault

A canary goes the way of a message. If it does not come back, the link that has lost it is found
without guessing: Redis answers each connection in order, so if a PING is answered while an earlier
command's result is missing, that never comes. A slow link is left alone, since it will bring the
canary, and so is a silent one, which its own pings find.

A canary also comes back from a server that passes nothing on to other pods. So the server's role is
asked for now and then, and the server is left if it has become a replica.

May live here: canaries, their age, and which link is at fault. Must not know what an outage is, nor
messages.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

import hiredis

from .connection import Reply
from .publisher import Publisher
from .subscriber import Subscriber

PATIENCE = 2
"""The intervals after which a canary that has not come back is looked for."""

OVERDUE_INTERVALS = 3
"""The age, in intervals, from which a proof counts no more."""

RETRY_SECONDS = 0.05
"""The pause before the next attempt while there is no connection to prove."""

ROLE_SECONDS = 3.0
"""The interval at which the server's role is asked for; both links saw it when they connected."""

DOUBT_SECONDS = 10.0
"""The least time between two leavings, because of a doubt, of a server that hides its role."""


class DeliveryProof:
    """Sends a canary every `interval` seconds, and rebuilds the link that does not carry it.

    It goes out on `channel`, which all pods hear, and is what `canary` makes of its number. The
    broker gives what arrives there to `received`, and calls `link_lost` when either link has lost
    its connection.

    `on_returned(seconds)` is called with the round trip of every canary that comes back, however
    late, `on_proven()` for every one that comes back in time, and `on_overdue(good_until)`
    for one that does not, with the moment (`time.monotonic()`) of the last proof.
    """

    def __init__(
        self,
        publisher: Publisher,
        subscriber: Subscriber,
        *,
        channel: bytes,
        canary: Callable[[int], bytes],
        interval: float,
        on_returned: Callable[[float], None],
        on_proven: Callable[[], None],
        on_overdue: Callable[[float], None],
    ) -> None:
        self._channel = channel
        self._make = canary
        self.first = asyncio.Event()
        """Set once there has been a proof."""
        self.round_trip: float | None = None
        """The seconds that the last canary needed; None before the first."""
        self.failed = 0
        """The canaries that did not come back in time over connections that seemed good."""
        self.subscriptions = 0
        """The number of subscriptions that the last canary was handed to."""
        self.refusal = ""
        """The error that Redis answered to the last canary; empty if there was none."""
        self._publisher = publisher
        self._subscriber = subscriber
        self._interval = interval
        self._on_returned = on_returned
        self._on_proven = on_proven
        self._on_overdue = on_overdue
        self._loop = asyncio.get_running_loop()
        self._canary: _Canary | None = None
        self._sent = 0
        self._started_at = time.monotonic()
        self._proven_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_running = False
        self._role_timer: asyncio.TimerHandle | None = None
        self._doubted_at = float("-inf")

    def start(self) -> None:
        """Begin. The first canary leaves when both links are up."""
        self._subscriber.require(self._channel)
        self._is_running = True
        self._tick()
        self._ask_role_again()

    def stop(self) -> None:
        """Send no more canaries."""
        self._is_running = False
        for timer in (self._timer, self._role_timer):
            if timer is not None:
                timer.cancel()

    def send_now(self) -> None:
        """Send a canary at once, unless one is under way; the next leaves an interval later."""
        if self._is_running and (self._canary is None or self._canary.is_done) and self._send():
            self._try_again_in(self._interval)

    def link_lost(self) -> None:
        """Forget the canary under way: the lost link took it. The next leaves once both are up."""
        self._canary = None
        self._try_again_in(RETRY_SECONDS)

    @property
    def age(self) -> float | None:
        """The seconds since the last canary came back; None before the first."""
        return None if self._proven_at is None else time.monotonic() - self._proven_at

    @property
    def is_current(self) -> bool:
        """Whether the last proof is recent enough to rely on."""
        age = self.age
        return age is not None and age <= OVERDUE_INTERVALS * self._interval

    @property
    def good_until(self) -> float:
        """The moment until which all was well: now, or that of the last proof."""
        if self.is_current:
            return time.monotonic()
        return self._last_proof

    @property
    def _last_proof(self) -> float:
        return self._started_at if self._proven_at is None else self._proven_at

    def received(self, payload: bytes) -> bool:
        """Take a payload that arrived on `channel`. Returns whether it is the canary under way."""
        canary = self._canary
        if canary is None or payload != canary.payload:
            return False
        canary.is_back = True
        self._proven_at = time.monotonic()
        self.round_trip = self._proven_at - canary.sent_at
        self._on_returned(self.round_trip)
        self._look_at(canary)
        return True

    def doubt(self, reason: str) -> None:
        """Check this server, which an answer elsewhere (READONLY, say) shows to be the wrong one.

        Its role is asked for at once. If it does not tell, both links are built anew, at most once
        in 10 s.
        """
        now = time.monotonic()
        if not self._ask_role() and now - self._doubted_at >= DOUBT_SECONDS:
            self._doubted_at = now
            self._leave(reason, self.good_until)

    def _answered(self, canary: _Canary, answer: Reply) -> None:
        if isinstance(answer, hiredis.ReplyError):
            self.refusal = str(answer)
            self._publisher.link.refused("the proof of delivery", answer)
        elif isinstance(answer, int):
            self.subscriptions = answer
            self.refusal = ""
            self._publisher.link.accepted("the proof of delivery")
        else:
            self._publisher.link.rebuild(f"it answered a PUBLISH with {answer!r:.100}")
            return
        canary.answer = answer
        self._look_at(canary)

    def _look_at(self, canary: _Canary) -> None:
        if canary is self._canary and canary.is_done and canary.intervals < PATIENCE:
            self.first.set()
            self._on_proven()

    # -- the canary ------------------------------------------------------------------------

    def _tick(self) -> None:
        # Intervals are counted, not measured: after a freeze of this process the canary may lie
        # in the socket, unread as yet.
        canary = self._canary
        if canary is None or canary.is_done or self._is_refused(canary):
            self._try_again_in(self._interval if self._send() else RETRY_SECONDS)
            return
        canary.intervals += 1
        if canary.intervals == PATIENCE:
            self.failed += 1
            self._on_overdue(self._last_proof)
        if canary.intervals >= PATIENCE:
            self._look_for(canary)
        self._try_again_in(self._interval)

    def _try_again_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._is_running:
            self._timer = self._loop.call_later(seconds, self._tick)

    def _send(self) -> bool:
        self._canary = None
        if not (self._publisher.link.writable and self._subscriber.is_up):
            return False
        self._sent += 1
        canary = self._canary = _Canary(self._make(self._sent))
        self._publisher.probe(self._channel, canary.payload, partial(self._answered, canary))
        return True

    def _is_refused(self, canary: _Canary) -> bool:
        if not isinstance(canary.answer, hiredis.ReplyError):
            return False
        self._on_overdue(self._last_proof)
        return True

    # -- which server it is ----------------------------------------------------------------

    def _ask_role(self) -> bool:
        """Ask for the publisher's server's role; return whether it will tell, now or once it is up.

        A subscriber's connection tells it only once.
        """
        link = self._publisher.link
        if not link.is_up:
            return True
        return link.ask_role(self._leave)

    def _ask_role_again(self) -> None:
        self._ask_role()
        self._role_timer = self._loop.call_later(ROLE_SECONDS, self._ask_role_again)

    def _leave(self, reason: str, right_until: float) -> None:
        for link in (self._publisher.link, self._subscriber.link):
            link.rebuild(reason, right_until)

    # -- the link at fault -----------------------------------------------------------------

    def _look_for(self, canary: _Canary) -> None:
        if canary.answer is None:
            if self._publisher.link.is_up:
                self._publisher.link.ask(canary.payload, lambda: self._publisher_answered(canary))
        elif self._subscriber.link.is_up:
            self._subscriber.link.ask(canary.payload, lambda: self._subscriber_answered(canary))

    def _publisher_answered(self, canary: _Canary) -> None:
        if canary is self._canary and canary.answer is None:
            self._publisher.link.rebuild(
                "it answers a PING, and does not answer a PUBLISH", self._last_proof
            )

    def _subscriber_answered(self, canary: _Canary) -> None:
        if canary is self._canary and not canary.is_back:
            self._subscriber.link.rebuild(
                "it answers a PING, and does not deliver", self._last_proof
            )


class _Canary:
    """A payload that is published to be received."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.sent_at = time.monotonic()
        self.intervals = 0
        self.answer: Reply = None
        """The answer of Redis to its PUBLISH."""
        self.is_back = False

    @property
    def is_done(self) -> bool:
        """Whether both links have carried it."""
        return self.is_back and self.answer is not None
