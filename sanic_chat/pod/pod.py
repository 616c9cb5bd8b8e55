"""The pod: one worker process as the cluster sees it, and the coordinator of its parts.

    session ─→ message_received ─┬→ hub.deliver (members here, in this loop turn)
                                 └→ broker.publish (everybody else)
    broker ─→ broker_events ─→ hub.deliver

May live here: what happens when a session opens, speaks or closes. Must not know Sanic, the
environment, nor how bytes get in and out of sockets.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence

from ..broker.broker import Broker
from ..cluster.cluster import Cluster
from ..cluster.control import Control
from ..errors import BadMessage
from ..hub.channel import Channel
from ..hub.hub import Hub
from ..logs.logger import RateLimitedWarning, logger
from ..presence.presence import Presence
from ..presence.speaker import Members
from ..protocol import events
from ..protocol.channels import RedisNames
from ..protocol.envelope import envelope_head
from ..protocol.forwarded import ClientAddresses
from ..protocol.message import parse_message
from ..protocol.stamp import Stamper
from ..session.handler import Ending
from ..session.heartbeat import Heartbeat
from ..session.send_queue import Missed, SendQueuePool
from ..session.session import Session
from ..websocket.parser import FrameLimits
from .access import Access
from .admission import Admission, DescriptorWatch
from .answers import Answers
from .backpressure import Backpressure
from .bad_ends import BadEnds, kind_of, reason_of
from .broker_events import BrokerEvents
from .client_log import AddressedSession
from .client_messages import ClientMessages
from .closes import Closes
from .commands import Commands
from .expiry import Expiry
from .greeter import Greeter
from .load import CHANNEL_BACKLOG_BYTES, Load
from .notifier import Notifier
from .publishing import Publishing
from .receipts import Receipts
from .renewal import Authenticate, Renewal
from .room_members import RoomMembers
from .rooms import Rooms, Wanted
from .users import Users

START_SECONDS = 3.0
"""The time for which a starting pod waits for Redis before it serves its own clients without it."""


class Pod:
    """The sessions of one worker process, in their rooms, beside the other pods.

    Made inside a running loop; `start` and `close` belong together. It is the `SessionHandler` of
    its sessions. `authenticate` reads tokens, if clients have any and `has_keys()`, and these count
    for `token_leeway` seconds after their end (None: for good). `has_lifecycle`: backends are told
    of all sessions.
    """

    def __init__(
        self,
        id: str,
        *,
        names: RedisNames,
        hub: Hub,
        broker: Broker,
        heartbeat: Heartbeat,
        limits: FrameLimits,
        send_queues: SendQueuePool,
        addresses: ClientAddresses,
        descriptors: DescriptorWatch,
        admission: Admission,
        users: Users,
        load: Load,
        retry_after: int,
        rooms_per_session: int,
        subscribe_timeout: float,
        authenticate: Authenticate | None,
        has_keys: Callable[[], bool],
        token_leeway: float | None,
        has_lifecycle: bool,
        access: Access,
    ) -> None:
        self.id = id
        self.names = names
        """The names of its channels and keys on Redis."""
        self.hub = hub
        self.broker = broker
        self.heartbeat = heartbeat
        self.limits = limits
        self.send_queues = send_queues
        self.addresses = addresses
        self.descriptors = descriptors
        self.has_keys = has_keys
        self.admission = admission
        self.users = users
        self.load = load
        self.connected = 0
        """The sessions whose socket is open, those that are closing included."""
        self.closed_sessions = asyncio.Event()
        """Set while no session is connected."""
        self.closed_sessions.set()
        self.started_at = time.monotonic()
        self.dropped: Counter[str] = Counter()
        """The messages that went nowhere, by reason; hub, broker and presence count their own."""
        self.refused: Counter[str] = Counter()
        """The handshakes that were refused, by code."""
        self.closes = Closes()
        """The sessions that have ended."""
        self.sessions_failed = 0
        """The sessions that ended because of an error of ours."""

        loop = asyncio.get_running_loop()
        self._stamper = Stamper()
        self._session_failed = RateLimitedWarning()
        self._publisher = broker.publisher
        self._has_tokens = authenticate is not None
        self.access = access
        self.bad_ends = BadEnds(loop)
        self.notifier = Notifier(self._stamper)
        self.control = Control(id, names=names, publish=broker.publish, dropped=self.dropped)
        members = RoomMembers(hub, self.users, names)
        self.presence = Presence(
            loop,
            id,
            hub,
            names,
            members=Members(members.users, members.presences),
            send=self.control.send,
            send_to=self.control.send_to,
            prove=broker.prove_now,
            frame=self.notifier.presence_frame,
            beat=broker.proof_interval,
        )
        self.control.handle("canary", self.presence.canary_received)
        self.control.handle("stream", self.presence.stream_received)
        self.control.handle("want", self.presence.want_received)
        self.control.handle("parts", self.presence.parts_received)
        self.control.canary_words = self.presence.canary_words
        self.control.on_goodbye.append(self.presence.goodbye_received)
        self.rooms = Rooms(
            hub, broker, self.presence, names, access, subscribe_timeout=subscribe_timeout
        )
        self.greeter = Greeter(
            id,
            broker=broker,
            rooms=self.rooms,
            notifier=self.notifier,
            limits=limits,
            heartbeat_seconds=heartbeat.timeout,
            missing={
                *(("auth",) if authenticate is None else ()),
                *(() if access.personal_rooms else ("personal_rooms",)),
            },
        )
        self.receipts = Receipts(
            loop,
            self.notifier,
            is_subscribed=lambda channel: broker.are_subscribed((channel,)),
            queue_messages=send_queues.max_messages,
        )
        self.answers = Answers(hub, self.notifier)
        self.expiry = Expiry(
            loop,
            leeway=token_leeway,
            on_expiring=self.greeter.token_expiring,
            on_expired=self.greeter.token_expired,
        )
        self.cluster = Cluster(
            id,
            broker=broker,
            control=self.control,
            hub=hub,
            rooms_of=self.rooms.of,
            sessions_of=self.users.of,
            names=names,
            dropped=self.dropped,
            handshake_seconds=subscribe_timeout,
            has_lifecycle=has_lifecycle,
        )
        self._lifecycle = self.cluster.lifecycle
        self.commands = Commands(
            self.rooms,
            self.answers,
            Renewal(
                loop,
                authenticate,
                check=self.cluster.revocations.check,
                rooms=self.rooms,
                answers=self.answers,
                expiry=self.expiry,
            ),
            is_connected=lambda: broker.is_connected,
            rooms_per_session=rooms_per_session,
        )
        self.client_messages = ClientMessages(
            hub,
            broker.publisher,
            rooms=self.rooms,
            access=access,
            receipts=self.receipts,
            stamper=self._stamper,
            envelope_head=envelope_head(id),
        )
        self.backpressure: Backpressure[Channel | None] = Backpressure(
            loop, is_relieved=self.load.is_relieved
        )
        self.publishing = Publishing(
            broker,
            hub=hub,
            names=names,
            rooms=self.rooms,
            load=self.load,
            stamper=self._stamper,
            has_personal_rooms=access.personal_rooms,
            retry_after=retry_after,
        )
        self.broker_events = BrokerEvents(
            id,
            hub=hub,
            broker=broker,
            control=self.control,
            presence=self.presence,
            rooms=self.rooms,
            answers=self.answers,
            receipts=self.receipts,
            notifier=self.notifier,
            stamper=self._stamper,
            load=self.load,
            backpressure=self.backpressure,
            on_reached=self.cluster.reached,
            on_untold=self.cluster.untold,
            listeners=self.cluster.listeners,
            dropped=self.dropped,
            max_message_bytes=limits.max_message_bytes,
            max_queued_messages=send_queues.max_messages,
        )

    async def start(self) -> None:
        """Connect to Redis, and return when that is proven or 3 s have passed.

        If it is proven, the tokens that other pods know to be revoked are known here as well.
        """
        channels = self.names.global_channel, *self.control.channels, *self.cluster.listeners
        self.broker.start(self.broker_events, required=channels)
        self.heartbeat.start()
        self.cluster.start()
        if await self.broker.is_proven_within(START_SECONDS):
            if self._has_tokens:
                await self.cluster.revocations.caught_up()
        else:
            logger.warning(
                "Redis %s cannot be used yet: pod %s serves its own clients, and joins the others "
                "as soon as it can",
                self.broker.endpoint,
                self.id,
            )

    async def close(self, timeout: float) -> None:
        """Disconnect from Redis. Earlier envelopes get `timeout` seconds to be confirmed."""
        self.heartbeat.stop()
        self.bad_ends.close()
        self.expiry.close()
        self.backpressure.close()
        self.presence.close()
        self.cluster.close()
        self.control.close()
        await self.broker.close(timeout)
        self.receipts.close()

    @property
    def draining(self) -> bool:
        """Whether the pod takes no new sessions any more."""
        return self.admission.draining

    def begin_drain(self) -> None:
        """Accept no new sessions any more; those that there are go on as before."""
        self.admission.draining = self.presence.draining = True
        self.broker.stop_proving()  # canaries would get in the way of the drain's questions
        self.control.beat()

    # -- sessions come and go --------------------------------------------------------------

    def new_client_id(self) -> str:
        """Make a client ID, a UUIDv7."""
        id, _ = self._stamper.stamp()
        return id.decode()

    def open(
        self, session: Session, rooms: Sequence[Wanted], *, default: str | None, confirmed: bool
    ) -> None:
        """Have a session send and receive from now on; `confirmed`: see `Rooms.subscribe`.

        `default` is the room of its messages that name none. Its user must have a place in `users`.
        """
        if not self.connected:
            self.closed_sessions.clear()
        self.connected += 1
        self.heartbeat.add(session)
        self.users.add(session)
        self.hub.add(session)
        if session.identity is not None:
            self.expiry.add(session)
        if self._lifecycle is not None:
            self._lifecycle.opened(session)
        for room, _ in rooms:
            channel = self.rooms.join(session, room)
            if room == default:
                session.default_channel = channel
        if session.system_events or session.presence:
            self.greeter.greet(session, rooms, confirmed=confirmed)

    def session_failed(self, session: Session, error: Exception) -> None:
        self.sessions_failed += 1
        self._session_failed.log("Closed a client with 1011, because of an error", error=error)

    def session_ends(self, session: Session, ending: Ending) -> None:
        self.closes.note(ending)
        if self.presence.in_use:
            self.presence.ended(session, self.rooms.of(session), ending)
        if self._lifecycle is not None:
            self._lifecycle.closed(session, ending)
        kind = kind_of(ending)
        if kind is not None:
            self.bad_ends.note(
                kind,
                reason_of(ending, self.heartbeat.timeout),
                user=session.user,
                address=self.address_of(session),
            )

    def address_of(self, session: Session) -> str:
        """The address of a session's client, or of its proxy if that is not trusted."""
        if isinstance(session, AddressedSession):
            return session.address
        return self.addresses.of(session.peername, ())

    def session_closing(self, session: Session) -> None:
        self.users.discard(session)
        if session.identity is not None:
            self.expiry.discard(session)
        self.rooms.leave_all(session)
        if session.system_events:
            self.notifier.discard(session)
        if self.answers.waiting:
            self.answers.discard(session)
        if self.receipts.waiting:
            self.receipts.discard(session)
        if self.backpressure.held:
            self.backpressure.release(session)  # its close frame is still to be read

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
        channel: Channel | None = None
        try:
            message = parse_message(payload)
            if message.type == "system":
                self.commands.execute(session, message)
            else:
                channel = self.client_messages.publish(session, message)
        except BadMessage as refusal:
            self.dropped[refusal.code] += 1
            self.answers.send(session, events.Error(refusal.code, refusal.message, refusal.id))
        # `must_hold` says whether; for messages first without a call: it is nearly never so.
        if (
            channel is None
            or self.hub.held_bytes > self.load.max_bytes
            or self._publisher.congested
            or channel.pending_bytes > CHANNEL_BACKLOG_BYTES
        ) and self.load.must_hold(channel):
            self.backpressure.hold(session, channel)
