"""WebSocket frames from the client's side, for tests that speak them by hand."""

from __future__ import annotations

from sanic_chat.websocket.parser import apply_mask


def client_frame(first: int, payload: bytes = b"", *, masked: bool = True) -> bytes:
    """A frame as a client sends it; `first` is its first byte: FIN, RSV and opcode."""
    length = len(payload)
    mask_bit = 0x80 if masked else 0
    if length < 126:
        header = bytes((first, mask_bit | length))
    elif length < 0x10000:
        header = bytes((first, mask_bit | 126)) + length.to_bytes(2, "big")
    else:
        header = bytes((first, mask_bit | 127)) + length.to_bytes(8, "big")
    if not masked:
        return header + payload
    mask = b"\x37\xfa\x21\x3d"
    return header + mask + apply_mask(payload, mask)


def take_server_frame(stream: bytearray) -> tuple[int, bytes] | None:
    """Take the first frame off what a server sent, as opcode and payload; None if none is whole."""
    if len(stream) < 2:
        return None
    assert stream[0] & 0xF0 == 0x80, f"not a whole frame without RSV bits: {stream[0]:#x}"
    start, length = 2, stream[1]
    if length > 125:
        assert length < 128, "the server's frame is masked"
        start = 4 if length == 126 else 10
        length = int.from_bytes(stream[2:start], "big")
    if len(stream) < start + length:
        return None
    frame = stream[0] & 0xF, bytes(stream[start : start + length])
    del stream[: start + length]
    return frame


def server_frames(data: bytes) -> list[tuple[int, bytes]]:
    """All frames of what a server sent; it must end at the end of a frame."""
    stream = bytearray(data)
    frames = []
    while (frame := take_server_frame(stream)) is not None:
        frames.append(frame)
    assert not stream, f"{len(stream)} bytes behind the last whole frame"
    return frames


def close_payload(code: int, reason: bytes = b"") -> bytes:
    return code.to_bytes(2, "big") + reason


def in_long_form(first: int, length: int, size: int) -> bytes:
    """A masked frame whose length stands in a field of 2 or 8 bytes."""
    marker = {2: 126, 8: 127}[size]
    return bytes((first, 0x80 | marker)) + length.to_bytes(size, "big") + bytes(4 + length)
