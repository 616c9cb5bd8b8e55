"""The JSON of messages and envelopes: what is read, what is refused, what is built."""

from __future__ import annotations

import json
import uuid
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanic_chat.errors import BadEnvelope, BadMessage
from sanic_chat.message import (
    MAX_SENDER_CHARACTERS,
    MESSAGE_TYPES,
    OPENING,
    SERVER_SENDER,
    build_members,
    envelope_head,
    json_bytes,
    json_text,
    json_value,
    parse_command,
    parse_envelope,
    parse_message,
)

ID = "0190A6C0-b1e2-7abc-8def-00000000000a"
KEYS = ["id", "type", "room", "from", "data", "timestamp"]
TIMESTAMP = "2026-02-05T00:00:00.000Z"


def build(data: Any, **changes: bytes) -> bytes:
    values = {
        "id": ID.encode(),
        "type": b"chat",
        "room": b'"lobby"',
        "sender": b'"anna"',
        "timestamp": TIMESTAMP.encode(),
    }
    return OPENING + build_members(**{**values, **changes}, data=data)


def refusal(payload: bytes) -> BadMessage:
    with pytest.raises(BadMessage) as raised:
        parse_message(payload)
    assert raised.value.message
    return raised.value


# What no JSON parser of a browser would take (RFC 8259), as the value of a key.
NO_JSON = [
    pytest.param(b"NaN", id="NaN"),
    pytest.param(b"Infinity", id="Infinity"),
    pytest.param(b"-Infinity", id="-Infinity"),
    pytest.param(b"01", id="leading zero"),
    pytest.param(b"-01", id="negative leading zero"),
    pytest.param(b"+1", id="plus"),
    pytest.param(b"1.", id="no fraction"),
    pytest.param(b".5", id="no integer"),
    pytest.param(b"1e", id="no exponent"),
    pytest.param(b"0x10", id="hexadecimal"),
    pytest.param(b"tru", id="half a literal"),
    pytest.param(b"undefined", id="undefined"),
    pytest.param(b"'a'", id="single quotes"),
    pytest.param(b"[1,]", id="trailing comma"),
    pytest.param(b"[1 2]", id="missing comma"),
    pytest.param(b"{a:1}", id="bare key"),
    pytest.param(b"1/**/", id="comment"),
    pytest.param(b'"a\x01"', id="control character"),
    pytest.param(b'"a\nb"', id="newline in a string"),
    pytest.param(b'"a\x00"', id="NUL"),
    pytest.param(b'{"a\t":1}', id="control character in a key"),
    pytest.param(rb'"\x41"', id="unknown escape"),
    pytest.param(rb'"\u12g4"', id="bad unicode escape"),
    pytest.param(rb'"\ud800"', id="lone high surrogate"),
    pytest.param(rb'"\udc00"', id="lone low surrogate"),
    pytest.param(rb'"\ud800\u0041"', id="high surrogate and a letter"),
    pytest.param(rb'{"\ud800":1}', id="lone surrogate in a key"),
    pytest.param(b"[" * 100_000 + b"]" * 100_000, id="nested too deeply"),
    pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, id="objects nested too deeply"),
]


