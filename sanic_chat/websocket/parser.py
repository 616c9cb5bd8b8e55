"""The parser of RFC 6455 frames as clients send them: from bytes to messages, without any I/O.

May live here: how a stream of frames is read, and what is wrong with one. Must not know sockets,
JSON, rooms or sessions.

No extension is ever negotiated, so RSV bits must be zero.
"""

from __future__ import annotations

import codecs
import struct
import sys
from dataclasses import dataclass
from typing import Final

from ..errors import CloseConnection
from .frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    MASKED,
    MAX_CONTROL_PAYLOAD,
    PONG,
    TEXT,
    WHOLE_TEXT,
    CloseCode,
    parse_close,
)

try:
    from websockets.speedups import apply_mask
except ImportError:  # pragma: no cover - a platform without the compiled extension
    from websockets.utils import apply_mask

_MEDIUM_MASKED = struct.Struct(">HH4s").unpack_from
_MEDIUM_TEXT: Final = WHOLE_TEXT << 8 | MASKED | 126


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """The bounds of one message: its bytes, and the frames that it may come in."""

    max_message_bytes: int
    max_message_fragments: int


class FrameParser:
    """Turns the bytes of one client into messages and control frames.

    However the stream is split into chunks, the same messages come out in the same order, and a
    stream that breaks the protocol fails at the same point with the same close code.

    A message over the `limits` is a violation. Empty frames count, or a message could go on for
    ever.

    After a violation the frames are stepped over unread, up to the client's close frame, which is
    then the only event.
    """

    __slots__ = (
        "_buffer",
        "_fragment_count",
        "_fragments",
        "_is_followed",
        "_max_fragments",
        "_max_message_bytes",
        "_max_whole_bytes",
        "_needed",
        "_position",
        "_skipped",
        "_utf8",
        "failure",
        "finished",
        "has_rest",
    )

    def __init__(self, limits: FrameLimits) -> None:
        self._max_message_bytes = limits.max_message_bytes
        self._max_whole_bytes = min(0xFFFF, limits.max_message_bytes)
        self._max_fragments = limits.max_message_fragments
        self._buffer: bytes | bytearray = b""
        self._position = 0  # where in the buffer the next frame begins
        self._needed = 0  # bytes it must have from there on before another look is worth it
        self._skipped = 0  # bytes still to come of a frame that is not looked into
        self._fragments: bytearray | None = None
        self._fragment_count = 0
        self._utf8: codecs.IncrementalDecoder | None = None
        self._is_followed = False
        self.has_rest = False
        """Whether frames may wait that were beyond the bounds of the last `receive`."""
        self.finished = False
        """Whether a close frame has ended the stream; later bytes are ignored."""
        self.failure: CloseConnection | None = None
        """The violation that ended the messages, or None."""

    def receive(
        self, data: bytes, max_frames: int = sys.maxsize, max_bytes: int = sys.maxsize
    ) -> list[tuple[int, bytes]]:
        """Take the next bytes and return what they complete, oldest first.

        Each item is `(TEXT, message)` with valid UTF-8 of at most `max_message_bytes`, or
        `(PING | PONG | CLOSE, payload)`. The payload of a CLOSE is valid (`parse_close` reads it),
        and nothing comes after it. Raises nothing: a violation is in `failure`, and what came
        before it is returned.

        At most `max_frames` frames are looked at, and no further one once they had `max_bytes`.
        The rest waits as the bytes it came in, `has_rest` is true, and `receive(b"")` goes on.
        """
        if self.finished:
            return []
        start = 0
        if self._buffer:
            start = self._position
            if data:
                if start or isinstance(self._buffer, bytes):
                    self._buffer = bytearray(self._buffer[start:])
                    start = self._position = 0
                self._buffer += data
            if len(self._buffer) - start < self._needed:
                return []
            data = bytes(self._buffer)
            self._buffer = b""
        events: list[tuple[int, bytes]] = []
        self.has_rest = False
        if self._is_followed:
            position = self._follow(data, start, events, max_frames)
        else:
            position = self._parse(data, start, events, max_frames, max_bytes)
        if position < len(data):
            if self.has_rest:  # all of it is kept: to copy it for every turn would take longer
                self._buffer = data
                self._position = position
            else:
                self._buffer = data[position:] if position else data
                self._position = 0
        return events

    def follow(self) -> None:
        """Step over all frames from now on, up to the client's close frame."""
        self._is_followed = True
        self._fragments = None
        self._utf8 = None

    def whole_text(self, data: bytes) -> bytes | None:
        """Return the message if `data` is exactly one text frame of under 64 KiB, as it mostly is.

        None if it is anything else, a violation included: nothing has changed, and `receive` is to
        take `data`.
        """
        if self._buffer or self._fragments is not None or self._is_followed:
            return None
        length = len(data) - 6
        if length < 126:
            if length < 0 or data[1] != MASKED | length or data[0] != WHOLE_TEXT:
                return None
            mask, payload = data[2:6], data[6:]
        else:
            length -= 2
            header, told, mask = _MEDIUM_MASKED(data)
            if header != _MEDIUM_TEXT or told != length or length < 126:
                return None
            payload = data[8:]
        if length > self._max_whole_bytes:
            return None
        message = apply_mask(payload, mask)
        return message if message.isascii() or _is_utf8(message) else None

    def _parse(
        self,
        data: bytes,
        position: int,
        events: list[tuple[int, bytes]],
        max_frames: int,
        max_bytes: int,
    ) -> int:
        """Append the events in `data` from `position` on, and return the position behind them."""
        end = len(data)
        last = end - 2  # where a frame may begin at the latest
        if end - position > max_bytes:
            last = min(last, position + max_bytes - 1)
        try:
            for _ in range(max_frames):
                if position > last:
                    break
                first = data[position]
                second = data[position + 1]
                if first != WHOLE_TEXT or second < MASKED or self._fragments is not None:
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
                    if length < (126 if start == position + 8 else 0x10000):
                        raise CloseConnection(
                            CloseCode.PROTOCOL_ERROR, "a length must have its shortest form"
                        )
                if length > self._max_message_bytes or self._fragments is not None:
                    self._check_size(first, length)
                stop = start + length
                if end < stop:
                    self._needed = stop - position
                    return position
                position = stop
                payload = apply_mask(data[start:stop], data[start - 4 : start])
                if first == WHOLE_TEXT:
                    if not (payload.isascii() or _is_utf8(payload)):
                        raise CloseConnection(CloseCode.INVALID_TEXT, "text must be UTF-8")
                    events.append((TEXT, payload))
                elif first & 0x8:
                    opcode = first & 0xF
                    if opcode == CLOSE:
                        self.finished = True
                        self.follow()
                        parse_close(payload)
                        events.append((CLOSE, payload))
                        return end
                    events.append((opcode, payload))
                else:
                    message = self._fragment(first, payload)
                    if message is not None:
                        events.append((TEXT, message))
        except CloseConnection as failure:
            self.failure = failure
            self.follow()
            if self.finished:
                return end
        self.has_rest = end - position >= 2
        self._needed = 2
        return position

    def _follow(
        self, data: bytes, position: int, events: list[tuple[int, bytes]], max_frames: int
    ) -> int:
        """Step over frames, valid or not, up to a close frame; return the position behind them."""
        end = len(data)
        position += self._skipped
        self._skipped = 0
        for _ in range(max_frames):
            if end - position < 2:
                break
            first = data[position]
            second = data[position + 1]
            length = second & 0x7F
            start = position + (6 if second & MASKED else 2)
            if length > 125:
                size = 2 if length == 126 else 8
                start += size
                if end < start:
                    self._needed = start - position
                    return position
                length = int.from_bytes(data[position + 2 : position + 2 + size], "big")
            if first & 0xF == CLOSE:
                if length <= MAX_CONTROL_PAYLOAD and end < start + length:
                    self._needed = start + length - position
                    return position
                events.append((CLOSE, b""))
                self.finished = True
                return end
            position = start + length
        self._skipped = max(0, position - end)
        self.has_rest = end - position >= 2
        self._needed = 2
        return min(position, end)

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
        """Add a fragment; return the message once it is complete."""
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
