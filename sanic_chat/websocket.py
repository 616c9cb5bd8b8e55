"""RFC 6455 frames, in and out, without any I/O.

May live here: how bytes become frames and messages, how frames are built, the handshake's
accept key, close codes. Must not know sockets, JSON, rooms or sessions.

No extension is ever negotiated, so RSV bits must be zero, and a server frame is the same bytes
for every client.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import hashlib
import struct
from enum import IntEnum
from typing import Final

from .errors import CloseConnection

try:
    from websockets.speedups import apply_mask
except ImportError:  # pragma: no cover - a platform without the compiled extension
    from websockets.utils import apply_mask

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

MAX_CONTROL_PAYLOAD = 125
"""Bytes; RFC 6455 section 5.5."""

_ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_WHOLE_TEXT: Final = 0x80 | TEXT
_MASKED: Final = 0x80

_SHORT_HEADER = struct.Struct(">BB").pack
_MEDIUM_HEADER = struct.Struct(">BBH").pack
_LONG_HEADER = struct.Struct(">BBQ").pack

_MEDIUM_MASKED = struct.Struct(">HH4s").unpack_from
_MEDIUM_TEXT: Final = _WHOLE_TEXT << 8 | _MASKED | 126


class CloseCode(IntEnum):
    """The close codes this server sends (RFC 6455 section 7.4.1 and the IANA registry)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_TEXT = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    TRY_AGAIN_LATER = 1013


