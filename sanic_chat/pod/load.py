"""The load: how far a pod is behind, and which clients are to wait for it.

    bytes that wait in the hub, a congested Redis ─→ must_hold, is_relieved ─→ backpressure

May live here: the bounds, and what is measured against them. Must not know how a client is held.
"""

from __future__ import annotations

from ..broker.broker import Broker
from ..hub.channel import Channel
from ..hub.hub import Hub

CHANNEL_BACKLOG_BYTES = 512 * 1024
"""The bytes that may wait for a channel before clients that speak there are held. It also bounds
what a single session may have to catch up with."""


class Load:
    """Measures what waits in one pod: in its hub, for each channel, and for Redis.

    `max_bytes` may wait in the hub before clients that speak in a channel that is behind are held.
    """

    def __init__(self, hub: Hub, broker: Broker, *, max_bytes: int) -> None:
        self._hub = hub
        self._publisher = broker.publisher
        self._subscriber = broker.subscriber
        self.max_bytes = max_bytes

    def must_hold(self, channel: Channel | None) -> bool:
        """Whether the client that has just spoken in a channel, or in none, is to be held.

        It is, if the channel has a backlog, if the channel is behind while more than `max_bytes`
        wait, or if Redis is behind: with what is published, and for who spoke in none (and may have
        joined rooms) with what is subscribed to. Every client is while more than twice as much
        waits, as after a turn in which very many spoke.
        """
        held = self._hub.held_bytes
        if channel is None:
            fills = self._subscriber.congested
        else:
            fills = channel.pending_bytes > CHANNEL_BACKLOG_BYTES or (
                held > self.max_bytes and self._hub.is_behind(channel)
            )
        return fills or self._publisher.congested or held > 2 * self.max_bytes

    def is_relieved(self, channel: Channel | None) -> bool:
        """Whether the pod has caught up, so that clients held for a channel are released."""
        return (
            self._hub.held_bytes <= self.max_bytes // 2
            and not self._publisher.congested
            and (
                not self._subscriber.congested
                if channel is None
                else channel.pending_bytes <= CHANNEL_BACKLOG_BYTES // 2
            )
        )
