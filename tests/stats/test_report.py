"""A pod's report as another program, or another version of this one, may have written it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from sanic_chat.errors import BadReport
from sanic_chat.stats.report import (
    MAX_REPORT_BYTES,
    RedisReport,
    encode_report,
    parse_report,
)

from ..support.reports import FULL_FIELDS, FULL_REPORT, pod_report

LEAST = set(msgspec.to_builtins(pod_report("pod-1")))


def test_it_is_read_as_it_was_written():
    """What one pod writes, the others read."""
    assert set(FULL_FIELDS) == {field.name for field in msgspec.structs.fields(FULL_REPORT)}
    assert parse_report(encode_report(FULL_REPORT)) == FULL_REPORT


def test_what_an_older_version_does_not_tell_is_left_out():
    """It counts in the totals, and its entry claims nothing that it has not said."""
    report = parse_report(encode_report(pod_report("old", connections=2, redis=RedisReport())))
    assert report.entry() == {
        "pod_id": "old",
        "connections": 2,
        "rooms": 0,
        "messages_in": 0,
        "messages_out": 0,
        "messages_published": 0,
        "messages_dropped": {},
        "redis": {},
    }


def test_what_a_newer_version_tells_besides_is_ignored():
    """Nothing that is not known gets into the answer."""
    newer = {**FULL_FIELDS, "moods": {"bytes": 1}, "redis": {**FULL_FIELDS["redis"], "shards": 3}}
    assert parse_report(json.dumps(newer).encode()) == FULL_REPORT


def test_what_an_older_version_told_besides_is_ignored():
    """Reports once had a sample of their rooms; such a one counts all the same."""
    older = {**FULL_FIELDS, "room_sample": {"level": 3, "hashes": [1, 2**40]}}
    assert parse_report(json.dumps(older).encode()) == FULL_REPORT


@pytest.mark.parametrize("name", sorted(LEAST))
def test_what_the_totals_are_made_of_must_be_there(name: str):
    """A report that cannot be added up is none."""
    fields = {key: value for key, value in FULL_FIELDS.items() if key != name}
    with pytest.raises(BadReport, match=name):
        parse_report(json.dumps(fields).encode())


@pytest.mark.parametrize(
    "text",
    [
        b"", b"null", b"7", b"[]", b"{}", b"pod", b"\xff\xfe", b'{"pod_id": "\xff"}',
        b'{"pod_id": "\\ud800"}', b"[" * 100_000, b'{"x": ' + b"[" * 100_000,
        b" " * (MAX_REPORT_BYTES + 1),
    ],
    ids=lambda text: repr(text[:20]),
)  # fmt: skip
def test_what_is_no_report(text: bytes):
    """It is refused, with a reason, and nothing else is raised."""
    with pytest.raises(BadReport, match=r"."):
        parse_report(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"connections": -1},
        {"connections": 1.5},
        {"connections": 2**63},
        {"messages_in": 10**100},
        {"messages_dropped": {"bad_json": "many"}},
        {"largest_rooms": [["lobby", 1]]},
        {"rooms": -1},
        {"uptime_seconds": "long"},
        {"redis": {"channels": None}},
    ],
    ids=str,
)
def test_values_that_would_spoil_the_totals(changes: dict[str, Any]):
    """A value out of its range makes the report unreadable: it cannot be trusted."""
    with pytest.raises(BadReport):
        parse_report(json.dumps({**FULL_FIELDS, **changes}).encode())
