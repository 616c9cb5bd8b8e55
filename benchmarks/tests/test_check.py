"""The check of a member's messages notices loss, duplicates and disorder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from sanic_chat.websocket.frames import ping_frame, text_frame

from ..load.check import Faults, check_member
from ..load.client import Client
from ..load.loop import Loop
from ..load.wire import PLAIN, message_data

SENT = 4
"""Messages of the one sender after its probe: numbers 1 to 4."""


@pytest.fixture
def loop() -> Iterator[Loop]:
    with closing(Loop()) as loop:
        yield loop


def message(number: int, *, sender: int = 0) -> bytes:
    """A message as a server sends it."""
    return text_frame(b'{"data":%b}' % message_data(sender, number, number, b"x"))


ALL = [message(number) for number in range(1, SENT + 1)]


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        (ALL, Faults()),
        ([b"".join(ALL)], Faults()),
        ([bytes([byte]) for byte in b"".join(ALL)], Faults()),
        (ALL[:-1], Faults(lost=1)),
        (ALL[:1] + ALL[3:], Faults(lost=2)),
        ([], Faults(lost=4)),
        ([*ALL, ALL[-1]], Faults(duplicated=1)),
        ([ALL[0], ALL[0], *ALL[1:]], Faults(duplicated=1)),
        ([ALL[1], ALL[0], *ALL[2:]], Faults(disordered=1)),
        ([*ALL[2:], *ALL[:2]], Faults(disordered=2)),
        ([*ALL, message(1, sender=9)], Faults(foreign=1)),
        ([*ALL, text_frame(b"{}")], Faults(foreign=1)),
        ([*ALL, ping_frame()], Faults(foreign=1)),
        ([*ALL, ALL[0][:5]], Faults(surplus_bytes=5)),
    ],
)
def test_faults_are_counted(loop: Loop, chunks: list[bytes], expected: Faults) -> None:
    sender, member = (Client(loop, PLAIN, port=0, room=0, number=number) for number in (0, 1))
    sender.sent = 1 + SENT
    member.kept = list(enumerate(chunks))
    faults = Faults()
    check_member(member, {0: sender}, faults, lambda *_: None)
    assert faults == expected


def test_a_message_came_when_its_last_byte_came(loop: Loop) -> None:
    sender, member = (Client(loop, PLAIN, port=0, room=0, number=number) for number in (0, 1))
    sender.sent = 1 + SENT
    stream = b"".join(ALL)
    middle = len(ALL[0]) + 10
    member.kept = [(100, stream[:middle]), (200, stream[middle:])]
    seen: list[tuple[int, int]] = []
    checked = check_member(
        member, {0: sender}, Faults(), lambda sender, sent, came: seen.append((sent, came))
    )
    assert checked == SENT
    assert seen == [(1, 100), (2, 200), (3, 200), (4, 200)]


def test_answers_are_no_messages(loop: Loop) -> None:
    """Answers to a member itself are told apart from the messages of its room."""
    member = Client(loop, PLAIN, port=0, room=0, number=0)
    member.sent = 1 + SENT
    pong = text_frame(b'{"type":"system","data":{"event":"pong"}}')
    member.kept = list(enumerate([ALL[0], pong, *ALL[1:], pong]))
    faults = Faults()
    checked = check_member(member, {0: member}, faults, lambda *_: None, answers=b'"type":"system"')
    assert (checked, faults) == (SENT, Faults())