class TestParseMessage:
    def test_the_least(self):
        """`data` is all a message needs; type is chat, room and id are left open."""
        message = parse_message(b'{"data": "hi"}')
        assert bytes(message.data) == b'"hi"'
        assert message.type == "chat"
        assert message.room is msgspec.UNSET
        assert message.id is msgspec.UNSET

    @pytest.mark.parametrize("type", MESSAGE_TYPES)
    def test_types(self, type: str):
        """Each of the four types is taken."""
        assert parse_message(f'{{"data":1,"type":"{type}"}}'.encode()).type == type

    def test_null_is_another_room_than_none(self):
        """`room: null` is told from a room that was left out."""
        assert parse_message(b'{"data":1,"room":null}').room is None
        assert parse_message(b'{"data":1,"room":"lobby"}').room == "lobby"

    @pytest.mark.parametrize("id", [ID, ID.lower(), ID.upper(), str(uuid.UUID(int=0))])
    def test_an_id_is_kept(self, id: str):
        """A UUID of any version and case is kept as it was sent."""
        assert parse_message(json_bytes({"data": 1, "id": id})).id == id

    @pytest.mark.parametrize(
        "id",
        [
            pytest.param("", id="empty"),
            pytest.param("7", id="short"),
            pytest.param(ID.replace("-", ""), id="no dashes"),
            pytest.param(f"{{{ID}}}", id="braces"),
            pytest.param(f"urn:uuid:{ID}", id="URN"),
            pytest.param(ID[:-1] + "g", id="no hexadecimal digit"),
            pytest.param(ID + "\n", id="newline"),
            pytest.param(ID[:-1] + "\u0661", id="Arabic digit"),
            pytest.param(ID[:-2] + '"', id="quote"),
        ],
    )
    def test_another_id_is_refused(self, id: str):
        """An id that is no UUID is bad_id."""
        assert refusal(json.dumps({"data": 1, "id": id}).encode()).code == "bad_id"

    @pytest.mark.parametrize("value", NO_JSON)
    def test_what_is_no_json(self, value: bytes):
        """Bad JSON is bad_json, in `data` and in keys that nobody reads."""
        assert refusal(b'{"data":%b}' % value).code == "bad_json"
        assert refusal(b'{"data":1,"other":%b}' % value).code == "bad_json"

    @pytest.mark.parametrize(
        "payload",
        [
            pytest.param(b"", id="nothing"),
            pytest.param(b" ", id="space"),
            pytest.param(b"hello", id="text"),
            pytest.param(b'\xef\xbb\xbf{"data":1}', id="byte order mark"),
            pytest.param(b'{"data":"a', id="truncated string"),
            pytest.param(b'{"data":1', id="truncated object"),
            pytest.param(b'{"data":1}{"data":2}', id="two values"),
            pytest.param(b'{"data":1}\x00', id="NUL behind"),
            pytest.param(b'{"data":}', id="no value"),
            pytest.param(b'{"data"}', id="no colon"),
        ],
    )
    def test_payloads_that_are_no_json(self, payload: bytes):
        """A payload that is not one JSON value is bad_json."""
        assert refusal(payload).code == "bad_json"

    @pytest.mark.parametrize(
        "payload",
        [
            pytest.param(b"[1]", id="list"),
            pytest.param(b'"hi"', id="string"),
            pytest.param(b"1", id="number"),
            pytest.param(b"null", id="null"),
            pytest.param(b"{}", id="no data"),
            pytest.param(b'{"Data":1}', id="data in another case"),
            pytest.param(b'{"data":1,"type":"shout"}', id="unknown type"),
            pytest.param(b'{"data":1,"type":null}', id="type null"),
            pytest.param(b'{"data":1,"room":5}', id="room a number"),
            pytest.param(b'{"data":1,"room":["a"]}', id="room a list"),
            pytest.param(b'{"data":1,"id":null}', id="id null"),
            pytest.param(b'{"data":1,"id":7}', id="id a number"),
        ],
    )
    def test_json_of_another_shape(self, payload: bytes):
        """JSON that is no message is bad_message, and the reply shows one that is."""
        assert refusal(payload).code == "bad_message"
        assert '{"data": "hi"}' in refusal(payload).message

    @pytest.mark.parametrize("number", [b"1e400", b"9" * 5000, b"-1e-400"])
    @pytest.mark.parametrize("key", [b"type", b"room", b"id"])
    def test_absurd_numbers(self, key: bytes, number: bytes):
        """A number beyond all bounds is a number where text is expected, wherever it stands."""
        assert refusal(b'{"data":1,"%b":%b}' % (key, number)).code == "bad_message"
        assert refusal(b'{"type":"shout","data":%b,"%b":1}' % (number, key)).code == "bad_message"

    @pytest.mark.parametrize("letter", ["x", "\0", "\U000e0001"])
    def test_a_refusal_is_short(self, letter: str):
        """What repeats what was sent is cut: an answer is no way to make much of little."""
        message = refusal(json.dumps({"data": 1, "type": letter * 20_000}).encode()).message
        assert len(json_bytes({"message": message})) < 4000

    def test_the_refusal_names_the_id(self):
        """A refused message with a good id is told by it; a bad id is not given back."""
        assert refusal(json_bytes({"data": 1, "type": "shout", "id": ID})).id == ID
        assert refusal(json_bytes({"data": 1, "type": "shout", "id": "7"})).id is None
        assert refusal(json_bytes({"type": "shout"})).id is None

    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(b"9" * 5000, id="huge integer"),
            pytest.param(b"1e999999", id="huge exponent"),
            pytest.param(b"-0", id="negative zero"),
            pytest.param(b"1.10", id="trailing zero"),
            pytest.param(b"0.1000000000000000055511151231257827", id="more digits than a double"),
            pytest.param(b'{"b" : 1 ,\r\n\t"a":[ ]}', id="white space"),
            pytest.param(b'{"a":1,"a":2}', id="duplicate keys"),
            pytest.param(rb'"\u00e9\/\ud83d\ude00"', id="escapes"),
            pytest.param('"é\u2028\x7f😀"'.encode(), id="unescaped"),
            pytest.param(b"null", id="null"),
            pytest.param(b"[" * 200 + b"]" * 200, id="nested"),
        ],
    )
    def test_data_travels_byte_for_byte(self, data: bytes):
        """`data` comes out of a message, and of the envelope around it, as it was sent."""
        message = parse_message(b'{"data":%b}' % data)
        body = build(message.data)
        assert b'"data":%b,"timestamp"' % data in body
        assert bytes(parse_envelope(envelope_head("pod-1") + body[1:]).data) == data

    def test_of_a_key_given_twice_the_last_counts(self):
        """A duplicate key is no error: the last one wins, as in a browser."""
        message = parse_message(b'{"data":1,"room":"a","data":2,"room":"b"}')
        assert (bytes(message.data), message.room) == (b"2", "b")

    def test_from_and_timestamp_are_not_the_clients(self):
        """What a client says about `from`, `timestamp` and `pod_id` is ignored."""
        message = parse_message(b'{"data":1,"from":"admin","timestamp":"x","pod_id":"y"}')
        assert not {"from", "sender", "timestamp", "pod_id"} & set(message.__struct_fields__)


