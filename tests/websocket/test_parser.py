"""RFC 6455 frames by example: what is read, and what is refused with which code."""

from __future__ import annotations

import pytest

from sanic_chat.websocket.frames import CLOSE, PING, PONG, TEXT, parse_close
from sanic_chat.websocket.parser import FrameLimits, FrameParser

from ..support.frames import client_frame, close_payload, in_long_form

LIMIT = 1024
MAX_FRAGMENTS = 8

# First bytes: FIN and opcode.
WHOLE_TEXT, FIRST_TEXT = 0x81, 0x01
LAST, MIDDLE = 0x80, 0x00
WHOLE_BINARY, FIRST_BINARY = 0x82, 0x02
A_CLOSE, A_PING, A_PONG = 0x88, 0x89, 0x8A

Events = list[tuple[int, bytes]]


def parse(*chunks: bytes, limit: int = LIMIT) -> tuple[Events, FrameParser]:
    """What a fresh parser makes of a stream, and the parser."""
    parser = FrameParser(FrameLimits(limit, MAX_FRAGMENTS))
    return [event for chunk in chunks for event in parser.receive(chunk)], parser


def fails(code: int, *frames: bytes, after: Events | None = None, limit: int = LIMIT) -> None:
    """Assert that a stream fails with a code, and what is returned before that."""
    events, parser = parse(b"".join(frames), limit=limit)
    assert parser.failure is not None, f"accepted: {events}"
    assert parser.failure.code == code
    assert parser.failure.reason
    assert parser.whole_text(client_frame(WHOLE_TEXT, b"x")) is None
    assert TEXT not in dict(parser.receive(client_frame(WHOLE_TEXT, b"x")))
    assert events == (after or [])


class TestExamplesOfTheRfc:
    """RFC 6455 section 5.7."""

    def test_masked_text(self):
        """A masked text frame is unmasked."""
        assert parse(bytes.fromhex("818537fa213d7f9f4d5158"))[0] == [(TEXT, b"Hello")]

    def test_unmasked_text_is_refused(self):
        """A server refuses an unmasked frame (section 5.1)."""
        fails(1002, bytes.fromhex("810548656c6c6f"))

    def test_masked_pong(self):
        """A masked pong is unmasked."""
        assert parse(bytes.fromhex("8a8537fa213d7f9f4d5158"))[0] == [(PONG, b"Hello")]


