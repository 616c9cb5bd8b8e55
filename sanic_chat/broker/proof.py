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
from collections.abc import Callable
from functools import partial

import hiredis

from ..logs import RateLimitedWarning
from .connection import Reply
from .publisher import Publisher
from .subscriber import Subscriber

PATIENCE = 2
"""Intervals after which a canary that has not come back is looked for."""

OVERDUE_INTERVALS = 3
"""Age, in intervals, from which the last proof proves nothing any more."""

RETRY_SECONDS = 0.05
"""How soon to try again when there is no connection to prove."""


class DeliveryProof:
    """Sends a canary every `interval` seconds, and rebuilds the link that does not carry it.

    `channel` is this pod's own. Who reads the subscriber hands what arrives there to `received`,
    and who hears that one of the two has lost its connection calls `link_lost`.
    `on_proven()` is called for every canary that comes back in time, and `on_overdue(good_until)`
    for one that does not, with the moment (`time.monotonic()`) of the last proof.
    """

    def __init__(
        self,
        publisher: Publisher,
        subscriber: Subscriber,
        *,
        channel: bytes,
        interval: float,
        on_proven: Callable[[], None],
        on_overdue: Callable[[float], None],
    ) -> None:
        self.channel = channel
        self.first = asyncio.Event()
        """Set once there has been a proof."""
        self.round_trip: float | None = None
        """Seconds that the last canary needed, None before the first."""
        self.failed = 0
        """Canaries that did not come back in time over connections that seemed to be good."""
        self._publisher = publisher
        self._subscriber = subscriber
        self._interval = interval
        self._on_proven = on_proven
        self._on_overdue = on_overdue
        self._loop = asyncio.get_running_loop()
        self._canary: _Canary | None = None
        self._sent = 0
        self._started_at = time.monotonic()
        self._proven_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_running = False
        self._refusal = RateLimitedWarning()

    def start(self) -> None:
        """Begin; the first canary leaves when both links are up."""
        self._subscriber.subscribe(self.channel)
        self._is_running = True
        self._tick()

    def stop(self) -> None:
        """Send no more canaries."""
        self._is_running = False
        if self._timer is not None:
            self._timer.cancel()

    def link_lost(self) -> None:
        """Nobody is to blame for the canary that is out; the next leaves once both links are up."""
        self._canary = None
        self._try_again_in(RETRY_SECONDS)

    @property
    def age(self) -> float | None:
        """Seconds since the last canary came back, None before the first."""
        return None if self._proven_at is None else time.monotonic() - self._proven_at

    @property
    def is_current(self) -> bool:
        """Whether the last proof is recent enough to rely on."""
        age = self.age
        return age is not None and age <= OVERDUE_INTERVALS * self._interval

    @property
    def good_until(self) -> float:
        """The moment up to which there is no reason for doubt: now, or that of the last proof."""
        if self.is_current:
            return time.monotonic()
        return self._last_proof

    @property
    def _last_proof(self) -> float:
        return self._started_at if self._proven_at is None else self._proven_at

    def received(self, payload: bytes) -> None:
        """Something arrived on `channel`; what is not the canary that is out is ignored."""
        canary = self._canary
        if canary is not None and payload == canary.payload:
            canary.is_back = True
            self._proven_at = time.monotonic()
            self.round_trip = self._proven_at - canary.sent_at
            self._look_at(canary)

    def _answered(self, canary: _Canary, answer: Reply) -> None:
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
        canary = self._canary = _Canary(b"proof-%d" % self._sent)
        self._publisher.probe(self.channel, canary.payload, partial(self._answered, canary))
        return True

    def _is_refused(self, canary: _Canary) -> bool:
        if not isinstance(canary.answer, hiredis.ReplyError):
            return False
        self._refusal.log("Redis refused the proof of delivery: %s", canary.answer)
        self._on_overdue(self._last_proof)
        return True

    # -- who has lost it -------------------------------------------------------------------

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
    """What was published to be received."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.sent_at = time.monotonic()
        self.intervals = 0
        self.answer: Reply = None
        """What Redis said to the publisher."""
        self.is_back = False

    @property
    def is_done(self) -> bool:
        """Whether both links have done what they are for."""
        return self.is_back and self.answer is not None
