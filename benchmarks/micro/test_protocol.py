"""Reading what clients send: frames, and the JSON in them."""

from __future__ import annotations

from typing import Any

import pytest
from websockets.frames import Frame, Opcode

from sanic_chat.protocol.envelope import parse_envelope
from sanic_chat.protocol.message import MESSAGE_HEAD, NULL, encode_fields, parse_message
from sanic_chat.websocket.frames import TEXT, text_frame
from sanic_chat.websocket.parser import FrameLimits, FrameParser

MESSAGE = b'{"data":{"text":"%b"}}'
BATCH = 16


@pytest.mark.parametrize("size", [64, 1024, 16384])
def test_parse_one_frame(benchmark: Any, size: int) -> None:
    payload = MESSAGE % (b"x" * size)
    frame = Frame(Opcode.TEXT, payload).serialize(mask=True)
    parser = FrameParser(FrameLimits(65536, 128))
    assert benchmark(parser.receive, frame) == [(TEXT, payload)]


def test_parse_sixteen_frames_of_one_read(benchmark: Any) -> None:
    payload = MESSAGE % (b"x" * 64)
    frames = Frame(Opcode.TEXT, payload).serialize(mask=True) * BATCH
    parser = FrameParser(FrameLimits(65536, 128))
    assert benchmark(parser.receive, frames) == [(TEXT, payload)] * BATCH


@pytest.mark.parametrize("size", [64, 1024, 16384])
def test_parse_message(benchmark: Any, size: int) -> None:
    data = b'{"text":"%b"}' % (b"x" * size)
    assert bytes(benchmark(parse_message, b'{"data":%b}' % data).data) == data


def test_parse_envelope(benchmark: Any) -> None:
    envelope = b'{"pod_id":"pod",' + _members()
    assert benchmark(parse_envelope, envelope).pod_id == "pod"


def test_build_members_and_frame(benchmark: Any) -> None:
    assert benchmark(lambda: text_frame(_members(), MESSAGE_HEAD)).endswith(b'00.000Z"}')


def _members() -> bytes:
    return encode_fields(
        id=b"019c2b0e-0000-7000-8000-000000000000",
        type=b"chat",
        room=NULL,
        sender=b'"me"',
        data=b'{"text":"hi"}',
        timestamp=b"2026-02-05T00:00:00.000Z",
    )
