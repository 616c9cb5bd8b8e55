"""A publisher and a subscriber, as a pod has them, without the pod."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sanic_chat.broker.endpoint import Endpoint
from sanic_chat.broker.proof import DeliveryProof
from sanic_chat.broker.publisher import Drop, Publisher
from sanic_chat.broker.subscriber import Subscriber

from .harness import eventually

INTERVAL = 0.25
CHANNEL = b"realtime:pod:proof"
ROOM = b"realtime:room:proof"


class Pair:
    """A publisher and a subscriber on one Redis, and the proof that they reach each other."""

    def __init__(
        self,
        where: int | Endpoint,
        *,
        timeout: float = 30,
        interval: float = INTERVAL,
        unsubscribe_delay: float = 60,
    ) -> None:
        endpoint = where if isinstance(where, Endpoint) else Endpoint(f"redis://127.0.0.1:{where}")
        self.received: list[bytes] = []
        self.refused: list[bytes] = []
        self.dropped: list[Drop] = []
        """Of the envelopes that had a receipt, which is empty."""
        self.needed = {ROOM}
        """Channels that are not given up."""
        self.overdue: list[float] = []
        """When what was overdue was last proven."""
        self.round_trips: list[float] = []
        self.subscriber = Subscriber(
            endpoint,
            name="proof-subscriber",
            timeout=timeout,
            unsubscribe_delay=unsubscribe_delay,
            is_needed=self.needed.__contains__,
            echo_prefix=b"own",
            on_refused=lambda channel, error: self.refused.append(channel),
            on_down=self._link_lost,
        )
        self.publisher = Publisher(
            endpoint,
            name="proof-publisher",
            timeout=timeout,
            queue_messages=100,
            queue_bytes=2**20,
            queue_seconds=30,
            on_dropped=lambda why: self.dropped.append(why),
            on_down=self._link_lost,
        )
        self.proof = DeliveryProof(
            self.publisher,
            self.subscriber,
            channel=CHANNEL,
            canary=lambda number: b"canary-%d" % number,
            interval=interval,
            on_returned=self.round_trips.append,
            on_proven=lambda: None,
            on_overdue=self.overdue.append,
        )

    def _link_lost(self, good_until: float) -> None:
        self.proof.link_lost()

    def on_message(self, channel: bytes, payload: bytes) -> None:
        """Note what came, and give canaries to the proof."""
        if channel == CHANNEL:
            self.proof.received(payload)
        else:
            self.received.append(payload)

    @property
    def reconnects(self) -> tuple[int, int]:
        return self.publisher.link.reconnects, self.subscriber.link.reconnects

    async def proven(self) -> None:
        """Wait for a proof of what was sent from now on."""
        sent = self.proof._sent

        def is_new() -> bool:
            canary = self.proof._canary
            return self.proof._sent > sent and canary is not None and canary.is_back

        await eventually(is_new, "a new proof")


@asynccontextmanager
async def running(where: int | Endpoint, **options: float) -> AsyncIterator[Pair]:
    """A pair that is connected, and has a proof."""
    pair = Pair(where, **options)
    pair.subscriber.subscribe(ROOM)
    pair.subscriber.start(pair.on_message)
    pair.publisher.start()
    pair.proof.start()
    try:
        await pair.proven()
        yield pair
    finally:
        pair.proof.stop()
        await pair.publisher.close(1)
        await pair.subscriber.close()
