"""Proof that what this pod publishes arrives: what no PING can show.

A canary goes out through the publisher, as messages do, and must come back through the subscriber.
If it does not, the link that has lost it is found without guessing: Redis answers each connection
in order, so a PING that is answered while something sent before it is still missing tells that it
never comes. A link that is slow, and one that is silent, is left alone: the one will bring it, and
the other is noticed by its own watch.
"""

from __future__ import annotations

import asyncio
import time

import hiredis

from ..logs import RateLimitedWarning
from .link import Reply
from .publisher import Publisher
from .subscriber import Subscriber

PATIENCE = 2
"""Intervals after which a canary that has not come back is looked for."""

OVERDUE_INTERVALS = 3
"""Age, in intervals, from which the last proof proves nothing any more."""

RETRY_SECONDS = 0.1
"""How soon to try again when there is no connection to prove."""


class DeliveryProof:
    """Sends a canary every `interval` seconds, and rebuilds the link that does not carry it.

    `channel` is this pod's own. Who reads the subscriber hands what arrives there to `received`.
    """

    def __init__(
        self, publisher: Publisher, subscriber: Subscriber, *, channel: bytes, interval: float
    ) -> None:
        self.channel = channel
        self.round_trip: float | None = None
        """Seconds that the last canary needed, None before the first."""
        self.failed = 0
        """Canaries that did not come back in time over connections that seemed to be good."""
        self._publisher = publisher
        self._subscriber = subscriber
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._canary: _Canary | None = None
        self._sent = 0
        self._proven_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._refusal = RateLimitedWarning()

    def start(self) -> None:
        """Begin; the first canary leaves when both links are up."""
        self._subscriber.subscribe(self.channel)
        self._tick()

    def stop(self) -> None:
        """Send no more canaries."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def age(self) -> float | None:
        """Seconds since the last canary came back, None before the first."""
        return None if self._proven_at is None else time.monotonic() - self._proven_at

    @property
    def is_current(self) -> bool:
        """Whether the last proof is recent enough to rely on."""
        age = self.age
        return age is not None and age <= OVERDUE_INTERVALS * self._interval

    def received(self, payload: bytes) -> None:
        """Something arrived on `channel`; what is not the canary that is out is ignored."""
        canary = self._canary
        if canary is not None and payload == canary.payload:
            canary.is_back = True
            self._proven_at = time.monotonic()
            self.round_trip = self._proven_at - canary.sent_at

    # -- the canary ------------------------------------------------------------------------

    def _tick(self) -> None:
        # Intervals are counted, not measured: after a freeze of this process the canary may lie
        # in the socket, unread as yet.
        canary = self._canary
        if canary is not None and (canary.is_done or self._is_lost(canary)):
            canary = self._canary = None
        if canary is None:
            self._try_again_in(self._interval if self._send() else RETRY_SECONDS)
            return
        canary.intervals += 1
        if canary.intervals == PATIENCE:
            self.failed += 1
        if canary.intervals >= PATIENCE:
            self._look_for(canary)
        self._try_again_in(self._interval)

    def _try_again_in(self, seconds: float) -> None:
        self.stop()
        self._timer = self._loop.call_later(seconds, self._tick)

    def _send(self) -> bool:
        if not (self._publisher.link.writable and self._subscriber.is_up):
            return False
        self._sent += 1
        canary = _Canary(b"proof-%d" % self._sent, self._connections())
        self._canary = canary
        self._publisher.probe(self.channel, canary.payload, canary.answered)
        return True

    def _is_lost(self, canary: _Canary) -> bool:
        """Whether it was refused, or went down with a connection: nobody is to blame for it."""
        if isinstance(canary.answer, hiredis.ReplyError):
            self._refusal.log("Redis refused the proof of delivery: %s", canary.answer)
            return True
        publisher, subscriber = self._connections()
        if canary.answer is None:
            return publisher != canary.connections[0]
        return subscriber != canary.connections[1]

    def _connections(self) -> tuple[int, int]:
        """Which connections there are, by number: of the publisher, and of the subscriber."""
        return self._publisher.link.reconnects, self._subscriber.link.reconnects

    # -- who has lost it -------------------------------------------------------------------

    def _look_for(self, canary: _Canary) -> None:
        if canary.answer is None:
            if self._publisher.link.is_up:
                self._publisher.link.ask(canary.payload, lambda: self._publisher_answered(canary))
        elif self._subscriber.link.is_up:
            self._subscriber.link.ask(canary.payload, lambda: self._subscriber_answered(canary))

    def _publisher_answered(self, canary: _Canary) -> None:
        if canary is self._canary and canary.answer is None:
            self._publisher.link.rebuild("it answers a PING, and does not answer a PUBLISH")
            self._forget()

    def _subscriber_answered(self, canary: _Canary) -> None:
        if canary is self._canary and not canary.is_back:
            self._subscriber.link.rebuild("it answers a PING, and does not deliver")
            self._forget()

    def _forget(self) -> None:
        self._canary = None
        self._try_again_in(RETRY_SECONDS)


class _Canary:
    """What was published to be received."""

    def __init__(self, payload: bytes, connections: tuple[int, int]) -> None:
        self.payload = payload
        self.sent_at = time.monotonic()
        self.connections = connections
        self.intervals = 0
        self.answer: Reply = None
        """What Redis said to the publisher."""
        self.is_back = False

    def answered(self, answer: Reply) -> None:
        self.answer = answer

    @property
    def is_done(self) -> bool:
        """Whether both links have done what they are for."""
        return self.is_back and self.answer is not None
