"""A stream of frames that has failed, or is given up: followed up to the client's close frame."""

from __future__ import annotations

import pytest

from sanic_chat.websocket.frames import CLOSE
from sanic_chat.websocket.parser import FrameLimits, FrameParser

from ..support.frames import client_frame, in_long_form

LIMIT = 1024
LIMITS = FrameLimits(LIMIT, 8)

# First bytes: FIN and opcode.
WHOLE_TEXT, FIRST_TEXT, MIDDLE = 0x81, 0x01, 0x00
WHOLE_BINARY = 0x82
A_CLOSE, A_PING = 0x88, 0x89

BROKEN = [
    pytest.param(client_frame(WHOLE_BINARY, b"x" * 300), id="binary"),
    pytest.param(client_frame(WHOLE_TEXT, b"\xff"), id="no UTF-8"),
    pytest.param(client_frame(WHOLE_TEXT, b"x" * (LIMIT + 1)), id="too big"),
    pytest.param(client_frame(WHOLE_TEXT, b"x" * 70_000), id="far too big"),
    pytest.param(client_frame(FIRST_TEXT, b"x") * 2, id="a message in a message"),
    pytest.param(client_frame(FIRST_TEXT) + client_frame(MIDDLE) * 8, id="fragments"),
    pytest.param(client_frame(WHOLE_TEXT | 0x40, b"x" * 200), id="reserved bit"),
    pytest.param(client_frame(0x83, b"x"), id="unknown opcode"),
    pytest.param(client_frame(A_PING, b"p" * 126), id="long ping"),
    pytest.param(client_frame(WHOLE_TEXT, b"x" * 200, masked=False), id="not masked"),
    pytest.param(in_long_form(WHOLE_TEXT, 3, 8), id="a length in a long form"),
]


@pytest.mark.parametrize("cut", [None, 1, 3, 11], ids=lambda cut: f"cut {cut}")
@pytest.mark.parametrize("broken", BROKEN)
def test_the_close_frame_is_found(broken: bytes, cut: int | None):
    """It is found behind the frame that broke the protocol and others, however it arrives."""
    others = client_frame(WHOLE_TEXT, b"x" * 127) + client_frame(A_PING) + broken
    stream = broken + others + client_frame(A_CLOSE, b"\x03\xe8bye") + others
    parser = FrameParser(LIMITS)
    events = []
    for start in range(0, len(stream), cut or len(stream)):
        events += parser.receive(stream[start : start + (cut or len(stream))])
        while parser.has_rest:
            events += parser.receive(b"", 1)
    assert parser.failure is not None
    assert events == [(CLOSE, b"")]
    assert parser.finished


def test_by_request():
    """`follow` makes a parser look for nothing else, from the next frame on."""
    parser = FrameParser(LIMITS)
    text = client_frame(WHOLE_TEXT, b"x" * 200)
    assert parser.receive(client_frame(FIRST_TEXT, b"x") + text[:50], 1) == []
    parser.follow()
    assert parser.receive(text[50:] + client_frame(WHOLE_TEXT, b"\xff"), 1) == []
    assert parser.has_rest
    assert parser.receive(client_frame(A_CLOSE, b"x"), 2) == [(CLOSE, b"")]
    assert parser.failure is None


@pytest.mark.parametrize("length", [2**62, 2**64 - 1])
def test_a_frame_that_has_no_end(length: int):
    """Nothing is kept of a frame that announces more than will ever come."""
    parser = FrameParser(LIMITS)
    assert parser.receive(b"\x81\xff" + length.to_bytes(8, "big") + b"mask") == []
    for _ in range(10):
        assert parser.receive(client_frame(A_CLOSE)) == []
        assert not parser._buffer


def test_half_a_close_frame():
    """A close frame that is cut off is awaited; one that is too long to be one is not."""
    frame = client_frame(A_CLOSE, b"\x03\xe8bye")
    parser = FrameParser(LIMITS)
    parser.follow()
    assert parser.receive(frame[:-1]) == []
    assert parser.receive(frame[-1:]) == [(CLOSE, b"")]
    parser = FrameParser(LIMITS)
    parser.follow()
    assert parser.receive(in_long_form(A_CLOSE, 200, 2)[:8]) == [(CLOSE, b"")]
