"""Pods' reports for tests that have no pod."""

from __future__ import annotations

from typing import Any

import msgspec

from sanic_chat.broker.endpoint import Endpoint
from sanic_chat.protocol.channels import RedisNames
from sanic_chat.stats.report import (
    BacklogReport,
    KeysReport,
    PodReport,
    PresenceReport,
    RedisReport,
    SendQueuesReport,
)
from sanic_chat.stats.store import ReportStore


def stats_store(url: str, *, interval: float = 5, **options: Any) -> ReportStore:
    """A store of a program that is no server."""
    return ReportStore(
        Endpoint(url),
        RedisNames("realtime"),
        **{
            "client_name": "test:stats",
            "interval": interval,
            "timeout": 5,
            "on_read_only": lambda refusal: None,
            **options,
        },
    )


def pod_report(pod_id: str, **fields: Any) -> PodReport:
    """A report of a pod without clients, with nothing in it but what every report has."""
    return PodReport(
        **{
            "pod_id": pod_id,
            "rooms": 0,
            "connections": 0,
            "messages_in": 0,
            "messages_out": 0,
            "messages_published": 0,
            "messages_dropped": {},
            "largest_rooms": {},
            **fields,
        }
    )


FULL_REPORT = pod_report(
    "pod-1",
    worker="Sanic-Server-0-0",
    host="host",
    pid=1,
    version="1.2.3",
    settings="0a1b2c3d",
    auth=True,
    uptime_seconds=1.5,
    ready=True,
    draining=False,
    connections=3,
    max_connections=0,
    users=2,
    handshakes=0,
    crowded_out=0,
    upgrades_refused={"bad_room": 1},
    rooms=1,
    messages_in=2,
    messages_out=4,
    messages_published=2,
    messages_dropped={"bad_json": 1},
    backlog=BacklogReport(bytes=0, held=0, holds=0),
    send_queues=SendQueuesReport(clients=0, bytes=0),
    presence=PresenceReport(watched_rooms=1, registrations=2, held_users=3, peers=1),
    heartbeat_timeouts=0,
    sessions_failed=0,
    redis=RedisReport(
        subscriber="up",
        publisher="up",
        subscribed=True,
        channels=3,
        reconnects=0,
        waiting_to_publish=0,
        echoes_dropped=2,
        proof_age_seconds=0.1,
        proof_round_trip_ms=None,
        proofs_failed=0,
    ),
    keys=KeysReport(age_seconds=7.5, failures=2),
    largest_rooms={"lobby": 3},
)
"""A report that tells all there is."""
FULL_FIELDS: dict[str, Any] = msgspec.to_builtins(FULL_REPORT)
