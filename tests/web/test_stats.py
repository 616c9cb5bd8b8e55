"""The stats as an answer of HTTP."""

from __future__ import annotations

import pytest

from ..support.apps import PREFIX


@pytest.mark.parametrize("prefix", [PREFIX, ""], ids=["prefix", "no prefix"])
def test_stats(client, prefix):
    """The stats are JSON that nobody may cache."""
    _, response = client.get(prefix + "/ws/stats")
    assert response.status == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    stats = response.json
    assert stats["complete"] is True
    assert stats["answered_by"] in [pod["pod_id"] for pod in stats["pods"]]
    assert set(stats["totals"]) == {
        "pods", "rooms", "connections", "messages_in", "messages_out",
        "messages_published", "messages_dropped",
    }  # fmt: skip
