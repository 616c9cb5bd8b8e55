"""Looks at everything a checked member got, message by message, after the measurement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from itertools import accumulate
from typing import Protocol, TypeVar

from .client import Client
from .wire import DATA_PATTERN, server_frames

TEXT_FRAME = 0x81


@dataclass
class Faults:
    """Everything that must be zero."""

    lost: int = 0
    """Messages that did not come, over all members."""
    duplicated: int = 0
    disordered: int = 0
    """Messages that came after a later one of the same sender."""
    foreign: int = 0
    """Messages of another room, and frames that are no message of the load."""
    surplus_bytes: int = 0
    """Bytes that came beyond what was sent to a room, or that make no whole message."""
    closed: int = 0
    """Connections that failed, or that the server ended."""

    @property
    def total(self) -> int:
        return sum(getattr(self, each.name) for each in fields(self))

    def __str__(self) -> str:
        return ", ".join(f"{value} {name}" for name, value in asdict(self).items() if value)


class Sender(Protocol):
    """One that numbers its messages; `sent` of them, the probe included."""

    sent: int


AnySender = TypeVar("AnySender", bound=Sender)

OnMessage = Callable[[AnySender, int, int], None]
"""Called with the sender, when it sent (ns) and when the message came (ns)."""


def check_member(
    member: Client,
    senders: Mapping[int, AnySender],
    faults: Faults,
    on_message: OnMessage[AnySender],
    *,
    answers: bytes | None = None,
) -> int:
    """Count the faults in what a member got of the senders of its rooms; returns the messages.

    Every frame must be a whole text with a message of a sender of the member's room, and each
    sender's messages must come once each, in their order, up to the last one it sent. (Message 0
    is the probe, which came before.) Frames with `answers` in them are none of these.
    """
    stream = b"".join(chunk for _, chunk in member.kept)
    ends = list(accumulate(len(chunk) for _, chunk in member.kept))
    expected = dict.fromkeys(senders, 1)
    missing: dict[int, set[int]] = {number: set() for number in senders}
    messages = read = consumed = 0
    for first, start, end, _ in server_frames(stream):
        consumed = end
        while ends[read] < end:
            read += 1
        if answers is not None and stream.find(answers, start, end) >= 0:
            continue
        found = DATA_PATTERN.search(stream, start, end)
        number = int(found[1]) if found else -1
        if first != TEXT_FRAME or found is None or number not in senders:
            faults.foreign += 1
            continue
        messages += 1
        count = int(found[2])
        due = expected[number]
        if count == due:
            expected[number] = count + 1
        elif count > due:
            missing[number].update(range(due, count))
            expected[number] = count + 1
        elif count in missing[number]:
            missing[number].discard(count)
            faults.disordered += 1
        else:
            faults.duplicated += 1
        on_message(senders[number], int(found[3]), member.kept[read][0])
    for number, sender in senders.items():
        faults.lost += len(missing[number]) + sender.sent - expected[number]
    faults.surplus_bytes += len(stream) - consumed
    return messages
