"""The JSON of messages: what is read, what is refused, what is built."""

from __future__ import annotations

import json
import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanic_chat.errors import BadMessage
from sanic_chat.protocol.envelope import envelope_head, parse_envelope
from sanic_chat.protocol.message import (
    MESSAGE_TYPES,
    SERVER_SENDER,
    json_text,
    parse_message,
)

from ..support.messages import ID, KEYS, NO_JSON, TIMESTAMP, build


def refusal(payload: bytes) -> BadMessage:
    with pytest.raises(BadMessage) as raised:
        parse_message(payload)
    assert raised.value.message
    return raised.value


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
        assert parse_message(msgspec.json.encode({"data": 1, "id": id})).id == id

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
        assert len(msgspec.json.encode({"message": message})) < 4000

    def test_the_refusal_names_the_id(self):
        """A refused message with a good id is told by it; a bad id is not given back."""
        assert refusal(msgspec.json.encode({"data": 1, "type": "shout", "id": ID})).id == ID
        assert refusal(msgspec.json.encode({"data": 1, "type": "shout", "id": "7"})).id is None
        assert refusal(msgspec.json.encode({"type": "shout"})).id is None

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


class TestBuildMessage:
    def test_six_keys_in_order(self):
        """A message has its six keys in the order of the contract, and nothing in between."""
        assert build(b"1", sender=SERVER_SENDER, room=b"null") == (
            b'{"id":"%b","type":"chat","room":null,"from":"server","data":1,"timestamp":"%b"}'
            % (ID.encode(), TIMESTAMP.encode())
        )
        assert list(json.loads(build(b"{}"))) == KEYS

    def test_how_much_longer_it_gets(self):
        """Up to 200 bytes, with names of up to 36; the shortest that can be sent has only data."""
        name = b'"%b"' % (b"n" * 36)
        built = build(b"1", type=b"notification", room=name, sender=name)
        assert len(built) - len(b'{"data":1}') <= 200

    def test_names_are_escaped(self):
        """A room or client ID with JSON's own characters stays one string."""
        odd = 'a","type":"system\\\n😀'
        message = json.loads(build(b"1", sender=json_text(odd), room=json_text(odd)))
        assert (message["from"], message["room"], message["type"]) == (odd, odd, "chat")
        assert msgspec.json.decode(json_text(odd)) == odd
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
