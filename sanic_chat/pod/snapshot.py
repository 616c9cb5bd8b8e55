"""The snapshot of a pod: its report in the stats, and its metrics, which have the report in them.

May live here: which part each figure comes from. Must not know where reports and metrics go.
"""

from __future__ import annotations

import os
import socket
import time
from typing import NamedTuple, Protocol

from msgspec import UNSET, UnsetType

from ..protocol.personal_room import PERSONAL
from ..stats.metrics import HistogramMetrics, ProcessMetrics, WorkerMetrics
from ..stats.report import (
    BacklogReport,
    KeysReport,
    PodReport,
    PresenceReport,
    RedisReport,
    SendQueuesReport,
)
from .pod import Pod
from .readiness import why_unready
from .sampler import Sampler

REPORTED_ROOMS = 100
"""The rooms that a report names, the largest first."""


class KeysState(Protocol):
    """The keys that a pod's tokens are checked with, as far as they are told of."""

    failures: int

    @property
    def age(self) -> float | None:
        """The seconds since they were read, if they are read anew."""


class RoomCount(NamedTuple):
    """The rooms of a pod."""

    number: int
    largest: dict[str, int]
    """The members of each of the `REPORTED_ROOMS` largest that are nobody's personal room: these
    would tell who is online, to everybody who may see the stats."""


def build_report(
    pod: Pod,
    *,
    worker: str,
    crowded_out: int,
    rooms: RoomCount | None = None,
    version: str | UnsetType = UNSET,
    settings: str | UnsetType = UNSET,
    auth: bool | UnsetType = UNSET,
    keys: KeysState | None = None,
) -> PodReport:
    """Make the report of a pod, as it is now, but for `rooms` that were counted before.

    `version`, `settings` (a fingerprint) and `auth` (whether tokens are asked for) tell whether
    pods are alike; `keys` are those of its tokens, if it asks for any.
    """
    broker = pod.broker.stats()
    rooms = rooms or count_rooms(pod)
    dropped = {
        **pod.dropped,
        "session_closed": pod.hub.undelivered,
        "pod_behind": pod.broker_events.overload.dropped,
        **broker.dropped,
    }
    report = PodReport(
        pod_id=pod.id,
        worker=worker,
        host=socket.gethostname(),
        pid=os.getpid(),
        version=version,
        settings=settings,
        auth=auth,
        uptime_seconds=round(time.monotonic() - pod.started_at, 1),
        ready=why_unready(pod) is None,
        draining=pod.draining,
        connections=len(pod.hub.everyone.members),
        max_connections=pod.admission.limit,
        users=len(pod.users),
        handshakes=pod.admission.handshakes,
        crowded_out=crowded_out,
        upgrades_refused=dict(pod.refused),
        rooms=rooms.number,
        messages_in=pod.client_messages.published,
        messages_out=pod.hub.deliveries,
        messages_published=broker.published,
        messages_dropped={reason: count for reason, count in dropped.items() if count},
        backlog=BacklogReport(
            bytes=pod.hub.held_bytes,
            held=len(pod.backpressure.held),
            holds=pod.backpressure.holds,
        ),
        send_queues=SendQueuesReport(
            clients=len(pod.send_queues), bytes=pod.send_queues.held_bytes
        ),
        presence=PresenceReport(**pod.presence.stats()._asdict()),
        heartbeat_timeouts=pod.heartbeat.timeouts,
        sessions_failed=pod.sessions_failed,
        redis=RedisReport(
            subscriber=broker.subscriber,
            publisher=broker.publisher,
            subscribed=broker.subscribed,
            channels=broker.channels,
            reconnects=broker.reconnects,
            waiting_to_publish=broker.waiting_to_publish,
            echoes_dropped=broker.echoes + pod.broker_events.reordered_echoes,
            proof_age_seconds=_rounded(broker.proof_age, 1, 3),
            proof_round_trip_ms=_rounded(broker.round_trip, 1000, 3),
            proofs_failed=broker.proofs_failed,
        ),
        largest_rooms=rooms.largest,
    )
    if keys is not None:
        report.keys = KeysReport(age_seconds=_rounded(keys.age, 1, 1), failures=keys.failures)
    return report


def build_metrics(
    pod: Pod,
    report: PodReport,
    sampler: Sampler,
    *,
    version: str,
    process: ProcessMetrics,
    serving_since: float | None,
    descriptor_shortages: int,
) -> WorkerMetrics:
    """Make the metrics of a pod of which this is the report."""
    trouble = why_unready(pod)
    broker = pod.broker
    histograms = {
        "proof_round_trip": pod.broker_events.round_trips,
        "handshake": pod.admission.seconds,
        "event_loop_lag": sampler.loop_lag,
        "fan_out_turn": sampler.fan_out_turns,
        "send_queue": sampler.send_queues,
    }
    return WorkerMetrics(
        version=version,
        process=process,
        report=report,
        unready=None if trouble is None else trouble.code,
        serving_since=serving_since,
        is_away=broker.outage.is_on,
        fan_outs=pod.hub.delivered,
        closes=pod.closes.counts(),
        reconnects={
            "publish": broker.publisher.link.reconnects,
            "subscribe": broker.subscriber.link.reconnects,
        },
        descriptor_shortages=descriptor_shortages,
        histograms={name: HistogramMetrics.of(one) for name, one in histograms.items()},
    )


def count_rooms(pod: Pod) -> RoomCount:
    """Count the rooms of a pod, and find the largest. It looks at each of them.

    Personal rooms are counted and never named: it would tell who is there.
    """
    channels, prefix = pod.hub.channels, pod.names.room_prefix
    # In one pass, and half the time of `nlargest` with a key: all else waits for it.
    count = least = 0
    largest: list[tuple[int, str]] = []
    for name, channel in channels.items():
        if name.startswith(prefix):
            count += 1
            room = channel.room or ""
            if len(channel.members) > least and not room.startswith(PERSONAL):
                largest.append((len(channel.members), room))
                if len(largest) == 10 * REPORTED_ROOMS:
                    largest = sorted(largest, reverse=True)[:REPORTED_ROOMS]
                    least = largest[-1][0]
    ranking = sorted(largest, reverse=True)[:REPORTED_ROOMS]
    return RoomCount(count, {room: members for members, room in ranking})


def _rounded(seconds: float | None, factor: int, digits: int) -> float | None:
    return None if seconds is None else round(seconds * factor, digits)
