"""One worker process as the cluster sees it: the coordinator of hub, broker and heartbeat.

    session ─→ message_received ─┬→ hub.deliver (members here, in this loop turn)
                                 └→ publisher.publish (everybody else)
    Redis ─→ subscriber: own pod ID? dropped : _envelope_received ─→ hub.deliver

May live here: what happens when a session opens, speaks, joins, leaves or closes, and when
Redis comes and goes. Must not know Sanic, nor how bytes get in and out of sockets.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from functools import partial

from msgspec import UNSET

from . import notices
from .admission import Admission
from .broker import DeliveryProof, Endpoint, Publisher, Subscriber
from .clock import Clock
from .commands import Commands
from .config import DROP_OLDEST, Config
from .errors import BadEnvelope, BadMessage
from .heartbeat import Heartbeat
from .hub import Hub
from .intake import Intake
from .logs import RateLimitedWarning, logger
from .message import (
    NULL,
    OPENING,
    ClientMessage,
    build_members,
    envelope_head,
    json_bytes,
    json_text,
    json_value,
    parse_envelope,
    parse_message,
    parse_room_name,
)
from .names import (
    GLOBAL_CHANNEL,
    pod_channel,
    presence_channel,
)
from .notifier import Notifier
from .outage import Outage
from .owner import SessionLimits
from .room import Room
from .rooms import Rooms
from .send_queue import Missed, SendQueues
from .session import Session, State
from .websocket import text_frame

START_SECONDS = 3.0
"""How long a starting pod waits for Redis before it serves its own clients without it."""

ENVELOPE_OVERHEAD_BYTES = 2048
"""What an envelope may be larger than a client's message: its other keys."""

_PRESENCE = {event: json_bytes(notices.presence(event)) for event in (notices.JOINED, notices.LEFT)}