class TestParseCommand:
    def parse(self, data: bytes) -> Any:
        return parse_command(
            parse_message(b'{"type":"system","id":"%b","data":%b}' % (ID.encode(), data))
        )

    def test_commands(self):
        """An action is read with and without a room."""
        assert self.parse(b'{"action":"ping"}').room is None
        command = self.parse(b'{"action":"join","room":"lobby"}')
        assert (command.action, command.room) == ("join", "lobby")

    @pytest.mark.parametrize(
        "data", [b"1", b'"ping"', b"[]", b"{}", b'{"action":1}', b'{"action":"join","room":1}']
    )
    def test_what_is_no_command(self, data: bytes):
        """System data of another shape is bad_command, with the message's id."""
        with pytest.raises(BadMessage) as raised:
            self.parse(data)
        assert raised.value.code == "bad_command"
        assert raised.value.id == ID


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
            parse_envelope(json_bytes({"data": 1, "timestamp": timestamp})).timestamp == timestamp
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


class TestBuildMessage:
    def test_six_keys_in_order(self):
        """A message has its six keys in the order of the contract, and nothing in between."""
        assert build(b"1", sender=SERVER_SENDER, room=b"null") == (
            b'{"id":"%b","type":"chat","room":null,"from":"server","data":1,"timestamp":"%b"}'
            % (ID.encode(), TIMESTAMP.encode())
        )
        assert list(json.loads(build(b"{}"))) == KEYS

    def test_names_are_escaped(self):
        """A room or client ID with JSON's own characters stays one string."""
        odd = 'a","type":"system\\\n😀'
        message = json.loads(build(b"1", sender=json_text(odd), room=json_text(odd)))
        assert (message["from"], message["room"], message["type"]) == (odd, odd, "chat")
        assert json_value(json_text(odd)) == odd
        assert json_text(None) == b"null"

    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"])),
        lambda children: st.lists(children, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), children, max_size=4),
        max_leaves=12,
    )  # fmt: skip

    @given(value=json_values, ascii=st.booleans(), indent=st.sampled_from([None, 2]))
    def test_any_json_value_travels_untouched(self, value: Any, ascii: bool, indent: int | None):
        """Any JSON, however it is written, comes out of message and envelope byte for byte."""
        data = json.dumps(value, ensure_ascii=ascii, indent=indent).encode()
        received = parse_message(b'{"type":"chat","data":%b}' % data)
        assert bytes(received.data) == data
        body = build(received.data)
        message = json.loads(body)
        assert list(message) == KEYS
        assert message["data"] == value
        assert bytes(parse_envelope(body).data) == data