class TestLengths:
    @pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, 200_000])
    def test_every_length_field(self, length: int):
        """7-, 16- and 64-bit lengths are read."""
        text = b"x" * length
        events, parser = parse(client_frame(WHOLE_TEXT, text), limit=200_000)
        assert events == [(TEXT, text)]
        assert parser.failure is None

    def test_a_64_bit_length_is_refused_before_its_payload_arrives(self):
        """A frame that announces 2**62 bytes ends with 1009 at once, and nothing is kept for it."""
        fails(1009, b"\x81\xff" + (2**62).to_bytes(8, "big") + b"mask")

    def test_a_length_with_the_top_bit_is_refused(self):
        """A 64-bit length of 2**63 or more, which the RFC forbids, does not get through."""
        fails(1009, b"\x81\xff" + (2**64 - 1).to_bytes(8, "big") + b"mask")

    @pytest.mark.parametrize(
        ("size", "length"), [(2, 0), (2, 124), (2, 125), (8, 0), (8, 126), (8, 65535)]
    )
    def test_a_length_in_too_long_a_form_is_refused(self, size: int, length: int):
        """A length that fits into a shorter field is 1002, before its payload arrives."""
        for first in (WHOLE_TEXT, FIRST_TEXT):
            frame = in_long_form(first, length, size)
            fails(1002, frame, limit=100_000)
            fails(1002, frame[: 2 + size + 4], limit=100_000)

    @pytest.mark.parametrize(("size", "length"), [(2, 126), (8, 65536)])
    def test_a_length_in_its_shortest_form(self, size: int, length: int):
        """The first length that needs a longer field is read there."""
        frame = in_long_form(WHOLE_TEXT, length, size)
        assert parse(frame, limit=100_000)[0] == [(TEXT, bytes(length))]

    @pytest.mark.parametrize("limit", [10, 125, 126, 1024, 70_000])
    def test_the_limit_of_a_frame(self, limit: int):
        """A message of exactly the limit passes, one more byte is 1009."""
        events, parser = parse(client_frame(WHOLE_TEXT, b"x" * limit), limit=limit)
        assert events == [(TEXT, b"x" * limit)]
        assert parser.failure is None
        fails(1009, client_frame(WHOLE_TEXT, b"x" * (limit + 1)), limit=limit)

    def test_the_limit_counts_all_fragments(self):
        """Fragments that sum up to the limit pass, one more byte is 1009."""
        half = b"x" * (LIMIT // 2)
        events, _ = parse(client_frame(FIRST_TEXT, half) + client_frame(LAST, half))
        assert events == [(TEXT, half + half)]
        fails(1009, client_frame(FIRST_TEXT, half), client_frame(LAST, half + b"x"))

    def test_the_limit_holds_for_a_message_that_never_ends(self):
        """Large fragments without FIN end with 1009 too."""
        large = b"x" * (LIMIT // 4)
        fails(1009, client_frame(FIRST_TEXT, large), *[client_frame(MIDDLE, large)] * 4)

    def test_the_limit_begins_anew_with_each_message(self):
        """Messages of the full size may follow one another."""
        text = b"x" * LIMIT
        events, parser = parse(client_frame(WHOLE_TEXT, text) * 3)
        assert events == [(TEXT, text)] * 3
        assert parser.failure is None

    def test_control_frames_do_not_count(self):
        """A ping between fragments takes nothing from the message's limit."""
        half = b"x" * (LIMIT // 2)
        ping = client_frame(A_PING, b"p" * 125)
        events, _ = parse(client_frame(FIRST_TEXT, half) + ping + client_frame(LAST, half))
        assert events == [(PING, b"p" * 125), (TEXT, half + half)]


class TestWholeText:
    """The straight way for what most chunks are."""

    @pytest.mark.parametrize("text", ["", "x", "x" * 125, "y" * 126, "z" * 0xFFFF, "tschüß 😀"])
    def test_one_text_frame(self, text: str):
        """A chunk that is one text frame is a message, again and again."""
        parser = FrameParser(FrameLimits(0x10000, MAX_FRAGMENTS))
        frame = client_frame(WHOLE_TEXT, text.encode())
        assert [parser.whole_text(frame) for _ in range(3)] == [text.encode()] * 3
        assert parser.receive(frame) == [(TEXT, text.encode())]

    @pytest.mark.parametrize(
        "chunk",
        [
            pytest.param(b"", id="nothing"),
            pytest.param(client_frame(WHOLE_TEXT)[:5], id="half a header"),
            pytest.param(client_frame(WHOLE_TEXT, b"hi")[:-1], id="half a frame"),
            pytest.param(client_frame(WHOLE_TEXT, b"hi") + b"\x81", id="more than a frame"),
            pytest.param(client_frame(WHOLE_TEXT, b"x" * 125) + b"y", id="a byte more"),
            pytest.param(client_frame(WHOLE_TEXT, b"x" * 0x10000), id="long"),
            pytest.param(in_long_form(WHOLE_TEXT, 2, 2), id="a length in a long form"),
            pytest.param(in_long_form(WHOLE_TEXT, 124, 2), id="a long form of some length"),
            pytest.param(in_long_form(WHOLE_TEXT, 99, 8), id="a length in the longest form"),
            pytest.param(client_frame(FIRST_TEXT, b"hi"), id="fragment"),
            pytest.param(client_frame(A_PING, b"hi"), id="ping"),
            pytest.param(client_frame(WHOLE_TEXT, b"mask" + b"hi", masked=False), id="not masked"),
            pytest.param(client_frame(WHOLE_TEXT | 0x40, b"hi"), id="reserved bit"),
            pytest.param(client_frame(WHOLE_TEXT, b"\xff"), id="no UTF-8"),
            pytest.param(client_frame(WHOLE_TEXT, b"x" * 101), id="over the limit"),
        ],
    )
    def test_anything_else(self, chunk: bytes):
        """Everything else is left to `receive`, which sees it as if nobody had asked before."""
        parser = FrameParser(FrameLimits(100, MAX_FRAGMENTS))
        assert parser.whole_text(chunk) is None
        events, other = parse(chunk, limit=100)
        assert parser.receive(chunk) == events
        assert str(parser.failure) == str(other.failure)

    @pytest.mark.parametrize(
        "before",
        [
            pytest.param(client_frame(WHOLE_TEXT, b"x" * 20)[:10], id="half a frame"),
            pytest.param(client_frame(FIRST_TEXT, b"x"), id="half a message"),
            pytest.param(client_frame(A_CLOSE), id="the end"),
            pytest.param(client_frame(FIRST_BINARY), id="a violation"),
        ],
    )
    def test_what_came_before(self, before: bytes):
        """A text frame that is no message of its own by what came before is left to it too."""
        parser = FrameParser(FrameLimits(LIMIT, MAX_FRAGMENTS))
        assert parser.receive(before)[1:] == []
        assert parser.whole_text(client_frame(WHOLE_TEXT, b"hi")) is None


class TestFragments:
    def test_fragments_become_one_message(self):
        """A message in three fragments comes out once, whole."""
        frames = client_frame(FIRST_TEXT, b"Hel"), client_frame(MIDDLE, b""), client_frame(LAST)
        assert parse(b"".join(frames))[0] == [(TEXT, b"Hel")]

    def test_control_frames_between_fragments(self):
        """Pings and pongs between fragments come out at once, before the message."""
        events, _ = parse(
            client_frame(FIRST_TEXT, b"a")
            + client_frame(A_PING, b"1")
            + client_frame(MIDDLE, b"b")
            + client_frame(A_PONG, b"2")
            + client_frame(LAST, b"c")
        )
        assert events == [(PING, b"1"), (PONG, b"2"), (TEXT, b"abc")]

    def test_a_close_between_fragments(self):
        """A close frame inside a fragmented message ends it."""
        events, parser = parse(client_frame(FIRST_TEXT, b"a") + client_frame(A_CLOSE))
        assert events == [(CLOSE, b"")]
        assert parser.failure is None
        assert parser.finished

    @pytest.mark.parametrize("cut", range(1, 10))
    def test_a_character_split_over_fragments(self, cut: int):
        """A fragment may end inside a character."""
        text = "é€😀".encode()
        events, _ = parse(client_frame(FIRST_TEXT, text[:cut]) + client_frame(LAST, text[cut:]))
        assert events == [(TEXT, text)]

    def test_a_character_in_a_fragment_per_byte(self):
        """A character may come in as many fragments as it has bytes."""
        frames = [client_frame(FIRST_TEXT)]
        frames += [client_frame(MIDDLE, bytes([byte])) for byte in "😀".encode()]
        assert parse(b"".join(frames) + client_frame(LAST))[0] == [(TEXT, "😀".encode())]

    @pytest.mark.parametrize("payload", [b"", b"x"], ids=["empty", "one byte"])
    def test_the_limit_of_fragments(self, payload: bytes):
        """As many fragments as the limit pass, pings between them not counted; more are 1008."""
        ping = client_frame(A_PING, b"p")
        middle = (client_frame(MIDDLE, payload) + ping) * (MAX_FRAGMENTS - 2)
        whole = client_frame(FIRST_TEXT, payload) + middle + client_frame(LAST, payload)
        pings = [(PING, b"p")] * (MAX_FRAGMENTS - 2)
        text = (TEXT, payload * MAX_FRAGMENTS)
        assert parse(whole + whole)[0] == [*pings, text, *pings, text]

        endless = [client_frame(FIRST_TEXT, payload), middle, client_frame(MIDDLE, payload)]
        for one_more in (MIDDLE, LAST):
            fails(1008, *endless, client_frame(one_more, payload)[:2], after=pings)


class TestViolations:
    @pytest.mark.parametrize("bit", [0x40, 0x20, 0x10], ids=["RSV1", "RSV2", "RSV3"])
    def test_reserved_bits(self, bit: int):
        """A reserved bit without an extension is 1002, on data and control frames."""
        fails(1002, client_frame(WHOLE_TEXT | bit, b"x"))
        fails(1002, client_frame(A_PING | bit, b"x"))

    @pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF])
    def test_unknown_opcodes(self, opcode: int):
        """A reserved opcode is 1002."""
        fails(1002, client_frame(0x80 | opcode, b"x"))

    @pytest.mark.parametrize("first", [A_CLOSE, A_PING, A_PONG], ids=["close", "ping", "pong"])
    def test_control_frames(self, first: int):
        """A fragmented control frame, or one over 125 bytes, is 1002."""
        fails(1002, client_frame(first & 0x7F))
        fails(1002, client_frame(first, b"x" * 126))
        fails(1002, client_frame(first, b"x" * 70_000), limit=2**20)

    @pytest.mark.parametrize("first", [WHOLE_TEXT, A_CLOSE, A_PING, A_PONG])
    def test_unmasked_frames(self, first: int):
        """An unmasked frame of any kind is 1002."""
        fails(1002, client_frame(first, masked=False))

    @pytest.mark.parametrize("first", [LAST, MIDDLE])
    def test_a_continuation_of_nothing(self, first: int):
        """A continuation frame without a message to continue is 1002, at any time."""
        fails(1002, client_frame(first, b"x"))
        whole = client_frame(WHOLE_TEXT, b"a")
        fails(1002, whole, client_frame(first, b"x"), after=[(TEXT, b"a")])

    @pytest.mark.parametrize("first", [WHOLE_TEXT, FIRST_TEXT, WHOLE_BINARY, FIRST_BINARY])
    def test_a_new_message_within_a_message(self, first: int):
        """A data frame where a continuation is due is 1002."""
        fails(1002, client_frame(FIRST_TEXT, b"a"), client_frame(first, b"b"))

    @pytest.mark.parametrize("first", [WHOLE_BINARY, FIRST_BINARY])
    def test_binary(self, first: int):
        """A binary message is 1003, from its first frame on."""
        fails(1003, client_frame(first, b"x"))
        fails(1003, client_frame(first, b"x")[:2])

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param(b"\xff", id="no UTF-8 byte"),
            pytest.param(b"\x80", id="continuation byte alone"),
            pytest.param(b"\xc3", id="cut character"),
            pytest.param(b"\xc0\xaf", id="overlong"),
            pytest.param(b"\xed\xa0\x80", id="surrogate"),
            pytest.param(b"\xf4\x90\x80\x80", id="beyond U+10FFFF"),
        ],
    )
    def test_text_that_is_no_utf8(self, text: bytes):
        """Text that is not UTF-8 is 1007, in one frame and in two."""
        fails(1007, client_frame(WHOLE_TEXT, b"a" + text))
        fails(1007, client_frame(FIRST_TEXT, b"a" + text[:1]), client_frame(LAST, text[1:]))

    def test_bad_utf8_is_noticed_in_the_first_bad_fragment(self):
        """A fragment that cannot become UTF-8 is 1007 before the message is complete."""
        fails(1007, client_frame(FIRST_TEXT, b"\xce\xba\xf4\x90"))

    def test_what_came_before_is_kept(self):
        """Messages before a violation are returned, what follows it is not."""
        frames = [client_frame(WHOLE_TEXT, b"1"), client_frame(A_PING, b"2")]
        bad = client_frame(WHOLE_TEXT, b"\xff")
        fails(1007, *frames, bad, *frames, after=[(TEXT, b"1"), (PING, b"2")])

    def test_nothing_after_a_violation(self):
        """After a violation all further bytes are ignored and the failure stays."""
        parser = FrameParser(FrameLimits(LIMIT, MAX_FRAGMENTS))
        parser.receive(b"\x81\x00")
        failure = parser.failure
        assert failure is not None
        assert parser.receive(client_frame(WHOLE_TEXT, b"x")) == []
        assert parser.failure is failure


