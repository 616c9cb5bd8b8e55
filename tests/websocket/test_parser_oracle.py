"""RFC 6455 frames by property: streams cut anywhere, and the `websockets` package as the oracle."""

from __future__ import annotations

import codecs
from contextlib import suppress
from itertools import pairwise

from hypothesis import event, example, given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.exceptions import ProtocolError
from websockets.frames import Close, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.uri import parse_uri
from websockets.utils import apply_mask

from sanic_chat.websocket.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    close_frame,
    ping_frame,
    pong_frame,
    text_frame,
)
from sanic_chat.websocket.parser import FrameLimits, FrameParser

from ..support.frames import client_frame, server_frames

LIMIT = 300
"""Bytes a message may have here: above and below it there are 16-bit lengths."""

Outcome = tuple[list[tuple[int, bytes]], int | None]

# -- streams -------------------------------------------------------------------------------------

texts = st.one_of(
    st.text(max_size=20),
    st.text("aé€😀", max_size=100),
    st.integers(LIMIT - 2, LIMIT + 2).map("x".__mul__),
)
controls = st.one_of(
    st.builds(client_frame, st.sampled_from([0x89, 0x8A]), st.binary(max_size=125)),
    st.builds(client_frame, st.sampled_from([0x89, 0x8A]), st.just(b"p" * 125)),
)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A text message in one or more fragments, cut at any byte, with control frames between."""
    payload = draw(texts).encode()
    cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=4)))
    pieces = [payload[start:stop] for start, stop in pairwise([0, *cuts, len(payload)])]
    frames = []
    for index, piece in enumerate(pieces):
        first = (TEXT if index == 0 else CONTINUATION) | (0x80 if index == len(pieces) - 1 else 0)
        frames += [
            *draw(st.lists(controls, max_size=1 if index else 0)),
            client_frame(first, piece),
        ]
    return b"".join(frames)


@st.composite
def closes(draw: st.DrawFn) -> bytes:
    """A close frame, with any code and often a good one."""
    code = draw(st.sampled_from([1000, 1001, 3000, 4999]) | st.integers(0, 0xFFFF))
    reason = draw(st.text(max_size=30).map(str.encode) | st.binary(max_size=10))
    return client_frame(
        0x88, draw(st.sampled_from([b"", b"\x03", code.to_bytes(2, "big") + reason]))
    )


oddities = st.builds(
    client_frame, st.integers(0, 255), st.binary(max_size=130), masked=st.booleans()
)
frames = st.one_of(messages(), messages(), messages(), controls, closes(), oddities)


@st.composite
def corrupted(draw: st.DrawFn) -> bytes:
    """Good messages, of which one byte is another."""
    stream = bytearray(b"".join(draw(st.lists(messages() | controls, min_size=1, max_size=4))))
    stream[draw(st.integers(0, len(stream) - 1))] = draw(st.integers(0, 255))
    return bytes(stream)


@st.composite
def truncated(draw: st.DrawFn) -> bytes:
    """Frames of any kind, the last of them cut off."""
    stream = b"".join(draw(st.lists(frames, min_size=1, max_size=5)))
    return stream[: draw(st.integers(0, len(stream)))]


streams = st.one_of(
    st.lists(messages() | controls, max_size=6).map(b"".join),
    st.lists(frames, max_size=6).map(b"".join),
    corrupted(),
    truncated(),
    st.binary(max_size=40),
)

# -- both readers --------------------------------------------------------------------------------


def ours(*chunks: bytes) -> Outcome:
    """Events and close code of the parser under test."""
    parser = FrameParser(FrameLimits(LIMIT, 128))
    return outcome(parser, [event for chunk in chunks for event in parser.receive(chunk)])


def outcome(parser: FrameParser, events: list[tuple[int, bytes]]) -> Outcome:
    """What came before a violation, and its code; not a close frame that was found behind it."""
    if parser.failure is None:
        return events, None
    if events and events[-1][0] == CLOSE:
        events.pop()
    return events, int(parser.failure.code)


class Oracle:
    """`websockets` in the role of the server, with what it leaves to its own I/O shell.

    It is fed byte by byte, so that the places where it differs on purpose can be named by the
    first byte of a frame. Each of them stands in `receive`, `_frame_begins`, `_failure` or
    `refuses_later`.
    """

    def __init__(self) -> None:
        self.events: list[tuple[int, bytes]] = []
        self.code: int | None = None
        self._protocol = ServerProtocol(state=OPEN, max_size=LIMIT)
        self._frame = b""
        self._message = bytearray()
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    @property
    def in_message(self) -> bool:
        return self._protocol.current_size is not None

    def receive(self, stream: bytes) -> None:
        for byte in stream:
            if self.code is not None or self._protocol.close_rcvd is not None:
                return
            if not self._frame:
                self._frame_begins(byte)
            self._frame += bytes([byte])
            if self._frame[0] & 0x7F == BINARY and not self.in_message:
                if len(self._frame) == 2:
                    self.code = 1003  # binary is refused here, as soon as it is announced
                continue
            self._protocol.receive_data(bytes([byte]))
            for frame in self._protocol.events_received():
                self._frame_received(frame.opcode, bytes(frame.data), fin=frame.fin)
            if self._protocol.parser_exc is not None:
                self.code = self.code or self._failure()

    def _frame_begins(self, first: int) -> None:
        # There the limit of a message holds for control frames too, here only their own does.
        self._protocol.max_message_size = LIMIT
        if first & 0x8:
            self._protocol.max_message_size = 125 + (self._protocol.current_size or 0)
        # There a close frame within a message is a violation; the RFC lets control frames be
        # between fragments, and makes no exception for this one.
        if first & 0xF == CLOSE:
            self._protocol.current_size = None

    def _failure(self) -> int:
        assert self._protocol.close_sent is not None
        code = int(self._protocol.close_sent.code)
        if code == 1009 and self._frame[0] & 0x8:
            return 1002  # a control frame is too long for what it is, not for us
        if code == 1007:  # of a close frame; there its reason is looked at first, here its code
            close_code = int.from_bytes(apply_mask(self._frame[6:8], self._frame[2:6]), "big")
            with suppress(ProtocolError):
                Close(close_code, "").check()
                return 1007
            return 1002
        return code

    def _frame_received(self, opcode: Opcode, payload: bytes, *, fin: bool) -> None:
        self._frame = b""
        if opcode in (Opcode.TEXT, Opcode.CONT):
            self._message += payload
            try:
                self._decoder.decode(payload, final=fin)
            except UnicodeDecodeError:
                self.code = 1007
                return
            if fin:
                self.events.append((TEXT, bytes(self._message)))
                self._message.clear()
        else:
            self.events.append((int(opcode), payload))

    def refuses_later(self) -> bool:
        """Whether the frame it is reading breaks a rule that it looks at after the payload.

        Here the first two bytes are enough. There the payload is read before, and if that is
        too big as well, 1009 is said instead of 1002.
        """
        if len(self._frame) < 2 or self.code not in (None, 1009):
            return False
        first, length = self._frame[0], self._frame[1] & 0x7F
        if first & 0x8:
            return first & 0xF0 != 0x80 or length > 125
        starts_message = first & 0xF != CONTINUATION
        return bool(first & 0x70) or starts_message == self.in_message


# -- properties ----------------------------------------------------------------------------------


@given(stream=streams, cuts=st.lists(st.integers(0, 10_000), max_size=12))
def test_the_cuts_of_a_stream_do_not_matter(stream: bytes, cuts: list[int]):
    """However a stream is split, the same events come out and it fails with the same code."""
    bounds = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    assert ours(*[stream[start:stop] for start, stop in pairwise(bounds)]) == ours(stream)


@given(stream=streams)
def test_a_stream_byte_by_byte(stream: bytes):
    """A stream that arrives byte by byte gives the same as one that arrives at once."""
    assert ours(*[bytes([byte]) for byte in stream]) == ours(stream)


@given(chunks=st.lists(frames | st.binary(max_size=10), max_size=6))
def test_the_short_way_leads_to_the_same(chunks: list[bytes]):
    """Asking for a whole text first changes nothing in what comes out, and in what order."""
    parser = FrameParser(FrameLimits(LIMIT, 128))
    events: list[tuple[int, bytes]] = []
    for chunk in chunks:
        text = parser.whole_text(chunk)
        event("the short way" if text is not None else "the long way")
        events += parser.receive(chunk) if text is None else [(TEXT, text)]
    assert outcome(parser, events) == ours(*chunks)


@given(
    chunks=st.lists(streams, max_size=3), bounds=st.tuples(st.integers(1, 5), st.integers(1, 500))
)
def test_the_bounds_of_a_call_do_not_matter(chunks: list[bytes], bounds: tuple[int, int]):
    """However little is looked at in a call, the same comes out in the end."""
    parser = FrameParser(FrameLimits(LIMIT, 128))
    events: list[tuple[int, bytes]] = []
    for chunk in chunks:
        events += parser.receive(chunk, *bounds)
        for _ in range(len(b"".join(chunks))):
            if not parser.has_rest:
                break
            events += parser.receive(b"", *bounds)
        assert not parser.has_rest
    assert outcome(parser, events) == ours(*chunks)


@given(stream=streams)
@example(stream=client_frame(0x81, b"x" * (LIMIT + 1))[:4])
@example(stream=client_frame(0x01, b"a") + client_frame(0x88, b"\x03\xe8"))
@example(stream=client_frame(0x01, b"x" * LIMIT) + client_frame(0x89, b"p" * 125))
@example(stream=client_frame(0xC1, b"x" * (LIMIT + 1)))
@example(stream=client_frame(0x88, b"\x00\x00\x80"))
def test_the_oracle_agrees(stream: bytes):
    """The same messages in the same order and the same close code as `websockets`."""
    events, code = ours(stream)
    oracle = Oracle()
    oracle.receive(stream)
    if code == 1002 and oracle.refuses_later():
        event("refused by its header alone")
        assert events == oracle.events
        return
    if code is None and oracle.code == 1009:
        event("too big, the mask not yet here")
        events, code = ours(stream, bytes(4))
    event(f"close code {code}")
    assert (events, code) == (oracle.events, oracle.code)


@given(messages=st.lists(messages(), max_size=5), control=controls)
def test_good_streams_are_accepted(messages: list[bytes], control: bytes):
    """What `websockets` accepts within the limit, nothing but the limit refuses here."""
    events, code = ours(control.join(messages))
    assert code in (None, 1009)
    if code is None:
        assert len([opcode for opcode, _ in events if opcode == TEXT]) == len(messages)


# -- frames we build -----------------------------------------------------------------------------

built = st.one_of(
    st.text(max_size=300).map(lambda text: (TEXT, text.encode())),
    st.sampled_from([125, 126, 65535, 65536]).map(lambda length: (TEXT, b"x" * length)),
    st.binary(max_size=125).map(lambda payload: (PING, payload)),
    st.binary(max_size=125).map(lambda payload: (PONG, payload)),
)
BUILDERS = {TEXT: text_frame, PING: ping_frame, PONG: pong_frame}


@given(frames=st.lists(built, max_size=6), code=st.integers(3000, 4999), reason=st.text())
def test_a_client_reads_what_we_build(frames: list[tuple[int, bytes]], code: int, reason: str):
    """`websockets` as the client reads our frames back; a long close reason is only cut."""
    client = ClientProtocol(parse_uri("ws://localhost/"), state=OPEN)
    stream = b"".join(BUILDERS[opcode](payload) for opcode, payload in frames)
    client.receive_data(stream + close_frame(code, reason))
    assert client.parser_exc is None
    received = [(int(frame.opcode), bytes(frame.data)) for frame in client.events_received()]
    assert received[:-1] == frames == server_frames(stream)
    assert client.close_rcvd is not None
    assert client.close_rcvd.code == code
    assert reason.startswith(client.close_rcvd.reason)
    assert len(client.close_rcvd.reason.encode()) > 123 - 4 or client.close_rcvd.reason == reason
