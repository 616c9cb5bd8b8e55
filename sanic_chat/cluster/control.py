"""The control channels: pods speak there to each other, and clients hear nothing of it.

    send ─→ Redis ─→ (another pod) received ─→ the handler of that kind
    canary, beat ─→ Redis ─→ (all other pods) living
    close ─→ Redis ─→ (all other pods) forget, on_goodbye

One channel is heard by all pods, and each pod has one of its own.

May live here: who said what kind of thing, and who has been heard lately. Must not know what it
means.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from ..errors import BadEnvelope
from ..logs.logger import RateLimitedWarning
from ..protocol.channels import RedisNames
from ..protocol.control import canary_envelope, control_fields, parse_control
from ..protocol.envelope import envelope_head

LIVING_SECONDS = 3.0
"""The time for which a pod that was heard counts as living: three canaries."""

BEAT_SECONDS = 1.0
"""The interval at which a pod that sends no canaries any more says that it lives."""

MAX_PODS = 10_000
"""The pods that are remembered; more are heard, and not counted."""

FULL_SECONDS = 1.0
"""The least time between two looks for those of them that are gone."""

ALIVE, GOODBYE = "alive", "goodbye"
"""The kinds of what a draining pod says, and a pod at its end."""

Handler = Callable[[str, bytes], None]
"""Called with the ID of the pod that says something, and its JSON. Raises BadEnvelope."""

Publish = Callable[[bytes, bytes, None, bytes], None]
"""`Publisher.publish`, without a receipt."""


class Control:
    """Speaks for one pod to the others, in the order of the calls of `send` and `send_to`.

    After `close` it says nothing more.

    What comes from others and cannot be read is dropped, and counted as `bad_envelope`. A kind
    without a handler is one of a later version, and dropped without a count.
    """

    def __init__(
        self, pod_id: str, *, names: RedisNames, publish: Publish, dropped: Counter[str]
    ) -> None:
        self._pod_id = pod_id
        self._names = names
        self._publish = publish
        self._dropped = dropped
        self._head = envelope_head(pod_id)
        self._own_channel = names.pod_channel(pod_id)
        self._handlers: dict[str, Handler] = {GOODBYE: self._said_goodbye}
        self.heard: dict[str, float] = {}
        """The moments (`time.monotonic()`) in which other pods were heard last."""
        self._full_until = 0.0
        self._bad_envelope = RateLimitedWarning()
        self.canary_words: Callable[[], bytes] = lambda: b"{}"
        """Makes the JSON object that a canary carries to all pods, of the kind `canary`."""
        self.on_goodbye: list[Callable[[str], None]] = []
        """Each is called with the ID of a pod that has said goodbye, and is not living any more."""
        self._timer: asyncio.TimerHandle | None = None
        self.is_closed = False
        """Whether it says nothing any more."""

    @property
    def channels(self) -> tuple[bytes, bytes]:
        """The channels on which this pod hears the others, for good."""
        return self._names.control_channel, self._own_channel

    # -- speaking --------------------------------------------------------------------------

    def send(self, kind: str, content: bytes) -> None:
        """Say something, JSON, to all other pods, at the end of this loop turn."""
        self._say(self._names.control_channel, kind, content)

    def send_to(self, pod_id: str, kind: str, content: bytes) -> None:
        """Say something to one pod, which may be gone; never to this one."""
        self._say(self._names.pod_channel(pod_id), kind, content)

    def beat(self) -> None:
        """Say once a second, from now on, that this pod lives; canaries need not."""
        if self._timer is not None:
            self._timer.cancel()
        self.send(ALIVE, b"{}")
        self._timer = asyncio.get_running_loop().call_later(BEAT_SECONDS, self.beat)

    def close(self) -> None:
        """Say goodbye: this pod has no sessions any more, and nothing is asked of it."""
        if self._timer is not None:
            self._timer.cancel()
        self.send(GOODBYE, b"{}")
        self.is_closed = True

    def _say(self, channel: bytes, kind: str, content: bytes) -> None:
        if not self.is_closed:
            self._publish(channel, control_fields(kind, content), None, self._head)

    def canary(self, number: int) -> bytes:
        """The payload of a canary: all other pods hear that this one lives, and its words."""
        return canary_envelope(self._pod_id, number, self.canary_words())

    # -- listening -------------------------------------------------------------------------

    def handle(self, kind: str, handler: Handler) -> None:
        """Have a handler for a kind. Each has one."""
        assert kind not in self._handlers
        self._handlers[kind] = handler

    def living(self) -> set[str]:
        """The IDs of the other pods that were heard within three seconds."""
        since = time.monotonic() - LIVING_SECONDS
        return {pod_id for pod_id, at in self.heard.items() if at >= since}

    def forget(self, pod_id: str) -> None:
        """Forget a pod: it has said goodbye, or was not heard for too long."""
        self.heard.pop(pod_id, None)

    def _said_goodbye(self, pod_id: str, content: bytes) -> None:
        self.forget(pod_id)
        for tell in self.on_goodbye:
            tell(pod_id)

    def received(self, payload: bytes) -> None:
        """Take what was published on one of `channels`, but for the own canary. Never raises."""
        try:
            pod_id, said = parse_control(payload)
            if pod_id == self._pod_id:
                return
            self._note(pod_id)
            for kind, content in said.items():
                handler = self._handlers.get(kind)
                if handler is not None:
                    handler(pod_id, content)
        except BadEnvelope as error:
            self._dropped["bad_envelope"] += 1
            self._bad_envelope.log("Dropped what a pod said to this one: %.200s", error)

    def _note(self, pod_id: str) -> None:
        now = time.monotonic()
        if pod_id not in self.heard and len(self.heard) >= MAX_PODS:
            if now < self._full_until:
                return
            self._full_until = now + FULL_SECONDS
            since = now - LIVING_SECONDS
            self.heard = {known: at for known, at in self.heard.items() if at >= since}
            if len(self.heard) >= MAX_PODS:
                return
        self.heard[pod_id] = now
