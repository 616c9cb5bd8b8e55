"""The sum of many pods' reports: the stats of a cluster.

May live here: how reports are added up. Must not know where they come from.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from .report import PodReport

_SUMMED = ("rooms", "connections", "messages_in", "messages_out", "messages_published")


class Summary:
    """The sum of reports, which are added one by one."""

    def __init__(self) -> None:
        self._sums: Counter[str] = Counter(dict.fromkeys(_SUMMED, 0))
        self._dropped: Counter[str] = Counter()
        self._members: Counter[str] = Counter()
        self._entries: list[dict[str, Any]] = []

    def add(self, report: PodReport) -> None:
        """Add the report of a pod."""
        for name in _SUMMED:
            self._sums[name] += getattr(report, name)
        self._dropped.update(report.messages_dropped)
        self._members.update(report.largest_rooms)
        self._entries.append(report.entry())

    def totals(self) -> dict[str, Any]:
        """The sums over all pods. A room that is on two of them counts twice."""
        return {
            "pods": len(self._entries),
            **self._sums,
            "messages_dropped": dict(self._dropped),
        }

    def largest_rooms(self, count: int) -> list[dict[str, Any]]:
        """The rooms with the most members on all pods together, at most `count`, largest first."""
        ranking = sorted(self._members.items(), key=lambda item: (-item[1], item[0]))
        return [{"room": room, "members": members} for room, members in ranking[:count]]

    def pods(self) -> list[dict[str, Any]]:
        """The entry of each pod, in the order in which they were added."""
        return self._entries
