"""Looks at everything a checked member got, message by message, after the measurement."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

from .client import Client
from .results import Faults
from .wire import DATA_PATTERN, server_frames

TEXT_FRAME = 0x81

OnMessage = Callable[[Client, int, int], None]
"""Called with the sender, when it sent (ns) and when the message came (ns)."""


def check_member(
    member: Client, senders: dict[int, Client], faults: Faults, on_message: OnMessage
) -> int:
    """Count the faults in what a member got of the senders of its room; returns the messages.

    Every frame must be a whole text with a message of a sender of the member's room, and each
    sender's messages must come once each, in their order, up to the last one it sent. (Message 0
    is the probe, which came before.)
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
