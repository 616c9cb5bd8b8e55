"""A channel on its own: what is pending for whom, and what is taken of it."""

from __future__ import annotations

from typing import Any

import pytest

from sanic_chat.hub.channel import Channel, Member

ALL = 10**9


@pytest.fixture
def channel(a: Channel) -> Channel:
    """One with the frames 0 to 4 pending, of ten bytes each."""
    add(a, 5)
    return a


def add(channel: Channel, count: int) -> None:
    """Append frames, numbered from the first that the channel ever had."""
    for _ in range(count):
        number = channel.taken + len(channel.pending)
        channel.pending.append((number, b"%010d" % number))
        channel.pending_bytes += 10


def member() -> Any:
    """A member of which the channel needs nothing but that it is somebody."""
    return object()


def numbers(channel: Channel, of: Member) -> list[int]:
    return [int(frame) for _, frame in channel.pending_for(of)]


@pytest.mark.parametrize(
    ("messages", "size", "taken"),
    [
        (ALL, ALL, 5),
        (3, ALL, 3),
        (1, ALL, 1),
        (ALL, 50, 5),
        (ALL, 49, 4),
        (ALL, 20, 2),
        (ALL, 1, 1),
        (2, 39, 2),
        (4, 39, 3),
    ],
)
def test_take(channel: Channel, messages: int, size: int, taken: int) -> None:
    """The oldest frames come, at least one, within both bounds; the others stay, and count."""
    assert [int(frame) for frame in channel.take(messages, size)] == [*range(taken)]
    assert channel.taken == taken
    assert numbers(channel, member()) == [*range(taken, 5)]
    assert channel.pending_bytes == 10 * (5 - taken)


def test_one_frame_over_the_bound(a: Channel) -> None:
    """A frame that alone is more than may be taken is taken."""
    add(a, 1)
    assert a.take(ALL, 1) == [b"0000000000"]
    assert a.pending == []


def test_who_joins_later(channel: Channel) -> None:
    """What is pending when a member is skipped is not for it; what comes then is."""
    late = member()
    channel.skip(late)
    add(channel, 2)
    assert numbers(channel, late) == [5, 6]
    assert numbers(channel, member()) == [*range(7)]


def test_a_sender_without_echo(channel: Channel) -> None:
    """It gets all but the frames that it was muted for."""
    sender = member()
    channel.mute(sender)
    add(channel, 2)
    channel.mute(sender)
    add(channel, 2)
    assert numbers(channel, sender) == [0, 1, 2, 3, 4, 6, 8]
    assert numbers(channel, member()) == [*range(9)]


def test_skipping_takes_the_mutes_along(channel: Channel) -> None:
    """Frames that a member was muted for are among those that it is not to get anyway."""
    sender = member()
    channel.mute(sender)
    add(channel, 1)
    channel.skip(sender)
    add(channel, 1)
    assert numbers(channel, sender) == [6]
    assert channel.forget(sender) == 1


def test_forget(channel: Channel) -> None:
    """Who leaves is told how many frames it misses, and nothing is kept of it."""
    late, sender = member(), member()
    channel.skip(late)
    channel.mute(sender)
    add(channel, 3)
    assert channel.forget(late) == 3
    assert channel.forget(sender) == 7
    assert channel.forget(member()) == 8
    assert (channel.served, channel.muted) == ({}, {})


def test_exceptions_outlive_a_part_that_is_taken(channel: Channel) -> None:
    """Those about frames that are still pending stay, the others are forgotten."""
    early, late, sender, once = member(), member(), member(), member()
    channel.served = {early: 2}
    channel.skip(late)
    channel.mute(once)
    add(channel, 3)
    channel.mute(sender)
    add(channel, 1)
    channel.take(6, ALL)
    channel.forget_taken()
    assert channel.served == {}
    assert channel.muted == {sender: [8]}
    assert numbers(channel, sender) == [6, 7]
    assert numbers(channel, late) == numbers(channel, once) == [6, 7, 8]
    channel.take(ALL, ALL)
    channel.forget_taken()
    assert channel.muted == {}
