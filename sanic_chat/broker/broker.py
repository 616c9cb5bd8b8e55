"""One pod's Redis: publish and subscribe, and the truth about whether that works.

    publish ─→ publisher ─→ Redis ─→ subscriber ─→ handler.envelope_received
                   └── proof: a canary goes the same way, once a second ──┘
                              └─→ outage ─→ handler.outage_began, outage_ended

May live here: how the parts are put together, and what their states add up to. Must not know
sessions, rooms or what is in an envelope.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple, Protocol

from .endpoint import Endpoint
from .link import LinkState
from .outage import Outage
from .proof import DeliveryProof
from .publisher import Drop, Publisher
from .subscriber import Subscriber


class BrokerHandler(Protocol):
    """The pod, as its broker sees it. All calls are synchronous; none may raise."""

    def envelope_received(self, name: bytes, payload: bytes) -> None:
        """Another pod, or any program, published `payload` on a channel."""

    def channel_refused(self, channel: bytes, error: str) -> None:
        """Redis forbids a channel, which is no longer subscribed to; `error` is its text."""

    def envelope_dropped(self, why: Drop, *receipt: Any) -> None:
        """An envelope with a receipt was not published, or not for certain."""

    def canary(self, number: int) -> bytes:
        """The payload of a canary, which all pods receive; no two are the same."""

    def canary_returned(self, seconds: float) -> None:
        """A canary came back from Redis, so long after it left."""

    def link_lost(self) -> None:
        """A connection is lost: confirmations that were awaited over it do not come."""

    def outage_began(self) -> None:
        """Other pods are not reached for certain from now on."""

    def outage_ended(self, seconds: float, lossy: bool) -> None:
        """Other pods are reached again. `lossy`: messages of theirs may have been missed."""


class Trouble(NamedTuple):
    """The reason why a broker does not work: a code for programs, and a sentence."""

    code: str
    message: str


class BrokerStats(NamedTuple):
    """The state and the counters of a broker at one moment."""

    subscriber: str
    publisher: str
    """The states of both links (`LinkState`)."""
    subscribed: bool
    """Whether Redis has confirmed every channel that was wanted when the link came up."""
    channels: int
    reconnects: int
    waiting_to_publish: int
    published: int
    """Envelopes that Redis has confirmed."""
    dropped: dict[str, int]
    """Envelopes that were dropped, or not confirmed, by reason (`Drop`)."""
    echoes: int
    """Envelopes of this pod that came back from Redis."""
    proof_age: float | None
    round_trip: float | None
    """Seconds from the publisher through Redis to the subscriber; None before the first proof."""
    proofs_failed: int


class Broker:
    """Publishes and subscribes for one pod, from `start` to `close`.

    `publish`, `subscribe`, `unsubscribe_later`, `flush`, `hold`, `release`, `doubt` and
    `stop_proving` are those of its parts: `Publisher`, `Subscriber`, `Link` and `DeliveryProof`.
    Without Redis nothing raises: envelopes wait within the publisher's bounds, and channels are
    subscribed to when Redis is there.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        pod_id: str,
        control_channel: bytes,
        echo_prefix: bytes,
        is_needed: Callable[[bytes], bool],
        timeout: float,
        unsubscribe_delay: float,
        queue_messages: int,
        queue_bytes: int,
        queue_seconds: float,
        proof_interval: float,
    ) -> None:
        self.endpoint = endpoint
        self.proof_interval = proof_interval
        """The seconds between two canaries."""
        self.subscriber = Subscriber(
            endpoint,
            name=f"sanic_chat:{pod_id}:subscriber",
            timeout=timeout,
            unsubscribe_delay=unsubscribe_delay,
            is_needed=is_needed,
            echo_prefix=echo_prefix,
            on_refused=self._channel_refused,
            on_down=partial(self._link_lost, lossy=True),
        )
        self.publisher = Publisher(
            endpoint,
            name=f"sanic_chat:{pod_id}:publisher",
            timeout=timeout,
            queue_messages=queue_messages,
            queue_bytes=queue_bytes,
            queue_seconds=queue_seconds,
            on_dropped=self._envelope_dropped,
            on_down=partial(self._link_lost, lossy=False),
        )
        self.outage = Outage(
            asyncio.get_running_loop(), on_begin=self._outage_began, on_end=self._outage_ended
        )
        self._proof = DeliveryProof(
            self.publisher,
            self.subscriber,
            channel=control_channel,
            canary=lambda number: self._handler.canary(number),
            interval=proof_interval,
            on_returned=self._canary_returned,
            on_proven=self.outage.proven,
            on_overdue=partial(self.outage.begin, lossy=False),
        )
        # The parts' own methods: one that only passes on would cost each message a call.
        self.publish = self.publisher.publish
        self.subscribe = self.subscriber.subscribe
        self.unsubscribe_later = self.subscriber.unsubscribe_later
        self.flush = self.subscriber.flush
        self.hold = self.subscriber.link.hold
        self.release = self.subscriber.link.release
        self.doubt = self._proof.doubt
        self.prove_now = self._proof.send_now
        self.stop_proving = self._proof.stop
        self.proof_interval = proof_interval
        """The seconds between two canaries."""
        self._is_closing = False

    def start(self, handler: BrokerHandler, *, required: Iterable[bytes]) -> None:
        """Begin to connect, and call `handler` from now on. `required` are channels for good."""
        self._handler = handler
        for channel in required:
            self.subscriber.require(channel)
        self.subscriber.start(handler.envelope_received)
        self.publisher.start()
        self._proof.start()

    async def close(self, timeout: float) -> None:
        """Disconnect. Earlier envelopes get `timeout` seconds to be confirmed.

        From the call on the handler is told of no lost link and no outage.
        """
        self._is_closing = True
        self._proof.stop()
        await self.publisher.close(timeout)
        await self.subscriber.close()

    async def is_proven_within(self, seconds: float) -> bool:
        """Wait for the first proof, for so long at most. Returns whether there is one."""
        try:
            await asyncio.wait_for(self._proof.first.wait(), seconds)
        except TimeoutError:
            return False
        return True

    # -- its state -------------------------------------------------------------------------

    @property
    def control_subscriptions(self) -> int:
        """The subscriptions that the last canary was handed to: pods, and foreign listeners."""
        return self._proof.subscriptions

    @property
    def is_connected(self) -> bool:
        """Whether the subscriber has a connection."""
        return self.subscriber.link.is_up

    def are_subscribed(self, channels: Iterable[bytes]) -> bool:
        """Whether Redis has confirmed all of these channels."""
        return self.subscriber.confirmed.issuperset(channels)

    def trouble(self) -> Trouble | None:
        """The first reason why other pods are not reached for certain; None if they are."""
        subscriber, publisher, proof = self.subscriber, self.publisher, self._proof
        reason = {link.state: link.last_error for link in (publisher.link, subscriber.link)}
        if LinkState.WRONG in reason:
            return Trouble(
                "wrong_redis", f"REDIS_URL leads to the wrong server: {reason[LinkState.WRONG]}"
            )
        refusal = reason.get(LinkState.REFUSED) or subscriber.refusal
        if refusal:
            return Trouble("redis_refuses", f"Redis does not let the pod in: {refusal}")
        if not (subscriber.is_up and publisher.link.is_up):
            why = reason.get(LinkState.CONNECTING) or "not yet"
            return Trouble(
                "no_redis",
                f"The pod is not connected to Redis ({why}): it reaches its own clients only",
            )
        if not proof.is_current:
            since = "yet" if proof.age is None else f"for {proof.age:.1f} s"
            refusal = f": Redis says {proof.refusal}" if proof.refusal else ""
            return Trouble(
                "proof_overdue",
                f"What the pod publishes on Redis has not come back to it {since}{refusal}",
            )
        return None

    def stats(self) -> BrokerStats:
        """The state and the counters, as they are now."""
        subscriber, publisher, proof = self.subscriber, self.publisher, self._proof
        return BrokerStats(
            subscriber=subscriber.link.state.value,
            publisher=publisher.link.state.value,
            subscribed=subscriber.is_up,
            channels=len(subscriber.confirmed),
            reconnects=subscriber.link.reconnects + publisher.link.reconnects,
            waiting_to_publish=publisher.queued,
            published=publisher.published,
            dropped={why.value: count for why, count in publisher.dropped.items()},
            echoes=subscriber.echoes,
            proof_age=proof.age,
            round_trip=proof.round_trip,
            proofs_failed=proof.failed,
        )

    # -- what its parts tell ---------------------------------------------------------------

    def is_canary(self, payload: bytes) -> bool:
        """Whether a payload of the control channel is this pod's canary, which is then back."""
        return self._proof.received(payload)

    def _link_lost(self, good_until: float, *, lossy: bool) -> None:
        if self._is_closing:
            return
        self._proof.link_lost()
        self._handler.link_lost()
        self.outage.begin(min(good_until, self._proof.good_until), lossy=lossy)

    def _canary_returned(self, seconds: float) -> None:
        self._handler.canary_returned(seconds)

    def _channel_refused(self, channel: bytes, error: str) -> None:
        self._handler.channel_refused(channel, error)

    def _envelope_dropped(self, why: Drop, *receipt: Any) -> None:
        self._handler.envelope_dropped(why, *receipt)

    def _outage_began(self) -> None:
        self._handler.outage_began()

    def _outage_ended(self, seconds: float, lossy: bool) -> None:
        if not self._is_closing:
            self._handler.outage_ended(seconds, lossy)