class FrameParser:
    """Turns the bytes of one client into messages and control frames.

    However the stream is split into chunks, the same messages come out in the same order, and a
    stream that breaks the protocol fails at the same point with the same close code.

    A message may have `max_message_bytes`, in at most `max_fragments` frames: empty ones count,
    or a message could go on for ever.
    """

    __slots__ = (
        "_buffer",
        "_fragment_count",
        "_fragments",
        "_max_fragments",
        "_max_message_bytes",
        "_max_whole_bytes",
        "_needed",
        "_utf8",
        "failure",
        "finished",
    )

    def __init__(self, max_message_bytes: int, max_fragments: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._max_whole_bytes = min(0xFFFF, max_message_bytes)
        self._max_fragments = max_fragments
        self._buffer: bytes | bytearray = b""
        self._needed = 0  # bytes the buffer must hold before another look at it is worth it
        self._fragments: bytearray | None = None
        self._fragment_count = 0
        self._utf8: codecs.IncrementalDecoder | None = None
        self.finished = False
        """Whether a close frame or a violation has ended the stream; what follows is ignored."""
        self.failure: CloseConnection | None = None
        """The violation that ended the stream, or None."""

    def receive(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take the next bytes and return what they complete, oldest first.

        Each item is `(TEXT, message)` with valid UTF-8 of at most `max_message_bytes`, or
        `(PING | PONG | CLOSE, payload)`. Nothing is raised: what came before a violation is
        returned, and `failure` then holds the violation. The payload of a CLOSE is valid
        (`parse_close` reads it), and nothing comes after it.
        """
        if self.finished:
            return []
        if self._buffer:
            if isinstance(self._buffer, bytes):
                self._buffer = bytearray(self._buffer)
            self._buffer += data
            if len(self._buffer) < self._needed:
                return []
            data = bytes(self._buffer)
            self._buffer = b""
        events: list[tuple[int, bytes]] = []
        try:
            consumed = self._parse(data, events)
        except CloseConnection as failure:
            self.failure = failure
            self._finish()
            return events
        if consumed < len(data) and not self.finished:
            self._buffer = data[consumed:] if consumed else data
        return events

    def whole_text(self, data: bytes) -> bytes | None:
        """The message, if these next bytes are one text frame of under 64 KiB with all of it.

        Nearly every chunk is just that. None changes nothing: it is for `receive` to take them.
        """
        if self._buffer or self._fragments is not None or self.finished:
            return None
        length = len(data) - 6
        if length < 126:
            if length < 0 or data[1] != _MASKED | length or data[0] != _WHOLE_TEXT:
                return None
            mask, payload = data[2:6], data[6:]
        else:
            length -= 2
            header, told, mask = _MEDIUM_MASKED(data)
            if header != _MEDIUM_TEXT or told != length:
                return None
            payload = data[8:]
        if length > self._max_whole_bytes:
            return None
        message = apply_mask(payload, mask)
        return message if message.isascii() or _is_utf8(message) else None

    def _parse(self, data: bytes, events: list[tuple[int, bytes]]) -> int:
        """Append the events in `data` and return how many bytes they took."""
        position = 0
        end = len(data)
        while end - position >= 2:
            first = data[position]
            second = data[position + 1]
            if first != _WHOLE_TEXT or second < _MASKED or self._fragments is not None:
                # What the first two bytes forbid is refused before any more is awaited.
                self._check_header(first, second)
            length = second & 0x7F
            start = position + 6
            if length > 125:
                start += 2 if length == 126 else 8
                if end < start:
                    self._needed = start - position
                    return position
                length = int.from_bytes(data[position + 2 : start - 4], "big")
            if length > self._max_message_bytes or self._fragments is not None:
                self._check_size(first, length)
            stop = start + length
            if end < stop:
                self._needed = stop - position
                return position
            position = stop
            payload = apply_mask(data[start:stop], data[start - 4 : start])
            if first == _WHOLE_TEXT:
                if not (payload.isascii() or _is_utf8(payload)):
                    raise CloseConnection(CloseCode.INVALID_TEXT, "text must be UTF-8")
                events.append((TEXT, payload))
            elif first & 0x8:
                opcode = first & 0xF
                if opcode == CLOSE:
                    parse_close(payload)
                    events.append((CLOSE, payload))
                    self._finish()
                    return end
                events.append((opcode, payload))
            else:
                message = self._fragment(first, payload)
                if message is not None:
                    events.append((TEXT, message))
        self._needed = 2
        return position

    def _finish(self) -> None:
        self.finished = True
        self._buffer = b""
        self._fragments = None
        self._utf8 = None

    def _check_header(self, first: int, second: int) -> None:
        if first & 0x70:
            raise CloseConnection(CloseCode.PROTOCOL_ERROR, "reserved bits must be 0")
        opcode = first & 0xF
        if opcode & 0x8:
            if opcode > PONG:
                raise CloseConnection(CloseCode.PROTOCOL_ERROR, f"unknown opcode {opcode}")
            if not first & 0x80:
                raise CloseConnection(CloseCode.PROTOCOL_ERROR, "fragmented control frame")
            if second & 0x7F > MAX_CONTROL_PAYLOAD:
                raise CloseConnection(CloseCode.PROTOCOL_ERROR, "control frame too long")
        elif opcode == TEXT:
            if self._fragments is not None:
                raise CloseConnection(CloseCode.PROTOCOL_ERROR, "expected a continuation frame")
        elif opcode == CONTINUATION:
            if self._fragments is None:
                raise CloseConnection(CloseCode.PROTOCOL_ERROR, "unexpected continuation frame")
            if self._fragment_count >= self._max_fragments:
                raise CloseConnection(
                    CloseCode.POLICY_VIOLATION, f"over {self._max_fragments} fragments a message"
                )
        elif opcode == BINARY:
            if self._fragments is not None:
                raise CloseConnection(CloseCode.PROTOCOL_ERROR, "expected a continuation frame")
            raise CloseConnection(CloseCode.UNSUPPORTED_DATA, "binary messages are not accepted")
        else:
            raise CloseConnection(CloseCode.PROTOCOL_ERROR, f"unknown opcode {opcode}")
        if not second & 0x80:
            raise CloseConnection(CloseCode.PROTOCOL_ERROR, "client frames must be masked")

    def _check_size(self, first: int, length: int) -> None:
        if first & 0x8:
            return
        received = 0 if self._fragments is None else len(self._fragments)
        if received + length > self._max_message_bytes:
            raise CloseConnection(
                CloseCode.MESSAGE_TOO_BIG, f"over {self._max_message_bytes} bytes a message"
            )

    def _fragment(self, first: int, payload: bytes) -> bytes | None:
        """Add a fragment; return the whole message once it is complete."""
        if self._fragments is None:
            self._fragments = bytearray()
            self._fragment_count = 0
            self._utf8 = codecs.getincrementaldecoder("utf-8")()
        final = bool(first & 0x80)
        self._check_fragment(payload, final)
        self._fragments += payload
        self._fragment_count += 1
        if not final:
            return None
        message = bytes(self._fragments)
        self._fragments = None
        self._utf8 = None
        return message

    def _check_fragment(self, payload: bytes, final: bool) -> None:
        assert self._utf8 is not None
        try:
            self._utf8.decode(payload, final)
        except UnicodeDecodeError:
            raise CloseConnection(CloseCode.INVALID_TEXT, "text must be UTF-8") from None


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def parse_close(payload: bytes) -> tuple[int | None, str]:
    """Read the payload of a close frame: its code (None if it has none) and reason.

    Raises CloseConnection with 1002 or 1007 if it breaks RFC 6455 sections 5.5.1 and 7.4.
    """
    if not payload:
        return None, ""
    if len(payload) == 1:
        raise CloseConnection(CloseCode.PROTOCOL_ERROR, "close frame with half a code")
    code = int.from_bytes(payload[:2], "big")
    if not (3000 <= code <= 4999 or (1000 <= code <= 1014 and code not in (1004, 1005, 1006))):
        raise CloseConnection(CloseCode.PROTOCOL_ERROR, f"close code {code} is not allowed")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise CloseConnection(CloseCode.INVALID_TEXT, "close reason must be UTF-8") from None


def text_frame(payload: bytes, opening: bytes = b"") -> bytes:
    """A complete, unmasked text frame of `opening` and `payload`, which must be UTF-8."""
    length = len(opening) + len(payload)
    if 126 <= length < 0x10000:  # as most are
        return b"".join((_MEDIUM_HEADER(_WHOLE_TEXT, 126, length), opening, payload))
    return _frame(TEXT, opening + payload)


def ping_frame(payload: bytes = b"") -> bytes:
    """A ping; at most 125 bytes of payload."""
    return _frame(PING, payload)


def pong_frame(payload: bytes) -> bytes:
    """The answer to a ping with that payload."""
    return _frame(PONG, payload)


def close_frame(code: int | None, reason: str = "") -> bytes:
    """A close frame; a reason over 123 bytes is cut at a character, no code means no payload."""
    if code is None:
        return _frame(CLOSE, b"")
    text = reason.encode()[: MAX_CONTROL_PAYLOAD - 2].decode(errors="ignore").encode()
    return _frame(CLOSE, code.to_bytes(2, "big") + text)


def _frame(opcode: int, payload: bytes) -> bytes:
    length = len(payload)
    if length < 126:
        return _SHORT_HEADER(0x80 | opcode, length) + payload
    if length < 0x10000:
        return _MEDIUM_HEADER(0x80 | opcode, 126, length) + payload
    return _LONG_HEADER(0x80 | opcode, 127, length) + payload


def frame_size(frames: bytes, start: int) -> int:
    """How many bytes the unmasked frame has that starts there, header included."""
    length = frames[start + 1]
    if length < 126:
        return 2 + length
    if length == 126:
        return 4 + int.from_bytes(frames[start + 2 : start + 4], "big")
    return 10 + int.from_bytes(frames[start + 2 : start + 10], "big")


def accept_key(key: str) -> str | None:
    """The Sec-WebSocket-Accept for a Sec-WebSocket-Key; None if that is not 16 bytes in base64."""
    try:
        valid = len(base64.b64decode(key.encode(), validate=True)) == 16
    except (binascii.Error, ValueError):
        return None
    if not valid:
        return None
    digest = hashlib.sha1(key.encode() + _ACCEPT_GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()
