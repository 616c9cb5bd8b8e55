"""RFC 6455 frames that a server sends, and the payload of a close frame."""

from __future__ import annotations

import pytest

from sanic_chat.errors import CloseConnection
from sanic_chat.websocket.frames import (
    CloseCode,
    close_frame,
    parse_close,
    ping_frame,
    pong_frame,
    text_frame,
)

from ..support.frames import close_payload


class TestExamplesOfTheRfc:
    """RFC 6455 section 5.7."""

    @pytest.mark.parametrize(
        ("frame", "expected"),
        [
            pytest.param(text_frame(b"Hello"), "810548656c6c6f", id="text"),
            pytest.param(ping_frame(b"Hello"), "890548656c6c6f", id="ping"),
            pytest.param(pong_frame(b"Hello"), "8a0548656c6c6f", id="pong"),
            pytest.param(text_frame(b"")[:2], "8100", id="empty text"),
            pytest.param(text_frame(b"x" * 125)[:2], "817d", id="longest short length"),
            pytest.param(text_frame(b"x" * 126)[:4], "817e007e", id="shortest 16-bit length"),
            pytest.param(text_frame(b"x" * 256)[:4], "817e0100", id="256 bytes"),
            pytest.param(text_frame(b"x" * 65535)[:4], "817effff", id="longest 16-bit length"),
            pytest.param(
                text_frame(b"x" * 65536)[:10], "817f0000000000010000", id="shortest 64-bit length"
            ),
        ],
    )
    def test_built_frames(self, frame: bytes, expected: str):
        """Server frames are whole, unmasked and have the shortest length field."""
        assert frame.hex() == expected

    @pytest.mark.parametrize("length", [0, 125, 126, 65535, 65536])
    def test_built_payloads(self, length: int):
        """The payload of a server frame stands behind its header, unchanged."""
        payload = bytes(range(97, 123)) * (length // 26 + 1)
        header = {0: 2, 125: 2, 126: 4, 65535: 4, 65536: 10}[length]
        assert text_frame(payload[:length])[header:] == payload[:length]


class TestClose:
    @pytest.mark.parametrize("code", [1000, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999])
    def test_codes_that_may_be_sent(self, code: int):
        """Registered and private codes are accepted."""
        assert parse_close(close_payload(code)) == (code, "")

    def test_parse_close_raises(self):
        """`parse_close` by itself raises what the parser reports."""
        with pytest.raises(CloseConnection) as raised:
            parse_close(close_payload(1005))
        assert raised.value.code == CloseCode.PROTOCOL_ERROR
        assert "1005" in raised.value.reason

    @pytest.mark.parametrize(
        ("arguments", "payload"),
        [
            pytest.param((None,), b"", id="no code"),
            pytest.param((1000,), close_payload(1000), id="code"),
            pytest.param((1001, "bye"), close_payload(1001, b"bye"), id="code and reason"),
            pytest.param((1001, "x" * 200), close_payload(1001, b"x" * 123), id="long reason"),
            # 61 characters of two bytes are 122: half of the next one does not fit.
            pytest.param((1001, "é" * 99), close_payload(1001, "é".encode() * 61), id="cut"),
        ],
    )
    def test_built_close_frames(self, arguments: tuple[int | None, str], payload: bytes):
        """A close frame has at most 125 bytes and is cut between characters."""
        assert close_frame(*arguments) == bytes((0x88, len(payload))) + payload
