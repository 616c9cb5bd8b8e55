"""The sum of reports: whatever pods tell, it can be answered."""

from __future__ import annotations

import json
from typing import Any

import ujson
from hypothesis import given
from hypothesis import strategies as st

from sanic_chat.errors import BadReport
from sanic_chat.stats.report import parse_report
from sanic_chat.stats.summary import Summary

from ..support.reports import FULL_FIELDS, FULL_REPORT, pod_report

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(FULL_FIELDS)), JSON, max_size=3))
def test_any_value_is_read_or_refused(changes: dict[str, Any]):
    """Whatever stands in the fields, the sum with a good report can be answered."""
    summary = Summary()
    summary.add(FULL_REPORT)
    try:
        summary.add(parse_report(json.dumps({**FULL_FIELDS, **changes}).encode()))
    except BadReport:
        assert summary.totals()["connections"] == 3
    assert ujson.dumps([summary.totals(), summary.largest_rooms(10), summary.pods()])


def test_nobody() -> None:
    """Without a pod everything is nought, and there."""
    summary = Summary()
    assert summary.totals() == {
        "pods": 0,
        "rooms": 0,
        "connections": 0,
        "messages_in": 0,
        "messages_out": 0,
        "messages_published": 0,
        "messages_dropped": {},
    }
    assert (summary.largest_rooms(3), summary.pods()) == ([], [])


def test_two_pods() -> None:
    """Numbers and reasons are added up; each pod has an entry, in the order of the reports."""
    summary = Summary()
    for pod_id, connections, dropped in (
        ("one", 2, {"bad_json": 1, "slow_consumer": 5}),
        ("two", 40, {"bad_json": 2, "not_in_room": 3}),
    ):
        summary.add(pod_report(pod_id, connections=connections, rooms=1, messages_dropped=dropped))
    totals = summary.totals()
    assert (totals["pods"], totals["connections"], totals["rooms"]) == (2, 42, 2)
    assert totals["messages_dropped"] == {"bad_json": 3, "slow_consumer": 5, "not_in_room": 3}
    assert [entry["pod_id"] for entry in summary.pods()] == ["one", "two"]


def test_largest_rooms() -> None:
    """Members on all pods count. Rooms of one size come by name, and no more than asked for."""
    summary = Summary()
    summary.add(pod_report("one", largest_rooms={"lobby": 3, "b": 4, "tiny": 1}))
    summary.add(pod_report("two", largest_rooms={"lobby": 2, "a": 4}))
    assert summary.largest_rooms(3) == [
        {"room": "lobby", "members": 5},
        {"room": "a", "members": 4},
        {"room": "b", "members": 4},
    ]
