"""The store: the reports of all pods of a cluster on Redis.

    write ─→ SET {prefix}:pod:{id}, with an expiry; SADD {prefix}:pods
    read ─→ SMEMBERS {prefix}:pods ─→ GET each, in batches ─→ take

Redis alone decides when a report is too old: no machine's clock matters.

May live here: keys, expiries and commands. Must not know what is in a report.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NoReturn

import hiredis

from ..broker.client import Client
from ..broker.connection import Reply
from ..broker.endpoint import Endpoint
from ..errors import BadReport
from ..logs.logger import RateLimitedWarning
from ..protocol.channels import RedisNames
from .report import MAX_REPORT_BYTES, PodReport, encode_report, parse_report

LIFETIME_INTERVALS = 5
"""The intervals without a report after which a pod is gone from the stats."""

BATCH = 32
"""The reports read at once: some 3 ms, after which everything else gets a turn."""

PATIENCE_SECONDS = 0.7
"""The wait for an answer of Redis, so that a request for the stats is answered in a second."""

REBUILD_SECONDS = 10.0
"""The interval at which a server that takes no reports is left: its name may lead to another."""


class ReportStore:
    """Writes and reads the reports of all pods, over a connection of its own.

    Every call raises OSError if Redis is away, does not answer within `PATIENCE_SECONDS`, or
    answers nonsense. It raises hiredis.ReplyError if Redis refuses, which is logged once.
    `on_read_only(refusal)` is called for each write that is refused because the server is a
    replica.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        names: RedisNames,
        *,
        client_name: str,
        interval: float,
        timeout: float,
        on_read_only: Callable[[str], None],
    ) -> None:
        self._endpoint = endpoint
        self._names = names
        self._lifetime_ms = str(int(interval * LIFETIME_INTERVALS * 1000))
        self._on_read_only = on_read_only
        self._client = Client(
            endpoint, name=client_name, timeout=timeout, patience=PATIENCE_SECONDS
        )
        self._rebuilt_at = float("-inf")
        self._unreadable = RateLimitedWarning()
        self._in_a_cluster = RateLimitedWarning()

    async def start(self, on_up: Callable[[], None]) -> None:
        """Begin to connect, and return once the first attempt has ended, within a second.

        `on_up` is called for each connection that is ready.
        """
        self._client.start(on_up)
        await self._client.has_tried()

    async def close(self) -> None:
        """End the connection."""
        await self._client.close()

    async def write(self, report: PodReport) -> None:
        """Store a pod's report until its lifetime is over."""
        if self._client.link.in_a_cluster:
            # Each node keeps what hashes to it: some would take the reports, and tell none.
            self._in_a_cluster.log(
                "Redis %s is a node of a Cluster: messages between pods cross there, but it does "
                "not keep their stats, and each pod tells its own only; for those of all pods let "
                "REDIS_URL lead to a Redis without cluster-enabled",
                self._endpoint,
            )
            raise ConnectionError("Redis is a node of a Cluster")
        pod_id = report.pod_id.encode()
        key, pods = self._names.pod_key(pod_id), self._names.pods_key
        self._look_at(
            "to keep the stats",
            await self._client.ask(
                ("SET", key, encode_report(report), "PX", self._lifetime_ms),
                ("SADD", pods, pod_id),
                ("PEXPIRE", pods, self._lifetime_ms),
            ),
        )

    async def read(self, take: Callable[[PodReport], None]) -> int:
        """Call `take` with the report of each living pod; return the number of unreadable ones.

        They come in the order of their pod IDs. IDs of dead pods are removed from Redis.
        """
        unreadable: dict[bytes, BadReport] = {}
        pod_ids = await self._pod_ids()
        for start in range(0, len(pod_ids), BATCH):
            for pod_id, text in await self._fetch(pod_ids[start : start + BATCH]):
                try:
                    report = parse_report(text)
                    if report.pod_id.encode() != pod_id:
                        raise BadReport(f"it is that of pod {report.pod_id!r:.200}")
                except BadReport as reason:
                    unreadable[pod_id] = reason
                else:
                    take(report)
        if unreadable:
            pod_id, why = next(iter(unreadable.items()))
            self._unreadable.log(
                "Left %d reports out of the stats, that of %.200r among them: %.200s",
                len(unreadable),
                pod_id,
                why,
            )
        else:
            self._unreadable.over("The reports of all pods can be read")
        return len(unreadable)

    async def _pod_ids(self) -> list[bytes]:
        replies = await self._client.ask(("SMEMBERS", self._names.pods_key))
        self._look_at("to tell the stats", replies)
        [pod_ids] = replies
        if not isinstance(pod_ids, list) or not all(isinstance(one, bytes) for one in pod_ids):
            self._is_nonsense("SMEMBERS", pod_ids)
        return sorted(pod_ids)

    async def _fetch(self, pod_ids: list[bytes]) -> list[tuple[bytes, bytes]]:
        """The ID and the undecoded report of each of these pods that has one."""
        # Not MGET, whose answer others could make as large as they like.
        replies = await self._client.ask(
            *(("GETRANGE", self._names.pod_key(one), "0", str(MAX_REPORT_BYTES)) for one in pod_ids)
        )
        # What is no text at all is nobody's report.
        texts = [b"" if str(reply).startswith("WRONGTYPE") else reply for reply in replies]
        self._look_at("to tell the stats", texts)
        found: list[tuple[bytes, bytes]] = []
        dead: list[bytes] = []
        for pod_id, text in zip(pod_ids, texts, strict=True):
            if not isinstance(text, bytes):
                self._is_nonsense("GETRANGE", text)
            if text:
                found.append((pod_id, text))
            else:
                dead.append(pod_id)
        if dead:
            await self._client.ask(("SREM", self._names.pods_key, *dead))
        return found

    async def remove(self, pod_id: str) -> None:
        """Remove a pod's report, and the pod from the stats, at once."""
        one = pod_id.encode()
        await self._client.ask(
            ("DEL", self._names.pod_key(one)), ("SREM", self._names.pods_key, one)
        )

    # -- what Redis says -------------------------------------------------------------------

    def _look_at(self, subject: str, replies: list[Reply]) -> None:
        """Raise the first of the replies that is an error, and log it."""
        error = next((reply for reply in replies if isinstance(reply, hiredis.ReplyError)), None)
        if error is None:
            self._client.link.accepted(subject)
            return
        self._client.link.refused(subject, error)
        text = str(error)
        if text.startswith("READONLY"):
            self._on_read_only(text)
            now = time.monotonic()
            if now - self._rebuilt_at >= REBUILD_SECONDS:
                self._rebuilt_at = now
                self._client.link.rebuild(text)
        raise error

    def _is_nonsense(self, command: str, reply: Reply) -> NoReturn:
        reason = f"it answered {command} with {reply!r:.100}"
        self._client.link.rebuild(reason)
        raise ConnectionError(reason)