class TestBounds:
    """What one call looks at, of a stream that has more."""

    def test_frames(self):
        """Frames are counted, those without an event of their own too; the rest waits."""
        message = client_frame(FIRST_TEXT, b"a") + client_frame(LAST, b"b")
        parser = FrameParser(FrameLimits(LIMIT, MAX_FRAGMENTS))
        stream = client_frame(A_PING, b"1") + message + client_frame(A_PONG) + message[:6]
        assert parser.receive(stream, 2) == [(PING, b"1")]
        assert parser.has_rest
        assert parser.receive(b"", 1) == [(TEXT, b"ab")]
        assert parser.receive(b"", 0) == []
        assert parser.has_rest
        assert parser.receive(b"", 2) == [(PONG, b"")]
        assert not parser.has_rest, "what is left is no frame yet"
        assert parser.receive(message[6:], 2) == [(TEXT, b"ab")]

    def test_bytes(self):
        """No further frame is looked at once there were so many bytes, but one always is."""
        texts = [(TEXT, b"%d" % number * 50) for number in range(10)]
        stream = b"".join(client_frame(WHOLE_TEXT, text) for _, text in texts)
        parser = FrameParser(FrameLimits(LIMIT, MAX_FRAGMENTS))
        assert parser.receive(stream, max_bytes=1) == texts[:1]
        assert parser.receive(b"", max_bytes=2 * 56) == texts[1:3]
        assert parser.receive(b"", max_bytes=2 * 56 + 1) == texts[3:6]
        assert parser.has_rest
        assert parser.receive(b"") == texts[6:]
        assert not parser.has_rest

    def test_what_comes_on_top(self):
        """Bytes that arrive while others wait come after them."""
        texts = [(TEXT, b"%d" % number) for number in range(9)]
        frames = [client_frame(WHOLE_TEXT, text) for _, text in texts]
        parser = FrameParser(FrameLimits(LIMIT, MAX_FRAGMENTS))
        assert parser.receive(b"".join(frames[:4]), 1) == texts[:1]
        assert parser.whole_text(frames[4]) is None
        assert parser.receive(b"".join(frames[4:6]), 1) == texts[1:2]
        assert parser.receive(frames[6] + frames[7][:3], 1) == texts[2:3]
        assert parser.receive(frames[7][3:] + frames[8]) == texts[3:]


