"""Messages as a pod builds them, commands as a client sends them, and what is no JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sanic_chat.protocol.message import MESSAGE_HEAD, encode_fields

ID = "0190A6C0-b1e2-7abc-8def-00000000000a"
KEYS = ["id", "type", "room", "from", "data", "timestamp"]
TIMESTAMP = "2026-02-05T00:00:00.000Z"


def build(data: Any, **changes: bytes) -> bytes:
    """A message as it is sent to clients."""
    values = {
        "id": ID.encode(),
        "type": b"chat",
        "room": b'"lobby"',
        "sender": b'"anna"',
        "timestamp": TIMESTAMP.encode(),
    }
    return MESSAGE_HEAD + encode_fields(**{**values, **changes}, data=data)


def command(action: str, **more: object) -> str:
    """A command as a client sends it."""
    return json.dumps({"type": "system", "data": {"action": action, **more}})


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
