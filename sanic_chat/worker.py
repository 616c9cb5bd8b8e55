"""One worker process, put together from its settings: the only module that sees all parts.

    Config ─→ broker ─┬─→ pod ─→ checker, upgrader (new sessions)
              hub ────┘    └──→ reporter (the stats), board (the metrics)

May live here: which part gets which setting, and in which order parts start and stop. Must not know
Sanic, but for the protocol's connections that it is lent.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING

from .broker.broker import Broker
from .broker.endpoint import Endpoint
from .config.fingerprint import fingerprint
from .config.settings import CLOSE, DROP_OLDEST, Config
from .hub.channel import Channel
from .hub.hub import Hub
from .logs.logger import logger
from .pod.admission import Admission
from .pod.client_log import ClientLog
from .pod.drain import drain_sessions
from .pod.load import Load
from .pod.pod import Pod
from .pod.readiness import why_unready
from .pod.sampler import Sampler
from .pod.snapshot import RoomCount, build_metrics, build_report, count_rooms
from .pod.users import Users
from .process.descriptors import Descriptors
from .process.usage import Usage, UsageReader
from .protocol.channels import RedisNames
from .protocol.envelope import envelope_head
from .protocol.forwarded import ClientAddresses
from .protocol.message import NULL
from .session.heartbeat import Heartbeat
from .session.send_queue import SendQueuePool
from .stats.board import WRITE_SECONDS, Board, Slots
from .stats.metrics import MainMetrics, ProcessMetrics, WorkerMetrics
from .stats.report import PodReport
from .stats.reporter import Reporter
from .stats.store import ReportStore
from .tokens import make_access
from .upgrade.checker import HandshakeChecker
from .upgrade.connection_limit import ConnectionLimit
from .upgrade.deadlines import Deadlines, HttpConnection, close_http_connections
from .upgrade.reader import HandshakeReader
from .upgrade.refused_clients import RefusedClients
from .upgrade.upgrader import Upgrader
from .version import VERSION
from .websocket.origin import OriginPolicy
from .websocket.parser import FrameLimits

if TYPE_CHECKING:
    from .auth.auth import Authenticator
    from .process.supervisor import Supervisor

WRITES_PER_QUEUE = 2
"""The divisor of a send queue's bounds that bounds one write of a channel's frames. With larger
writes, a client that reads could be closed for the messages of a single turn. Of messages all that
an empty queue takes are written to clients that have none."""

SILENT_SECONDS = 3 * WRITE_SECONDS
"""The age from which on the metrics of a worker say that it hangs, and takes no clients."""

REDIS_CLOSE_SECONDS = 1.0
HTTP_CLOSE_SECONDS = 1.0


def main_metrics(usage: Usage, supervisor: Supervisor) -> MainMetrics:
    """Make the metrics of the main process."""
    return MainMetrics(
        version=VERSION,
        process=_process(usage),
        workers=supervisor.workers,
        worker_ends=dict(supervisor.ends),
        last_reload_refused=supervisor.last_reload_refused,
    )


def _process(usage: Usage) -> ProcessMetrics:
    return ProcessMetrics(**usage._asdict())


class Worker:
    """The parts of one worker process. Made inside a running loop.

    `start` and `stop` belong together; neither raises for a Redis that is away. `idle_timeout`
    (seconds) bounds an HTTP connection without a request, and `answer_timeout` an answer. Its
    metrics are shown in `slots`; None: nowhere.
    """

    def __init__(
        self,
        config: Config,
        *,
        redis_url: str,
        name: str,
        slots: Slots | None = None,
        authenticator: Authenticator | None = None,
        idle_timeout: float = 75.0,
        answer_timeout: float = 60.0,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._config = config
        self._fingerprint = fingerprint(config)
        self._name = name
        self._keys = None if authenticator is None else authenticator.keys
        self.descriptors = Descriptors(
            clients=lambda: self.pod.connected + self.pod.admission.handshakes
        )
        self.pod = self._make_pod(loop, redis_url, authenticator)
        self.connection_limit = ConnectionLimit(
            limit=config.max_connections,
            sessions=lambda: self.pod.connected,
            most=self.descriptors.connections,
        )
        self.handshake_reader = HandshakeReader(
            {config.api_prefix, ""}, max_bytes=config.max_header_bytes
        )
        refused_clients = RefusedClients(
            loop,
            admission=self.pod.admission,
            connection_limit=self.connection_limit,
            connections=lambda: self.http_connections,
            notifier=self.pod.notifier,
            are_few=self.descriptors.are_few,
        )
        self.checker = HandshakeChecker(
            self.pod,
            refused_clients,
            origins=OriginPolicy(config.allowed_origins),
            authenticator=authenticator,
            auth_cookie=config.auth_cookie,
            subprotocols=config.subprotocols,
            rooms_per_session=config.rooms_per_session,
        )
        self.upgrader = Upgrader(
            self.pod,
            self.connection_limit,
            refused_clients,
            client_log=ClientLog(self.pod) if config.log_clients else None,
        )
        self.reporter = Reporter(
            ReportStore(
                self.pod.broker.endpoint,
                self.pod.names,
                client_name=f"sanic_chat:{self.pod.id}:stats",
                interval=config.stats_interval,
                timeout=config.redis_timeout,
                on_read_only=self.pod.broker.doubt,
            ),
            report=self._report,
            interval=config.stats_interval,
            rooms=config.stats_rooms,
        )
        self.sampler = Sampler(loop, self.pod.hub, self.pod.send_queues)
        self.board = None if slots is None else Board(slots, self._metrics)
        """The metrics of all workers; None if they have no memory to share."""
        self._serving_since: float | None = None
        self._usage = UsageReader()
        self._rooms: RoomCount | None = None
        """The rooms as they were last reported: counting them again would cost as much again."""
        self.http_connections: set[HttpConnection] = set()
        """Sanic's own set of connections, which the fast path puts here."""
        self._deadlines = Deadlines(
            loop,
            lambda: self.http_connections,
            head_timeout=config.handshake_timeout,
            idle_timeout=idle_timeout,
            answer_timeout=answer_timeout,
        )

    def _make_pod(
        self,
        loop: asyncio.AbstractEventLoop,
        redis_url: str,
        authenticator: Authenticator | None,
    ) -> Pod:
        config = self._config
        pod_id = f"{config.pod_prefix}-{secrets.token_hex(4)}"
        names = RedisNames(config.redis_prefix)
        hub = Hub(
            call_soon=loop.call_soon,
            everyone=Channel(names.global_channel, None, NULL),
            write_messages=max(1, config.send_queue_messages // WRITES_PER_QUEUE),
            write_bytes=config.send_queue_bytes // WRITES_PER_QUEUE,
            ready_messages=config.send_queue_messages,
        )
        broker = Broker(
            Endpoint(redis_url),
            pod_id=pod_id,
            control_channel=names.control_channel,
            echo_prefix=envelope_head(pod_id),
            is_needed=hub.channels.__contains__,
            timeout=config.redis_timeout,
            unsubscribe_delay=config.unsubscribe_delay,
            queue_messages=config.publish_queue_messages,
            queue_bytes=config.publish_queue_bytes,
            queue_seconds=config.publish_queue_seconds,
            proof_interval=config.proof_interval,
        )
        return Pod(
            pod_id,
            names=names,
            hub=hub,
            broker=broker,
            heartbeat=Heartbeat(loop, timeout=config.heartbeat_timeout),
            limits=FrameLimits(config.max_message_bytes, config.max_message_fragments),
            send_queues=SendQueuePool(
                max_messages=config.send_queue_messages,
                max_bytes=config.send_queue_bytes,
                max_total_bytes=config.send_queue_total_bytes,
                drop_oldest=config.slow_consumer == DROP_OLDEST,
                call_soon=loop.call_soon,
            ),
            addresses=ClientAddresses(config.trusted_proxies),
            descriptors=self.descriptors,
            admission=Admission(
                limit=config.max_connections,
                retry_after=config.retry_after,
                connected=lambda: self.pod.connected,
                has_descriptors=self.descriptors.are_left,
            ),
            users=Users(sessions_per_user=config.sessions_per_user),
            load=Load(hub, broker, max_bytes=config.backpressure_bytes),
            retry_after=config.retry_after,
            rooms_per_session=config.rooms_per_session,
            subscribe_timeout=config.subscribe_timeout,
            authenticate=None if authenticator is None else authenticator.identify,
            has_keys=lambda: self._keys is None or self._keys.current is not None,
            token_leeway=config.auth_leeway if config.auth_expiry == CLOSE else None,
            has_lifecycle=config.lifecycle,
            access=make_access(config),
        )

    def _report(self) -> PodReport:
        self._rooms = count_rooms(self.pod)
        return self._build_report(self._rooms)

    def _build_report(self, rooms: RoomCount) -> PodReport:
        return build_report(
            self.pod,
            worker=self._name,
            crowded_out=self.connection_limit.closed,
            rooms=rooms,
            version=VERSION,
            settings=self._fingerprint,
            auth=self._config.auth_enabled,
            keys=self._keys,
        )

    def _metrics(self) -> WorkerMetrics:
        rooms = self._rooms or count_rooms(self.pod)
        return build_metrics(
            self.pod,
            self._build_report(rooms._replace(largest={})),
            self.sampler,
            version=VERSION,
            process=_process(self._usage.read()),
            serving_since=self._serving_since,
            descriptor_shortages=self.descriptors.shortages,
        )

    async def start(self) -> None:
        """Connect to Redis, and get keys, or wait 3 s for it. Clients may come afterwards."""
        if self.board is not None:
            self.board.start()
            self.sampler.start()
        self.descriptors.watch_accepting(asyncio.get_running_loop())
        starts = [self.pod.start(), self.reporter.start()]
        if self._keys is not None:
            starts.append(self._keys.start())
        await asyncio.gather(*starts)
        if self.pod.cluster.lifecycle is not None:
            self.pod.cluster.lifecycle.suspect(await self.reporter.known_pods())
        self._deadlines.start()
        logger.info(
            "Pod %s: worker %s, Redis at %s", self.pod.id, self._name, self.pod.broker.endpoint
        )

    def serve(self) -> None:
        """Let the other workers know that this one takes clients."""
        self._take_clients(since=time.monotonic())

    def may_leave(self) -> bool:
        """Whether this worker has left, or a newer one takes clients, ready if this one is."""
        since, is_ready = self._serving_since, why_unready(self.pod) is None
        if since is None:
            return True
        for entry in [] if self.board is None else self.board.collect():
            other = entry.metrics
            if isinstance(other, WorkerMetrics) and (other.unready is None or not is_ready):
                began = other.serving_since
                if began is not None and began > since and entry.age < SILENT_SECONDS:
                    return True
        return False

    def leave(self) -> None:
        """Keep no HTTP connection alive: nobody is to come by one when the drain has begun."""
        self._take_clients(since=None)
        self._deadlines.end_idle()

    @property
    def has_answered(self) -> bool:
        """Whether no connection is still HTTP, and no handshake is under way."""
        return not self.http_connections and not self.pod.admission.handshakes

    def _take_clients(self, *, since: float | None) -> None:
        self._serving_since = since
        if self.board is not None:
            self.board.write()

    async def stop(self) -> None:
        """Drain all sessions, then disconnect from Redis, then close HTTP connections."""
        config = self._config
        logger.info("Pod %s: draining %d sessions", self.pod.id, self.pod.connected)
        self._take_clients(since=None)
        await drain_sessions(
            self.pod,
            grace=config.drain_grace,
            window=config.drain_window,
            timeout=config.drain_timeout,
        )
        await self.reporter.close(REDIS_CLOSE_SECONDS)
        await self.pod.close(REDIS_CLOSE_SECONDS)
        if self._keys is not None:
            self._keys.stop()
        # Last, since the listening socket still accepts: Sanic closes it right after this.
        await close_http_connections(self.http_connections, timeout=HTTP_CLOSE_SECONDS)
        self._deadlines.stop()
        if self.board is not None:
            self.sampler.stop()
            self.board.close()
