"""Metrics as one process writes them and another one reads them."""

from __future__ import annotations

import msgspec
import pytest

from sanic_chat.errors import BadReport
from sanic_chat.process.slots import MAX_BYTES
from sanic_chat.stats.metrics import encode_metrics, parse_metrics
from sanic_chat.stats.worker_families import DROP_REASONS, REFUSAL_CODES

from ..support.metrics import main_metrics, worker_metrics
from ..support.reports import FULL_REPORT


@pytest.mark.parametrize("metrics", [worker_metrics(), main_metrics()], ids=["worker", "main"])
def test_they_are_read_as_they_were_written(metrics):
    assert parse_metrics(encode_metrics(metrics)) == metrics


def test_another_version_is_read_as_far_as_it_goes():
    """What is new is ignored, and so is a field of a part that is new."""
    newer = msgspec.to_builtins(worker_metrics())
    newer["moods"] = {"good": 1}
    newer["process"]["threads"] = 3
    newer["report"]["moods"] = 1
    assert parse_metrics(msgspec.msgpack.encode(newer)) == worker_metrics()


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", msgspec.msgpack.encode({"type": "other"}), b"\x80", b"\xff" * 99]
)
def test_what_is_none(content):
    """It is refused with a reason, and nothing else is raised."""
    with pytest.raises(BadReport, match=r"."):
        parse_metrics(content)


def test_the_longest_fit_into_a_slot():
    """With every reason and code that there is, and the largest counts, they take a fraction."""
    most = 2**48
    report = msgspec.structs.replace(
        FULL_REPORT,
        host="h" * 255,
        pod_id="p" * 80,
        messages_dropped=dict.fromkeys(DROP_REASONS, most),
        upgrades_refused=dict.fromkeys(REFUSAL_CODES, most),
        largest_rooms={},
    )
    closes = {
        by: {str(code): most for code in range(1000, 1017)}
        for by in ("server", "client", "silence", "nobody")
    }
    assert len(encode_metrics(worker_metrics(report=report, closes=closes))) < MAX_BYTES / 2
