"""The cluster as one pod asks it, for backends.

    asking ─┬→ directory: who is where
            ├→ removals: who is to go
            └→ revocations: whose tokens count no more

May live here: how these parts are put together. Must not know who asks.
"""

from __future__ import annotations

from collections import Counter

from ..broker.broker import Broker
from ..hub.hub import Hub
from ..protocol.channels import RedisNames
from .asking import Asking
from .control import Control
from .directory import Directory
from .removals import Removals
from .revocations import Revocations
from .rooms import Rooms
from .users import Users


class Cluster:
    """The questions of a pod to all pods, and its answers to theirs."""

    def __init__(
        self,
        pod_id: str,
        *,
        broker: Broker,
        control: Control,
        hub: Hub,
        rooms: Rooms,
        users: Users,
        names: RedisNames,
        dropped: Counter[str],
        handshake_seconds: float,
    ) -> None:
        self.asking = Asking(
            pod_id, control, is_proven=lambda: not broker.outage.is_on, dropped=dropped
        )
        self.directory = Directory(
            pod_id, self.asking, hub=hub, rooms=rooms, users=users, names=names
        )
        self.revocations = Revocations(self.asking, pods=lambda: broker.control_subscriptions)
        self.removals = Removals(
            pod_id,
            self.asking,
            hub=hub,
            users=users,
            revocations=self.revocations,
            handshake_seconds=handshake_seconds,
        )

    def close(self) -> None:
        """Ask nothing of our own accord any more."""
        self.revocations.close()
