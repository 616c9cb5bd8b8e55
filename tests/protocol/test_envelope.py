"""What is published on Redis: what is read, and what is refused."""

from __future__ import annotations

import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanic_chat.errors import BadEnvelope
from sanic_chat.protocol.envelope import envelope_head, parse_envelope
from sanic_chat.protocol.message import MAX_SENDER_CHARACTERS

from ..support.messages import ID, KEYS, NO_JSON, TIMESTAMP, build


class TestParseEnvelope:
    def test_the_least(self):
        """By hand `data` is enough; the rest is filled in."""
        envelope = parse_envelope(b'{"data":{"text":"hi"}}')
        assert bytes(envelope.data) == b'{"text":"hi"}'
        assert (envelope.type, envelope.sender) == ("notification", "server")
        assert (envelope.pod_id, envelope.id, envelope.timestamp) == ("", "", "")

    def test_a_pods_envelope(self):
        """What a pod builds is read back, and begins with the pod's ID."""
        payload = envelope_head('pod"1') + build(b"[1]")[1:]
        assert list(json.loads(payload)) == ["pod_id", *KEYS]
        envelope = parse_envelope(payload)
        assert (envelope.pod_id, envelope.id, envelope.type) == ('pod"1', ID, "chat")
        assert (envelope.sender, envelope.timestamp) == ("anna", TIMESTAMP)
        assert bytes(envelope.data) == b"[1]"

    @pytest.mark.parametrize(
        "timestamp", [TIMESTAMP, "2026-02-05T00:00:00Z", "2026-02-05T00:00:00.123456789+01:00"]
    )
    def test_timestamps(self, timestamp: str):
        """An RFC 3339 date-time of others is kept."""
        assert (
            parse_envelope(msgspec.json.encode({"data": 1, "timestamp": timestamp})).timestamp
            == timestamp
        )

    @pytest.mark.parametrize(
        "payload",
        [
            pytest.param(b"", id="nothing"),
            pytest.param(b"hello", id="text"),
            pytest.param(b"[]", id="list"),
            pytest.param(b"{}", id="no data"),
            pytest.param(b'{"data":"\xff"}', id="no UTF-8"),
            pytest.param(b'{"data":1,"x":"\xc3"}', id="no UTF-8 in a key that nobody reads"),
            pytest.param(b'{"data":1,"type":"shout"}', id="unknown type"),
            pytest.param(b'{"data":1,"id":"7"}', id="id no UUID"),
            pytest.param(b'{"data":1,"id":7}', id="id a number"),
            pytest.param(b'{"data":1,"from":null}', id="from null"),
            pytest.param(b'{"data":1,"pod_id":1}', id="pod_id a number"),
            pytest.param(b'{"data":1,"timestamp":"today"}', id="timestamp a word"),
            pytest.param(b'{"data":1,"timestamp":1770249600}', id="timestamp a number"),
            pytest.param(b'{"data":1,"timestamp":"2026-02-05"}', id="timestamp a date"),
            pytest.param(b'{"data":1,"timestamp":"%b\\n"}' % TIMESTAMP.encode(), id="newline"),
            pytest.param(
                '{"data":1,"timestamp":"٢٠٢٦-02-05T00:00:00Z"}'.encode(), id="Arabic digits"
            ),
            pytest.param(
                b'{"data":1,"from":"%b"}' % (b"x" * (MAX_SENDER_CHARACTERS + 1)), id="long from"
            ),
            *(pytest.param(b'{"data":%b}' % case.values[0], id=case.id) for case in NO_JSON),
        ],
    )
    def test_what_cannot_be_read(self, payload: bytes):
        """What is no envelope is refused with a reason, never with another error."""
        with pytest.raises(BadEnvelope, match=r"\w+.* \w+"):
            parse_envelope(payload)

    @given(at=st.integers(0, 10**6), byte=st.integers(0, 255), more=st.binary(max_size=3))
    def test_one_wrong_byte(self, at: int, byte: int, more: bytes):
        """Whatever one byte does to an envelope, it is refused or what goes out of it is JSON."""
        payload = bytearray(
            b'{"data":{"a":[1,-2.5e3,"\\u00e9\\n",true,null]},"type":"chat","x":"\xc3\xa9"}'
        )
        at %= len(payload)
        payload[at : at + 1] = bytes([byte]) + more
        with suppress(BadEnvelope):
            body = build(parse_envelope(bytes(payload)).data)
            assert list(json.loads(body, parse_constant=pytest.fail)) == KEYS
            json.dumps(json.loads(body), ensure_ascii=False).encode()  # no lone surrogates
