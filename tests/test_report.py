"""A pod's report as another program, or another version of this one, may have written it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
import ujson
from hypothesis import given
from hypothesis import strategies as st

from sanic_chat.errors import BadReport
from sanic_chat.report import (
    MAX_REPORT_BYTES,
    BacklogReport,
    RedisReport,
    RoomSample,
    SendQueuesReport,
    encode_report,
    parse_report,
)
from sanic_chat.stats import Summary

from .reports import pod_report

FULL = pod_report(
    "pod-1",
    worker="Sanic-Server-0-0",
    host="host",
    pid=1,
    uptime_seconds=1.5,
    ready=True,
    draining=False,
    connections=3,
    max_connections=0,
    handshakes=0,
    upgrades_refused={"bad_room": 1},
    rooms=1,
    messages_in=2,
    messages_out=4,
    messages_published=2,
    messages_dropped={"bad_json": 1},
    backlog=BacklogReport(bytes=0, held=0, holds=0),
    send_queues=SendQueuesReport(clients=0, bytes=0),
    heartbeat_timeouts=0,
    redis=RedisReport(
        subscriber="up",
        publisher="up",
        subscribed=True,
        channels=3,
        reconnects=0,
        waiting_to_publish=0,
        echoes_dropped=2,
        proof_age_seconds=0.1,
        proof_round_trip_ms=None,
        proofs_failed=0,
    ),
    largest_rooms={"lobby": 3},
    room_sample=RoomSample(level=0, hashes=[1]),
)
FIELDS: dict[str, Any] = msgspec.to_builtins(FULL)
LEAST = set(msgspec.to_builtins(pod_report("pod-1")))


def test_it_is_read_as_it_was_written():
    """What one pod writes, the others read."""
    assert set(FIELDS) == {field.name for field in msgspec.structs.fields(FULL)}
    assert parse_report(encode_report(FULL)) == FULL


def test_what_an_older_version_does_not_tell_is_left_out():
    """It counts in the totals, and its entry claims nothing that it has not said."""
    report = parse_report(encode_report(pod_report("old", connections=2, redis=RedisReport())))
    assert report.entry() == {
        "pod_id": "old",
        "connections": 2,
        "messages_in": 0,
        "messages_out": 0,
        "messages_published": 0,
        "messages_dropped": {},
        "redis": {},
    }


def test_what_a_newer_version_tells_besides_is_ignored():
    """Nothing that is not known gets into the answer."""
    newer = {**FIELDS, "moods": {"bytes": 1}, "redis": {**FIELDS["redis"], "shards": 3}}
    assert parse_report(json.dumps(newer).encode()) == FULL


@pytest.mark.parametrize("name", sorted(LEAST))
def test_what_the_totals_are_made_of_must_be_there(name: str):
    """A report that cannot be added up is none."""
    fields = {key: value for key, value in FIELDS.items() if key != name}
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
        {"room_sample": {"level": 10**9, "hashes": [1]}},
        {"room_sample": {"level": 0, "hashes": [2**60]}},
        {"uptime_seconds": "long"},
        {"redis": {"channels": None}},
    ],
    ids=str,
)
def test_values_that_would_spoil_the_totals(changes: dict[str, Any]):
    """A value out of its range makes the report unreadable: it cannot be trusted."""
    with pytest.raises(BadReport):
        parse_report(json.dumps({**FIELDS, **changes}).encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), JSON, max_size=3))
def test_any_value_is_read_or_refused(changes: dict[str, Any]):
    """Whatever stands in the fields, the sum with a good report can be answered."""
    summary = Summary()
    summary.add(FULL)
    try:
        summary.add(parse_report(json.dumps({**FIELDS, **changes}).encode()))
    except BadReport:
        assert summary.totals()["connections"] == 3
    assert ujson.dumps([summary.totals(), summary.largest_rooms(10), summary.pods()])
