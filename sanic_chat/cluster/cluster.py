"""The cluster as one pod asks it, for backends.

    asking ─┬→ directory: who is where
            ├→ removals: who is to go
            └→ revocations: whose tokens count no more
    lifecycle: who comes and goes, told to whoever listens

May live here: how these parts are put together. Must not know who asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import cast

from ..broker.broker import Broker
from ..hub.hub import Hub
from ..protocol.channels import RedisNames
from ..session.session import Session
from .asking import Asking
from .control import BEAT_SECONDS, Control
from .directory import Directory
from .lifecycle import Lifecycle
from .removals import Removals
from .revocations import Revocations


class Cluster:
    """The questions of a pod to all pods, and its answers to theirs.

    `sessions_of(user)` and `rooms_of(session)` tell what there is on this pod.
    """

    def __init__(
        self,
        pod_id: str,
        *,
        broker: Broker,
        control: Control,
        hub: Hub,
        rooms_of: Callable[[Session], list[str]],
        sessions_of: Callable[[str], Sequence[Session]],
        names: RedisNames,
        dropped: Counter[str],
        handshake_seconds: float,
        has_lifecycle: bool,
    ) -> None:
        def is_proven() -> bool:
            return not (broker.outage.is_on or self.revocations.catching_up.is_under_way)

        self._control = control
        self._canaries_are_rare = broker.proof_interval > BEAT_SECONDS
        self.listeners: dict[bytes, Callable[[], None]] = {}
        """Channels that are to be subscribed to, and what is called for what is published there."""
        self.asking = Asking(pod_id, control, is_proven=is_proven, dropped=dropped)
        self.directory = Directory(
            pod_id,
            self.asking,
            hub=hub,
            rooms_of=rooms_of,
            sessions_of=sessions_of,
            names=names,
        )

        def pods() -> int:
            return broker.control_subscriptions

        self.revocations = Revocations(self.asking, pods=pods)
        self.removals = Removals(
            pod_id,
            self.asking,
            hub=hub,
            sessions_of=sessions_of,
            revocations=self.revocations,
            handshake_seconds=handshake_seconds,
            pods=pods,
        )
        self.lifecycle: Lifecycle | None = None
        """None: backends are told nothing."""
        if has_lifecycle:
            self.lifecycle = Lifecycle(
                pod_id,
                control,
                names=names,
                publish=broker.publish,
                sessions=lambda: cast("Iterable[Session]", hub.everyone.members),
                is_proven=is_proven,
                is_congested=lambda: broker.publisher.congested,
            )
            self.listeners[names.tell_channel] = self.lifecycle.tell_all

    def start(self) -> None:
        """Begin to look after other pods, and to have them know of this one."""
        if self._canaries_are_rare:
            self._control.beat()
        if self.lifecycle is not None:
            self.lifecycle.start()

    def reached(self) -> None:
        """Catch up: other pods are reached for the first time, or again."""
        self.removals.catching_up.begin()  # first: they have a reason
        self.revocations.catching_up.begin()
        if self.lifecycle is not None:
            self.lifecycle.tell_all()

    def untold(self) -> None:
        """Tell backends anew: something that they were told has perhaps not arrived."""
        if self.lifecycle is not None:
            self.lifecycle.untold()

    def close(self) -> None:
        """Ask nothing of our own accord any more, and tell backends nothing."""
        self.revocations.catching_up.close()
        self.removals.catching_up.close()
        if self.lifecycle is not None:
            self.lifecycle.close()
