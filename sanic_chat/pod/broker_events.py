"""The pod's handler of broker events: envelopes of other pods, and Redis' coming and going.

    broker ─→ envelope_received ─→ hub.deliver (members here), or control
          ├─→ channel_refused ───→ rooms, answers
          ├─→ envelope_dropped ──→ receipts, notifier
          └─→ outage_began … ────→ notifier

May live here: what an envelope becomes, and who is told of an outage. Must not know how an outage
is found out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

from ..broker.broker import Broker
from ..broker.publisher import Drop
from ..cluster.control import Control
from ..errors import BadEnvelope
from ..hub.channel import Channel
from ..hub.hub import Hub
from ..logs.logger import RateLimitedWarning
from ..presence.presence import Presence
from ..protocol import events
from ..protocol.envelope import parse_envelope
from ..protocol.message import MESSAGE_HEAD, MESSAGE_OVERHEAD_BYTES, encode_fields, json_text
from ..protocol.stamp import Stamper
from ..session.inbound import State
from ..session.session import Session
from ..stats.histogram import SECONDS, Histogram
from ..websocket.frames import text_frame
from .answers import Answers
from .backpressure import Backpressure
from .load import CHANNEL_BACKLOG_BYTES, Load
from .notifier import Notifier
from .overload import PatientLink
from .receipts import Receipts
from .rooms import Rooms

_UNAVAILABLE = {
    Drop.FULL: "Redis is away, and too much waits for it: only this pod's clients got the message",
    Drop.EXPIRED: "Redis was away for too long: only this pod's clients got the message",
    Drop.UNCONFIRMED: "The connection to Redis was lost on the way: it is not known whether other "
    "pods' clients got the message",
    Drop.REFUSED: "Redis refused the message: only this pod's clients got it",
}


class BrokerEvents:
    """The `BrokerHandler` of a pod.

    `on_reached()` is called when other pods are reached for the first time, or again, and
    `on_untold()` when what a backend was told has perhaps not arrived. `listeners` are further
    channels for good, and what is called when anything is published there.
    """

    def __init__(
        self,
        pod_id: str,
        *,
        hub: Hub,
        broker: Broker,
        control: Control,
        presence: Presence,
        rooms: Rooms,
        answers: Answers,
        receipts: Receipts,
        notifier: Notifier,
        stamper: Stamper,
        load: Load,
        backpressure: Backpressure[Channel | None],
        on_reached: Callable[[], None],
        on_untold: Callable[[], None],
        listeners: Mapping[bytes, Callable[[], None]],
        dropped: Counter[str],
        max_message_bytes: int,
        max_queued_messages: int,
    ) -> None:
        self.reordered_echoes = 0
        """The pod's own envelopes that others have published, with the pod ID elsewhere in them."""
        self.round_trips = Histogram(SECONDS)
        """The way of each canary to Redis and back."""
        self.overload = PatientLink(
            asyncio.get_running_loop(),
            broker,
            on_impatient=backpressure.release,
            tell=notifier.pod_is_behind,
        )
        self._pod_id = pod_id
        self._hub = hub
        self._broker = broker
        self._control = control
        self._presence = presence
        self._control_channels = control.channels
        self._rooms = rooms
        self._answers = answers
        self._receipts = receipts
        self._notifier = notifier
        self._stamper = stamper
        self._load = load
        self._backpressure = backpressure
        self._on_reached = on_reached
        self._on_untold = on_untold
        self._listeners = listeners
        self._dropped = dropped
        self._max_envelope_bytes = max_message_bytes + MESSAGE_OVERHEAD_BYTES
        self._max_queued_messages = max_queued_messages
        self._bad_envelope = RateLimitedWarning()

    def envelope_received(self, name: bytes, payload: bytes) -> None:
        channel = self._hub.channels.get(name)
        if channel is None:
            # Or the last member has left, and the subscription has not been given up yet.
            if name in self._control_channels and not self._broker.is_canary(payload):
                self._control.received(payload)
            elif name in self._listeners:
                self._listeners[name]()
            return
        if channel.pending_bytes > CHANNEL_BACKLOG_BYTES and not self.overload.is_patient:
            self.overload.drop(channel)
            return
        try:
            if len(payload) > self._max_envelope_bytes:
                raise BadEnvelope(f"it has {len(payload)} bytes")
            envelope = parse_envelope(payload)
        except BadEnvelope as reason:
            self._dropped["bad_envelope"] += 1
            self._bad_envelope.log(
                "Dropped what was published on %r: %.200s", name.decode(errors="replace"), reason
            )
            return
        if envelope.pod_id == self._pod_id:
            self.reordered_echoes += 1
            return
        id, timestamp = envelope.id.encode(), envelope.timestamp.encode()
        if not (id and timestamp):
            new_id, now = self._stamper.stamp()
            id, timestamp = id or new_id, timestamp or now
        fields = encode_fields(
            id=id,
            type=envelope.type.encode(),
            room=channel.json_room,
            sender=json_text(envelope.sender),
            data=envelope.data,
            timestamp=timestamp,
        )
        self._hub.deliver(channel, text_frame(fields, MESSAGE_HEAD))
        # As in `Pod.message_received`, but for the publisher, which an envelope does not need.
        if (
            channel.pending_bytes > CHANNEL_BACKLOG_BYTES
            or self._hub.held_bytes > self._load.max_bytes
        ) and self._load.must_hold(channel):
            self._backpressure.hold(self.overload, channel)

    def envelope_dropped(
        self, why: Drop, session: Session | None, id: bytes, has_asked: bool = False
    ) -> None:
        if session is None:
            self._on_untold()
            return
        if has_asked:
            self._receipts.not_published(session, id, _UNAVAILABLE[why])
            return
        # Many may be dropped at once, and to be told so must not make a client a slow consumer.
        if (
            session.state is State.OPEN
            and session.queued_messages <= self._max_queued_messages // 2
        ):
            self._notifier.send(
                session, events.Error("unavailable", _UNAVAILABLE[why], id.decode())
            )

    def channel_refused(self, channel: bytes, error: str) -> None:
        for session, room in self._rooms.put_out(channel):
            self._dropped["forbidden_room"] += 1
            if not self._answers.is_waiting(session, room):  # else that answer says so
                self._answers.send(session, events.forbidden_room(room, None))

    def canary(self, number: int) -> bytes:
        return self._control.canary(number)

    def canary_returned(self, seconds: float) -> None:
        self.round_trips.observe(seconds)
        self._presence.could_hear(seconds)

    def link_lost(self) -> None:
        self._answers.stop_waiting()

    def outage_began(self) -> None:
        self._presence.cut_off()
        self._notifier.redis_is_away()

    def outage_ended(self, seconds: float, lossy: bool) -> None:
        self._presence.connected()
        self._notifier.redis_is_back(seconds, lossy)
        self._on_reached()
