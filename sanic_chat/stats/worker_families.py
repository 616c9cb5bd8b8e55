"""The metrics of a worker, for Prometheus.

    a worker's metrics, and the report in them ─→ samples

May live here: their names, helps and labels. Must not know other processes of the server.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TypeVar

from msgspec import UnsetType

from .exposition import Family, Kind, Sample, Value, histogram, labelled, single
from .metrics import HistogramMetrics, WorkerMetrics
from .report import BacklogReport, KeysReport, PresenceReport, RedisReport, SendQueuesReport

DROP_REASONS = (
    "bad_command", "bad_envelope", "bad_id", "bad_json", "bad_message", "bad_room",
    "closed_by_client", "connection_lost", "forbidden_presence", "forbidden_publish",
    "forbidden_room", "late_answer", "no_tokens", "not_handled", "not_in_room", "overload",
    "pod_behind", "protocol_violation", "publish_expired", "publish_queue_full", "publish_refused",
    "publish_unconfirmed", "reserved_event", "session_closed", "session_failed", "slow_consumer",
    "token_expired", "too_many_rooms", "too_soon", "unauthorized", "unknown_action", "wrong_user",
)  # fmt: skip
REFUSAL_CODES = (
    "bad_echo", "bad_events", "bad_handshake", "bad_room", "disconnected", "draining",
    "forbidden_origin", "forbidden_room", "no_descriptors", "no_keys", "room_conflict",
    "token_expired", "token_revoked", "too_many_connections", "too_many_rooms",
    "too_many_sessions", "unauthorized", "unsupported_version", "upgrade_required",
)  # fmt: skip
UNREADY_REASONS = (
    "draining", "no_descriptors", "no_keys", "no_redis", "proof_overdue", "redis_refuses",
    "wrong_redis",
)  # fmt: skip
DIRECTIONS = ("publish", "subscribe")

T = TypeVar("T")

_OfWorker = Family[WorkerMetrics]


def _worker(name: str, kind: Kind, help: str, read: Callable[[WorkerMetrics], Value]) -> _OfWorker:
    return single(name, kind, help, read)


def _told(part: T | UnsetType, empty: Callable[[], T]) -> T:
    """A part of a report, or one that tells nothing."""
    return empty() if isinstance(part, UnsetType) else part


def _redis(worker: WorkerMetrics) -> RedisReport:
    return _told(worker.report.redis, RedisReport)


def _backlog(worker: WorkerMetrics) -> BacklogReport:
    return _told(worker.report.backlog, BacklogReport)


def _queues(worker: WorkerMetrics) -> SendQueuesReport:
    return _told(worker.report.send_queues, SendQueuesReport)


def _presence(worker: WorkerMetrics) -> PresenceReport:
    return _told(worker.report.presence, PresenceReport)


def _keys(worker: WorkerMetrics) -> KeysReport:
    return _told(worker.report.keys, KeysReport)


def _proof_age(worker: WorkerMetrics) -> Value:
    age = _redis(worker).proof_age_seconds
    return math.inf if age is None else age


def _links(worker: WorkerMetrics) -> dict[str, Value]:
    redis = _redis(worker)
    return {"publish": redis.publisher == "up", "subscribe": redis.subscriber == "up"}


def _closes(worker: WorkerMetrics) -> Iterator[Sample]:
    for by, codes in worker.closes.items():
        for code, number in codes.items():
            yield Sample("", f',code="{code}",reason="{by}"', number)


def _histogram(name: str, help: str, key: str) -> _OfWorker:
    def read(worker: WorkerMetrics) -> HistogramMetrics | None:
        return worker.histograms.get(key)

    return histogram(name, help, read)


OF_WORKERS: tuple[_OfWorker, ...] = (
    _worker("ready", "gauge", "Whether /ready says yes.", lambda it: it.report.ready),
    labelled(
        "unready",
        "gauge",
        "Whether this is the reason for which /ready says no.",
        "reason",
        UNREADY_REASONS,
        lambda it: {} if it.unready is None else {it.unready: 1},
    ),
    _worker(
        "draining",
        "gauge",
        "Whether the worker takes no clients any more, and says goodbye to those it has.",
        lambda it: it.report.draining,
    ),
    # Clients
    _worker(
        "connections", "gauge", "Clients that are connected.", lambda it: it.report.connections
    ),
    _worker(
        "users",
        "gauge",
        "Users with sessions on this worker; without tokens each client is one.",
        lambda it: it.report.users,
    ),
    _worker(
        "max_connections",
        "gauge",
        "CHAT_MAX_CONNECTIONS: clients that the worker takes. 0: no limit.",
        lambda it: it.report.max_connections,
    ),
    _worker("handshakes", "gauge", "Upgrades that are under way.", lambda it: it.report.handshakes),
    _histogram(
        "handshake_seconds",
        "The time of an upgrade from its request to its 101, the wait for Redis included.",
        "handshake",
    ),
    labelled(
        "upgrades_refused",
        "counter",
        "Upgrades that were refused.",
        "code",
        REFUSAL_CODES,
        lambda it: it.report.upgrades_refused,
    ),
    _worker(
        "keys_age_seconds",
        "gauge",
        "Time since the keys of tokens were read, from a file or a URL.",
        lambda it: _keys(it).age_seconds,
    ),
    _worker(
        "keys_failures",
        "counter",
        "Times that the keys of tokens could not be read.",
        lambda it: _keys(it).failures,
    ),
    _worker(
        "connections_crowded_out",
        "counter",
        "Connections without a request that made room for others.",
        lambda it: it.report.crowded_out,
    ),
    Family(
        "closes",
        "counter",
        "Clients whose connection has ended, by close code, and by who ended it as the reason.",
        _closes,
    ),
    _worker(
        "heartbeat_timeouts",
        "counter",
        "Clients that gave no sign of life.",
        lambda it: it.report.heartbeat_timeouts,
    ),
    _worker(
        "sessions_failed",
        "counter",
        "Clients that were closed for an error of the server.",
        lambda it: it.report.sessions_failed,
    ),
    _worker(
        "rooms",
        "gauge",
        "Rooms with members on the worker; one on two workers counts on both.",
        lambda it: it.report.rooms,
    ),
    # Messages
    _worker(
        "messages_received",
        "counter",
        "Messages of clients that were passed on.",
        lambda it: it.report.messages_in,
    ),
    _worker(
        "publishes",
        "counter",
        "Messages and announcements that Redis has confirmed.",
        lambda it: it.report.messages_published,
    ),
    _worker(
        "fan_outs",
        "counter",
        "Messages to rooms or to all, of own clients and of other workers.",
        lambda it: it.fan_outs,
    ),
    _worker(
        "deliveries",
        "counter",
        "Messages handed to clients: one for each member of the room.",
        lambda it: it.report.messages_out,
    ),
    labelled(
        "messages_dropped",
        "counter",
        "Messages that went nowhere.",
        "reason",
        DROP_REASONS,
        lambda it: it.report.messages_dropped,
    ),
    # Load
    _histogram(
        "event_loop_lag_seconds",
        "The lateness of callbacks, looked at four times a second.",
        "event_loop_lag",
    ),
    _histogram(
        "fan_out_turn_seconds",
        "The time that a loop turn's writing to clients takes, of four turns a second at most.",
        "fan_out_turn",
    ),
    _worker(
        "backlog_bytes",
        "gauge",
        "Bytes under way to clients.",
        lambda it: _backlog(it).bytes,
    ),
    _worker(
        "backpressure_held",
        "gauge",
        "Clients, and the link to Redis, that are not read from at the moment.",
        lambda it: _backlog(it).held,
    ),
    _worker(
        "backpressure_holds",
        "counter",
        "Times that a client, or the link to Redis, was not read from for a while.",
        lambda it: _backlog(it).holds,
    ),
    _worker(
        "send_queues",
        "gauge",
        "Clients that have a send queue at the moment.",
        lambda it: _queues(it).clients,
    ),
    _worker(
        "send_queues_bytes",
        "gauge",
        "Bytes in all send queues.",
        lambda it: _queues(it).bytes,
    ),
    _histogram(
        "send_queue_messages",
        "Messages in each send queue, looked at once a second.",
        "send_queue",
    ),
    _worker(
        "presence_watched_rooms",
        "gauge",
        "Rooms whose members clients of the worker are told of.",
        lambda it: _presence(it).watched_rooms,
    ),
    _worker(
        "presence_registrations",
        "gauge",
        "Rooms of the worker that other workers watch, once for each of them.",
        lambda it: _presence(it).registrations,
    ),
    _worker(
        "presence_held_users",
        "gauge",
        "Users who have gone and count as present for a while, in case they come back.",
        lambda it: _presence(it).held_users,
    ),
    _worker(
        "descriptor_shortages",
        "counter",
        "Times that there were no file descriptors for clients.",
        lambda it: it.descriptor_shortages,
    ),
    # Redis
    labelled(
        "redis_link_up",
        "gauge",
        "Whether the link to Redis is up.",
        "direction",
        DIRECTIONS,
        _links,
    ),
    labelled(
        "redis_reconnects",
        "counter",
        "Connections to Redis that were built anew.",
        "direction",
        DIRECTIONS,
        lambda it: it.reconnects,
    ),
    _worker(
        "redis_subscribed",
        "gauge",
        "Whether Redis has confirmed every channel that was wanted when the link came up.",
        lambda it: _redis(it).subscribed,
    ),
    _worker(
        "redis_channels",
        "gauge",
        "Channels that the worker subscribes to.",
        lambda it: _redis(it).channels,
    ),
    _worker(
        "redis_outage",
        "gauge",
        "Whether other workers and machines are not reached for certain.",
        lambda it: it.is_away,
    ),
    _worker(
        "publish_queue_messages",
        "gauge",
        "Messages that wait for Redis to come back.",
        lambda it: _redis(it).waiting_to_publish,
    ),
    _worker(
        "echoes_dropped",
        "counter",
        "Own messages that came back from Redis, as all do whose room is subscribed to.",
        lambda it: _redis(it).echoes_dropped,
    ),
    _worker(
        "proof_age_seconds",
        "gauge",
        "Time since the last proof that what is published arrives; +Inf before the first.",
        _proof_age,
    ),
    _worker(
        "proofs_failed",
        "counter",
        "Proofs that did not come back in time over links that seemed to be up.",
        lambda it: _redis(it).proofs_failed,
    ),
    _histogram(
        "proof_round_trip_seconds",
        "The time of a message to Redis and back: what lies between two workers, by one clock.",
        "proof_round_trip",
    ),
)
