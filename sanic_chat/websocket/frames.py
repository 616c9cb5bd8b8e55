"""The frames that a server builds (RFC 6455 section 5), and the close codes.

May live here: opcodes, close codes, how frames are built and measured. Must not know JSON, rooms or
sessions. `parser` reads a client's frames.

No extension is ever negotiated, so a server frame is the same bytes for every client.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from ..errors import CloseConnection

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

WHOLE_TEXT: Final = 0x80 | TEXT
"""The first byte of a text message in a single frame."""
MASKED: Final = 0x80
"""The bit of the second byte that says that the payload is masked, as every client's must be."""

MAX_CONTROL_PAYLOAD = 125
"""Bytes; RFC 6455 section 5.5."""

_SHORT_HEADER = struct.Struct(">BB").pack
_MEDIUM_HEADER = struct.Struct(">BBH").pack
_LONG_HEADER = struct.Struct(">BBQ").pack


class CloseCode(IntEnum):
    """The close codes this server sends (RFC 6455 section 7.4.1 and the IANA registry).

    From 4400 to 4499 the client is not to come back as it is.
    """

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_TEXT = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    TRY_AGAIN_LATER = 1013
    BAD_REQUEST = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403


def parse_close(payload: bytes) -> tuple[int | None, str]:
    """Read the payload of a close frame: its code and its reason. An empty one has None and "".

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


def text_frame(payload: bytes, head: bytes = b"") -> bytes:
    """A complete, unmasked text frame of `head + payload`, which must be UTF-8."""
    length = len(head) + len(payload)
    if 126 <= length < 0x10000:  # as most are
        return b"".join((_MEDIUM_HEADER(WHOLE_TEXT, 126, length), head, payload))
    return _frame(TEXT, head + payload)


def ping_frame(payload: bytes = b"") -> bytes:
    """A ping. The payload has at most 125 bytes."""
    return _frame(PING, payload)


def pong_frame(payload: bytes) -> bytes:
    """The answer to a ping with this payload, of at most 125 bytes."""
    return _frame(PONG, payload)


def close_frame(code: int | None, reason: str = "") -> bytes:
    """A close frame. A reason over 123 bytes is cut between characters; no code: no payload."""
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
    """The bytes of the unmasked frame that begins at `start`, its header included."""
    length = frames[start + 1]
    if length < 126:
        return 2 + length
    if length == 126:
        return 4 + int.from_bytes(frames[start + 2 : start + 4], "big")
    return 10 + int.from_bytes(frames[start + 2 : start + 10], "big")


def count_texts(frames: bytes) -> int:
    """The number of text frames in `frames`: whole unmasked frames, each text in a single one."""
    position = count = 0
    while position < len(frames):
        count += frames[position] == WHOLE_TEXT
        position += frame_size(frames, position)
    return count
