"""The shape of what pods say to each other."""

from __future__ import annotations

import json

import pytest

from sanic_chat.errors import BadEnvelope
from sanic_chat.protocol.control import canary_envelope, control_fields, parse_control
from sanic_chat.protocol.envelope import envelope_head


def test_an_envelope_is_read_as_it_was_made() -> None:
    """Its sender and each kind come out, and it has no data, which clients would be shown."""
    envelope = envelope_head("p-\u00e4") + control_fields("ask", b'{"id": 1}')
    assert parse_control(envelope) == ("p-\u00e4", {"ask": b'{"id": 1}'})
    assert "data" not in json.loads(envelope)


def test_a_canary_is_no_echo() -> None:
    """It begins otherwise than all else that its pod says, and no two are the same."""
    canary = canary_envelope("p-1", 4, b"{}")
    assert not canary.startswith(envelope_head("p-1"))
    assert canary != canary_envelope("p-1", 5, b"{}")
    assert parse_control(canary) == ("p-1", {"canary": b"{}", "number": b"4"})


def test_no_utf8() -> None:
    """It is refused even where nobody reads it: it could reach a client, which would close."""
    with pytest.raises(BadEnvelope):
        parse_control(b'{"pod_id":"p-1","stream":{"info":"\xff"}}')
