"""The report of a pod, as it stands on Redis.

May live here: the shape of a report, and how far one of another version can be used. Must not know
where reports are kept, nor what a pod is.

A field that is added later has the default UNSET: an older pod does not report it, and its entry in
the stats leaves it out. Totals are made of fields without a default.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from ..errors import BadReport

MAX_REPORT_BYTES = 256 * 1024
"""The bound of a report; a hundred rooms with the longest of names, and all else, take less."""

Count = Annotated[int, Meta(ge=0, le=2**48)]
"""A count, bounded so that JSON in every language holds the sum over all pods."""


class BacklogReport(Struct, kw_only=True):
    """The messages and bytes that a pod has not passed on yet."""

    bytes: Count | UnsetType = UNSET
    held: Count | UnsetType = UNSET
    holds: Count | UnsetType = UNSET


class SendQueuesReport(Struct, kw_only=True):
    """The send queues of clients that do not keep up."""

    clients: Count | UnsetType = UNSET
    bytes: Count | UnsetType = UNSET


class PresenceReport(Struct, kw_only=True):
    """The sizes of what a pod keeps to tell who is in a room."""

    watched_rooms: Count | UnsetType = UNSET
    registrations: Count | UnsetType = UNSET
    held_users: Count | UnsetType = UNSET
    peers: Count | UnsetType = UNSET


class RedisReport(Struct, kw_only=True):
    """A pod's links to Redis."""

    subscriber: str | UnsetType = UNSET
    publisher: str | UnsetType = UNSET
    subscribed: bool | UnsetType = UNSET
    channels: Count | UnsetType = UNSET
    reconnects: Count | UnsetType = UNSET
    waiting_to_publish: Count | UnsetType = UNSET
    echoes_dropped: Count | UnsetType = UNSET
    proof_age_seconds: float | UnsetType | None = UNSET
    proof_round_trip_ms: float | UnsetType | None = UNSET
    proofs_failed: Count | UnsetType = UNSET


class KeysReport(Struct, kw_only=True):
    """The keys that a pod's tokens are checked with."""

    age_seconds: float | UnsetType | None = UNSET
    failures: Count | UnsetType = UNSET


class PodReport(Struct, kw_only=True):
    """All that a pod tells of itself."""

    pod_id: str
    worker: str | UnsetType = UNSET
    host: str | UnsetType = UNSET
    pid: Count | UnsetType = UNSET
    version: str | UnsetType = UNSET
    settings: str | UnsetType = UNSET
    auth: bool | UnsetType = UNSET
    uptime_seconds: float | UnsetType = UNSET
    ready: bool | UnsetType = UNSET
    draining: bool | UnsetType = UNSET
    connections: Count
    max_connections: Count | UnsetType = UNSET
    users: Count | UnsetType = UNSET
    handshakes: Count | UnsetType = UNSET
    crowded_out: Count | UnsetType = UNSET
    upgrades_refused: dict[str, Count] | UnsetType = UNSET
    rooms: Count
    messages_in: Count
    messages_out: Count
    messages_published: Count
    messages_dropped: dict[str, Count]
    backlog: BacklogReport | UnsetType = UNSET
    send_queues: SendQueuesReport | UnsetType = UNSET
    presence: PresenceReport | UnsetType = UNSET
    heartbeat_timeouts: Count | UnsetType = UNSET
    sessions_failed: Count | UnsetType = UNSET
    redis: RedisReport | UnsetType = UNSET
    keys: KeysReport | UnsetType = UNSET
    largest_rooms: dict[str, Count]

    def entry(self) -> dict[str, Any]:
        """The pod's own entry in the stats, in plain JSON values; fields that are UNSET are out."""
        entry: dict[str, Any] = msgspec.to_builtins(self)
        del entry["largest_rooms"]  # for the totals only
        return entry


_decoder = msgspec.json.Decoder(PodReport)


def encode_report(report: PodReport) -> bytes:
    """Encode a report as JSON in UTF-8."""
    return msgspec.json.encode(report)


def parse_report(text: bytes) -> PodReport:
    """Read a report. Unknown fields, of another version, are ignored. Raises BadReport."""
    if len(text) > MAX_REPORT_BYTES:
        raise BadReport(f"it has more than {MAX_REPORT_BYTES} bytes")
    try:
        text.decode()
        return _decoder.decode(text)
    except UnicodeDecodeError:
        raise BadReport("it is not UTF-8") from None
    except RecursionError:
        raise BadReport("the JSON is nested too deeply") from None
    except msgspec.DecodeError as error:
        raise BadReport(str(error)) from None
