"""The events that backends are told on Redis: their JSON."""

from __future__ import annotations

import json

from sanic_chat.errors import BadEnvelope
from sanic_chat.protocol import lifecycle
from sanic_chat.protocol.envelope import envelope_head, parse_envelope

HEAD = envelope_head('pod "1"')


def test_events() -> None:
    """Each is an object that names its pod."""
    assert json.loads(HEAD + lifecycle.opened('"ä\\""'.encode(), "id-1")) == {
        "pod_id": 'pod "1"',
        "event": "open",
        "user": 'ä"',
        "client_id": "id-1",
    }
    assert json.loads(HEAD + lifecycle.closed(b'"anna"', "id-1", 4001)) == {
        "pod_id": 'pod "1"',
        "event": "close",
        "user": "anna",
        "client_id": "id-1",
        "code": 4001,
    }
    assert json.loads(HEAD + lifecycle.pod_opened(7)) == {
        "pod_id": 'pod "1"',
        "event": "pod_open",
        "sessions": 7,
    }
    lost = lifecycle.pod_lost("pod-2", silent_seconds=10.25, told_by="pod-1")
    assert json.loads(lifecycle.OBJECT + lost) == {
        "event": "pod_lost",
        "pod_id": "pod-2",
        "silent_seconds": 10.2,
        "told_by": "pod-1",
    }


def test_they_are_no_envelopes() -> None:
    """A pod that gets one, by whatever mistake, shows it to nobody."""
    try:
        parse_envelope(HEAD + lifecycle.pod_opened(7))
    except BadEnvelope:
        return
    raise AssertionError("it was read")
