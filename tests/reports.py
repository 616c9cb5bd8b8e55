"""Pods' reports for tests that have no pod."""

from __future__ import annotations

from typing import Any

from sanic_chat.report import PodReport, RoomSample


def pod_report(pod_id: str, **fields: Any) -> PodReport:
    """A report of a pod without clients, with nothing in it but what every report has."""
    return PodReport(
        **{
            "pod_id": pod_id,
            "connections": 0,
            "messages_in": 0,
            "messages_out": 0,
            "messages_published": 0,
            "messages_dropped": {},
            "largest_rooms": {},
            "room_sample": RoomSample(level=0, hashes=[]),
            **fields,
        }
    )
