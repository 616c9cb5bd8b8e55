"""What a pod tells about itself, as it stands on Redis.

May live here: the shape of a report, and what of a report that another version wrote can be used.
Must not know where reports are kept, nor what a pod is.

A field that is added later has the default UNSET: an older pod does not report it, and it is then
left out of that pod's entry in the stats. Fields without a default are what the totals are made of.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from .distinct import HASH_BITS
from .errors import BadReport

MAX_REPORT_BYTES = 256 * 1024
"""More than a hundred rooms with the longest of names, and all else, take."""

Count = Annotated[int, Meta(ge=0, le=2**48)]
"""Bounded, so that JSON in every language holds the sum over all pods."""


class RoomSample(Struct, kw_only=True):
    """A `distinct.DistinctSample` of the rooms of a pod."""

    level: Annotated[int, Meta(ge=0, le=HASH_BITS)]
    hashes: list[Annotated[int, Meta(ge=0, lt=2**HASH_BITS)]]


class BacklogReport(Struct, kw_only=True):
    """How far a pod is behind."""

    bytes: Count | UnsetType = UNSET
    held: Count | UnsetType = UNSET
    holds: Count | UnsetType = UNSET


class SendQueuesReport(Struct, kw_only=True):
    """What waits for clients that do not keep up."""

    clients: Count | UnsetType = UNSET
    bytes: Count | UnsetType = UNSET


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


class PodReport(Struct, kw_only=True):
    """Everything a pod tells of itself."""

    pod_id: str
    worker: str | UnsetType = UNSET
    host: str | UnsetType = UNSET
    pid: Count | UnsetType = UNSET
    uptime_seconds: float | UnsetType = UNSET
    ready: bool | UnsetType = UNSET
    draining: bool | UnsetType = UNSET
    connections: Count
    max_connections: Count | UnsetType = UNSET
    handshakes: Count | UnsetType = UNSET
    upgrades_refused: dict[str, Count] | UnsetType = UNSET
    rooms: Count | UnsetType = UNSET
    messages_in: Count
    messages_out: Count
    messages_published: Count
    messages_dropped: dict[str, Count]
    backlog: BacklogReport | UnsetType = UNSET
    send_queues: SendQueuesReport | UnsetType = UNSET
    heartbeat_timeouts: Count | UnsetType = UNSET
    redis: RedisReport | UnsetType = UNSET
    largest_rooms: dict[str, Count]
    room_sample: RoomSample

    def entry(self) -> dict[str, Any]:
        """What the stats show of this pod alone, as plain JSON values."""
        entry: dict[str, Any] = msgspec.to_builtins(self)
        del entry["largest_rooms"], entry["room_sample"]  # for the totals only
        return entry


_decoder = msgspec.json.Decoder(PodReport)


def encode_report(report: PodReport) -> bytes:
    """A report as JSON in UTF-8."""
    return msgspec.json.encode(report)


def parse_report(text: bytes) -> PodReport:
    """Read a report; what an unknown version says besides is ignored. Raises BadReport."""
    if len(text) > MAX_REPORT_BYTES:
        raise BadReport(f"it has {len(text)} bytes")
    try:
        text.decode()
        return _decoder.decode(text)
    except UnicodeDecodeError:
        raise BadReport("it is not UTF-8") from None
    except RecursionError:
        raise BadReport("the JSON is nested too deeply") from None
    except msgspec.DecodeError as error:
        raise BadReport(str(error)) from None
