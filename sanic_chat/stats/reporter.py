"""The reporter: it keeps this pod's report on Redis, and answers requests for the stats.

    (once an interval) ─→ report() ─→ store.write
    answer ─→ store.write ─→ store.read ─→ summary ─→ the answer, shared by all that wait for it

May live here: when reports are written and read. Must not know where they are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import hiredis

from .report import PodReport
from .store import ReportStore
from .summary import Summary

READ_SECONDS = 5.0
"""The time that reading all reports may take; beyond it a pod answers for itself alone."""


class Reporter:
    """Writes a pod's report every `interval` seconds, and answers requests for the stats.

    An answer names the `rooms` rooms with the most members.
    """

    def __init__(
        self, store: ReportStore, *, report: Callable[[], PodReport], interval: float, rooms: int
    ) -> None:
        self._store = store
        self._report = report
        self._interval = interval
        self._rooms = rooms
        self._task: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[dict[str, Any]] | None = None
        self._is_closing = False
        self._due = asyncio.Event()

    async def start(self) -> None:
        """Connect, or wait a second for Redis, and begin to report."""
        await self._store.start(on_up=self._due.set)
        self._task = asyncio.get_running_loop().create_task(self._run(), name="stats-reporter")

    async def known_pods(self) -> list[str]:
        """Return the IDs of the pods whose reports there are; none if Redis does not tell."""
        pod_ids: list[str] = []
        with suppress(hiredis.ReplyError, OSError):
            async with asyncio.timeout(READ_SECONDS):
                await self._store.read(lambda report: pod_ids.append(report.pod_id))
        return pod_ids

    async def close(self, timeout: float) -> None:
        """Stop reporting, and take this pod's report off Redis within `timeout` seconds.

        Answers that are waited for come before it returns. Never raises for Redis: a report that
        stays expires.
        """
        self._is_closing = True
        self._due.set()
        if self._task is not None:
            await asyncio.wait([self._task])  # a write to Redis is waited for within a second
        with suppress(hiredis.ReplyError, OSError):  # it expires
            async with asyncio.timeout(timeout):
                await self._store.remove(self._report().pod_id)
        await self._store.close()
        if self._reading is not None:
            await asyncio.wait([self._reading])  # without a connection it does not take long

    async def answer(self) -> dict[str, Any]:
        """Return the stats of the whole cluster, or of this pod alone without Redis.

        Callers at the same time share one answer, which a cancelled one does not take from the
        others. It takes less than a second if Redis does not answer, and at most `READ_SECONDS` if
        Redis is slow.

        `complete` is true if the stats are those of all pods. It is false without Redis, and if
        the reports of some pods, `unreadable_pods` of them, cannot be read.
        """
        if self._reading is None or self._reading.done():
            self._reading = asyncio.get_running_loop().create_task(self._read(), name="stats-read")
        return await asyncio.shield(self._reading)  # the others wait for it too

    async def _read(self) -> dict[str, Any]:
        own = self._report()
        summary, unreadable = Summary(), 0
        try:
            async with asyncio.timeout(READ_SECONDS):
                await self._store.write(own)
                unreadable = await self._store.read(summary.add)
            complete = not unreadable
        except (hiredis.ReplyError, OSError):
            summary = Summary()
            summary.add(own)
            complete = False
        return {
            "answered_by": own.pod_id,
            "complete": complete,
            "unreadable_pods": unreadable,
            "totals": summary.totals(),
            "largest_rooms": summary.largest_rooms(self._rooms),
            "pods": summary.pods(),
        }

    async def _run(self) -> None:
        while not self._is_closing:
            self._due.clear()
            with suppress(hiredis.ReplyError, OSError):  # the next one is the retry
                await self._store.write(self._report())
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._due.wait()