class TestClose:
    @pytest.mark.parametrize(
        ("payload", "expected"),
        [
            pytest.param(b"", (None, ""), id="no code"),
            pytest.param(close_payload(1000), (1000, ""), id="code only"),
            pytest.param(close_payload(1001, "tschüß".encode()), (1001, "tschüß"), id="reason"),
            pytest.param(close_payload(4999, b"x" * 123), (4999, "x" * 123), id="longest reason"),
        ],
    )
    def test_payloads(self, payload: bytes, expected: tuple[int | None, str]):
        """A close frame is read with and without a code and a reason."""
        events, parser = parse(client_frame(A_CLOSE, payload))
        assert events == [(CLOSE, payload)]
        assert parser.failure is None
        assert parse_close(payload) == expected

    @pytest.mark.parametrize(
        "code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]
    )
    def test_codes_that_may_not_be_sent(self, code: int):
        """Codes outside the registered and private ranges are 1002."""
        fails(1002, client_frame(A_CLOSE, close_payload(code)))

    def test_half_a_code(self):
        """A close frame with one byte is 1002."""
        fails(1002, client_frame(A_CLOSE, b"\x03"))

    def test_a_reason_that_is_no_utf8(self):
        """A close reason that is not UTF-8 is 1007."""
        fails(1007, client_frame(A_CLOSE, close_payload(1000, b"\xff")))

    def test_nothing_after_a_close(self):
        """What follows a close frame is ignored, even if it breaks the protocol."""
        parser = FrameParser(FrameLimits(LIMIT, MAX_FRAGMENTS))
        stream = client_frame(A_CLOSE) + client_frame(WHOLE_TEXT, b"x") + b"\xff\xff"
        assert parser.receive(stream) == [(CLOSE, b"")]
        assert parser.receive(client_frame(WHOLE_TEXT, b"x")) == []
        assert parser.finished
        assert parser.failure is None