class Pod:
    """Everything of one worker process that is not Sanic.

    Made inside a running loop; `start` and `close` belong together. All methods that sessions,
    hub or broker call are synchronous.
    """

    def __init__(self, config: Config, *, redis_url: str) -> None:
        self.id = f"{config.pod_prefix}-{secrets.token_hex(4)}"
        self.limits = SessionLimits(
            max_message_bytes=config.max_message_bytes,
            max_message_fragments=config.max_message_fragments,
        )
        self.draining = False
        """Whether the pod takes no new sessions any more."""
        self.started_at = time.monotonic()
        self.messages_in = 0
        """Messages that clients sent and that were passed on."""
        self.dropped: Counter[str] = Counter()
        """Messages that went nowhere, by reason; the publisher counts its own."""
        self.closed_sessions = asyncio.Event()
        """Set while no session is connected."""
        self.closed_sessions.set()
        self.connected = 0
        """Sessions whose socket is open, those that are closing included."""
        self.admission = Admission(
            limit=config.max_connections,
            retry_after=config.retry_after,
            connected=lambda: self.connected,
        )
        self.refused: Counter[str] = Counter()
        """Handshakes that were refused, by code."""
        self._config = config
        self._backpressure_bytes = config.backpressure_bytes
        self._clock = Clock()
        self._envelope_head = envelope_head(self.id)
        self._reordered_echoes = 0  # with the pod ID elsewhere: somebody else has sent them
        self._bad_envelope = RateLimitedWarning()
        self.notifier = Notifier(self._clock)

        loop = asyncio.get_running_loop()
        self.hub = Hub(call_soon=loop.call_soon, everyone=Room(GLOBAL_CHANNEL, None, NULL))
        self.send_queues = SendQueues(
            max_messages=config.send_queue_messages,
            max_bytes=config.send_queue_bytes,
            max_total_bytes=config.send_queue_total_bytes,
            drop_oldest=config.slow_consumer == DROP_OLDEST,
            call_soon=loop.call_soon,
        )
        self.intake = Intake(loop, is_relieved=self._is_relieved)
        self.heartbeat = Heartbeat(loop, timeout=config.heartbeat_timeout)
        self.outage = Outage(
            loop, on_begin=self.notifier.redis_is_away, on_end=self.notifier.redis_is_back
        )
        self.endpoint = Endpoint(redis_url)
        self.subscriber = Subscriber(
            self.endpoint,
            name=f"sanic_chat:{self.id}:subscriber",
            timeout=config.redis_timeout,
            unsubscribe_delay=config.unsubscribe_delay,
            is_needed=self.hub.rooms.__contains__,
            echo_prefix=self._envelope_head,
            on_message=self._envelope_received,
            on_down=partial(self._link_lost, lossy=True),
        )
        self.rooms = Rooms(
            self.hub,
            self.subscriber,
            subscribe_timeout=config.subscribe_timeout,
            announce=self._announce,
        )
        self.commands = Commands(
            self.hub,
            self.rooms,
            self.notifier,
            is_connected=lambda: self.subscriber.link.is_up,
            rooms_per_session=config.rooms_per_session,
        )
        self.publisher = Publisher(
            self.endpoint,
            name=f"sanic_chat:{self.id}:publisher",
            timeout=config.redis_timeout,
            queue_messages=config.publish_queue_messages,
            queue_bytes=config.publish_queue_bytes,
            queue_seconds=config.publish_queue_seconds,
            on_dropped=self._not_published,
            on_down=partial(self._link_lost, lossy=False),
        )
        self.proof = DeliveryProof(
            self.publisher,
            self.subscriber,
            channel=pod_channel(self.id),
            interval=config.proof_interval,
            on_proven=self.outage.proven,
            on_overdue=partial(self.outage.begin, lossy=False),
        )

    async def start(self) -> None:
        """Connect to Redis, and return when that is proven or 3 s have passed."""
        self.subscriber.subscribe(GLOBAL_CHANNEL)
        self.subscriber.start()
        self.publisher.start()
        self.proof.start()
        self.heartbeat.start()
        try:
            await asyncio.wait_for(self.proof.first.wait(), START_SECONDS)
        except TimeoutError:
            logger.warning(
                "Redis %s is not there: pod %s serves its own clients, and joins the others as "
                "soon as it is",
                self.endpoint,
                self.id,
            )

    async def close(self, timeout: float) -> None:
        """End the connections to Redis; what was published before gets `timeout` s to leave."""
        self.heartbeat.stop()
        self.intake.close()
        self.proof.stop()
        await self.publisher.close(timeout)
        await self.subscriber.close()

    def begin_drain(self) -> None:
        """Take no new sessions any more; those that are there go on as before."""
        self.draining = True
        self.proof.stop()  # whose questions to Redis would get in the way of the drain's

    # -- sessions come and go --------------------------------------------------------------

    def new_client_id(self) -> str:
        """A UUIDv7 for a client that brings no ID of its own."""
        id, _ = self._clock.stamp()
        return id.decode()

    def open(self, session: Session, room: str | None, *, confirmed: bool) -> None:
        """A session can send and receive from now on; `confirmed` is what `rooms.prepare` said."""
        self.connected += 1
        self.closed_sessions.clear()
        self.heartbeat.add(session)
        self.hub.add(session)
        if room is not None:
            session.room = self.rooms.enter(session, room)
        if session.system_events:
            self.notifier.add(session)
            self.notifier.tell(session, self._welcome(session))
            if self.outage.is_on:
                self.notifier.tell(session, notices.degraded())
            elif not confirmed and room is not None:
                self._tell_when_confirmed(session, room)

    def _welcome(self, session: Session) -> notices.Notice:
        return notices.welcome(
            client_id=json_value(session.sender),
            pod_id=self.id,
            heartbeat_timeout=self._config.heartbeat_timeout,
            max_bytes=self.limits.max_message_bytes,
        )

    def _tell_when_confirmed(self, session: Session, room: str) -> None:
        confirmation = self.rooms.confirmation(room)
        if confirmation is None:
            return
        since = time.monotonic()
        self.notifier.tell(session, notices.degraded())

        def tell(future: asyncio.Future[None]) -> None:
            if not future.cancelled():
                if not self.outage.is_on:  # else it has its own end
                    self.notifier.tell(session, notices.recovered(time.monotonic() - since))
                self.notifier.tell(session, notices.gap(room))

        confirmation.add_done_callback(tell)

    def session_closing(self, session: Session) -> None:
        self.notifier.discard(session)
        self.intake.let_go(session)  # its close frame is still to be read
        self.rooms.remove(session)

    def session_closed(self, session: Session) -> None:
        self.heartbeat.discard(session)
        self.connected -= 1
        if not self.connected:
            self.closed_sessions.set()

    def messages_dropped(self, session: Session, messages: int, reason: str) -> None:
        self.dropped[reason] += messages

    def gap_frames(self, session: Session, missed: Missed) -> bytes:
        return self.notifier.gap_frames(session, missed)

    # -- what clients say ------------------------------------------------------------------

    def message_received(self, session: Session, payload: bytes) -> None:
        try:
            message = parse_message(payload)
            if message.type == "system":
                self.commands.obey(session, message)
            else:
                self._publish(session, message)
        except BadMessage as refusal:
            self.dropped[refusal.code] += 1
            self.notifier.tell(session, notices.error(refusal.code, refusal.message, refusal.id))
        if self.hub.held_bytes > self._backpressure_bytes or self.publisher.congested:
            self.intake.hold(session)

    def _publish(self, session: Session, message: ClientMessage) -> None:
        room = session.room  # nearly always the one
        if message.room is not UNSET or room is None or session not in room.members:
            room = self._target(session, message)
        id, timestamp = self._clock.stamp()
        if message.id:
            id = message.id.encode()
        members = build_members(
            id, message.type.encode(), room.json_name, session.sender, message.data, timestamp
        )
        self.messages_in += 1
        self.hub.deliver(room, text_frame(members, OPENING), session)
        self.publisher.publish(room.channel, members, (session, id), self._envelope_head)

    def _target(self, session: Session, message: ClientMessage) -> Room:
        """The room a message is for. Raises BadMessage `bad_room` or `not_in_room`."""
        wanted = message.room
        if wanted is None:
            return self.hub.everyone
        room = session.room
        if not isinstance(wanted, str):  # left out
            if room is None:
                return self.hub.everyone
            wanted = room.name or ""
        elif room is None or room.name != wanted:
            room = self.rooms.find(session, parse_room_name(wanted, message))
        if room is None or session not in room.members:
            raise BadMessage("not_in_room", f"You are not in room {wanted!r}", message.id or None)
        return room

    def _not_published(self, session: Session, id: bytes) -> None:
        # Many may be dropped at once, and who is told so must not become a slow consumer by it.
        if (
            session.state is State.OPEN
            and session.queued_messages <= self.send_queues.max_messages // 2
        ):
            self.notifier.tell(
                session,
                notices.error(
                    "unavailable",
                    "Redis is away: the message may have reached this pod's clients only",
                    id.decode(),
                ),
            )

    def _is_relieved(self) -> bool:
        """Whether the pod has caught up, and reads again from who was held."""
        return self.hub.held_bytes <= self._backpressure_bytes // 2 and not self.publisher.congested

    @property
    def echoes(self) -> int:
        """Messages that came back from Redis, and had been delivered here before."""
        return self.subscriber.echoes + self._reordered_echoes

    # -- who comes and goes ----------------------------------------------------------------

    def _announce(self, session: Session, room: str, event: str) -> None:
        """Tell who asked for presence, on every pod, that a session joined or left a room."""
        channel = presence_channel(room)
        id, timestamp = self._clock.stamp()
        members = build_members(
            id=id,
            type=b"presence",
            room=json_text(room),
            sender=session.sender,
            data=_PRESENCE[event],
            timestamp=timestamp,
        )
        listeners = self.hub.rooms.get(channel)
        if listeners is not None:
            self.hub.deliver(listeners, text_frame(members, OPENING))
        self.publisher.publish(channel, members, None, self._envelope_head)

    # -- what Redis says -------------------------------------------------------------------

    def _link_lost(self, good_until: float, *, lossy: bool) -> None:
        self.proof.link_lost()
        self.outage.begin(min(good_until, self.proof.good_until), lossy=lossy)

    def _envelope_received(self, channel: bytes, payload: bytes) -> None:
        room = self.hub.rooms.get(channel)
        if room is None:
            # The last member has left, and the subscription has not been given up yet; or:
            if channel == self.proof.channel:
                self.proof.received(payload)
            return
        try:
            if len(payload) > self.limits.max_message_bytes + ENVELOPE_OVERHEAD_BYTES:
                raise BadEnvelope(f"it has {len(payload)} bytes")
            envelope = parse_envelope(payload)
        except BadEnvelope as reason:
            self.dropped["bad_envelope"] += 1
            self._bad_envelope.log("Dropped what was published on %r: %.200s", channel, reason)
            return
        if envelope.pod_id == self.id:
            self._reordered_echoes += 1
            return
        id, timestamp = envelope.id.encode(), envelope.timestamp.encode()
        if not (id and timestamp):
            new_id, now = self._clock.stamp()
            id, timestamp = id or new_id, timestamp or now
        members = build_members(
            id=id,
            type=envelope.type.encode(),
            room=room.json_name,
            sender=json_text(envelope.sender),
            data=envelope.data,
            timestamp=timestamp,
        )
        self.hub.deliver(room, text_frame(members, OPENING))
        if self.hub.held_bytes > self._backpressure_bytes:
            self.intake.hold(self.subscriber.link)
