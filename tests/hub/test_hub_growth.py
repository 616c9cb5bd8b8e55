"""What a turn of the hub costs grows with what is written in it, and with nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from sanic_chat.hub.channel import Channel
from sanic_chat.hub.hub import Hub

FEW, FACTOR = 250, 8
MARGIN = 3
"""So many times more than in proportion is allowed: quadratic growth is `FACTOR` times more."""

FRAME = b"x" * 250


class Member:
    """Takes every write, and costs nothing."""

    def __init__(self, *, echo: bool = True) -> None:
        self.echo = echo
        self.channels: tuple[Channel, ...] = ()
        self.writable = True

    def write(self, frames: bytes) -> None: ...

    def enqueue(self, frames: bytes, messages: int, room: Channel) -> bool:
        return True

    def overflow(self, messages: int) -> None:
        raise AssertionError

    def fail(self, error: Exception) -> None:
        raise error


class Turns:
    """A hub, and the loop turns it asked for."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []
        self.hub = Hub(
            call_soon=self.soon.append,
            everyone=Channel(b"*", None, b"null"),
            write_messages=128,
            write_bytes=2**19,
        )

    def room(self, name: str, members: list[Member]) -> Channel:
        room = Channel(name.encode(), name, b'"%b"' % name.encode())
        for member in members:
            self.hub.add(member)
            self.hub.join(member, room)
        return room

    def rest(self) -> None:
        while self.soon:
            self.soon.pop()()


Case = Callable[[Turns, int], Callable[[], None]]
"""Prepares a hub for a size, and returns what is to be timed."""


def many_are_reset_during_a_backlog(turns: Turns, size: int) -> Callable[[], None]:
    members = [Member() for _ in range(1000)]
    room = turns.room("a", members)
    for _ in range(size * 10):
        turns.hub.deliver(room, FRAME)

    def run() -> None:
        for member in members[: size // 4]:
            turns.hub.remove(member)

    return run


def all_are_answered_during_a_backlog(turns: Turns, size: int) -> Callable[[], None]:
    members = [Member() for _ in range(300)]
    room = turns.room("a", members)
    turns.hub.deliver(room, FRAME)
    turns.soon.pop()()
    for _ in range(size * 10):
        turns.hub.deliver(room, FRAME)
    turns.hub.catch_up(members[0])

    def run() -> None:
        for _ in range(size):
            turns.hub.deliver(room, FRAME)
            turns.hub.catch_up(members[0])

    return run


def all_speak_without_echo(turns: Turns, size: int) -> Callable[[], None]:
    members = [Member(echo=False) for _ in range(size)]
    room = turns.room("a", members[:100])

    def run() -> None:
        for number in range(size):
            turns.hub.deliver(room, FRAME, members[number % 100])
        turns.rest()

    return run


def pairs_talk_beside_a_global_message(turns: Turns, size: int) -> Callable[[], None]:
    rooms = [turns.room(str(number), [Member(), Member()]) for number in range(size)]

    def run() -> None:
        turns.hub.deliver(turns.hub.everyone, FRAME)
        for room in rooms:
            turns.hub.deliver(room, FRAME)
        turns.rest()

    return run


def the_same_members_have_many_rooms(turns: Turns, size: int) -> Callable[[], None]:
    members = [Member() for _ in range(50)]
    rooms = [turns.room(str(number), members) for number in range(size // 10)]

    def run() -> None:
        for room in rooms:
            turns.hub.deliver(room, FRAME)
        turns.rest()

    return run


def a_pair_has_a_backlog(turns: Turns, size: int) -> Callable[[], None]:
    room = turns.room("a", [Member(), Member()])
    for _ in range(size * 10):
        turns.hub.deliver(room, FRAME)
    return turns.rest


def many_join_during_a_backlog(turns: Turns, size: int) -> Callable[[], None]:
    room = turns.room("a", [Member()])
    joining = [Member() for _ in range(size)]

    def run() -> None:
        for member in joining:
            turns.hub.deliver(room, FRAME)
            turns.hub.add(member)
            turns.hub.join(member, room)
            turns.hub.leave(member, room)
        turns.rest()

    return run


@pytest.mark.parametrize(
    "case",
    [
        many_are_reset_during_a_backlog,
        all_are_answered_during_a_backlog,
        all_speak_without_echo,
        pairs_talk_beside_a_global_message,
        the_same_members_have_many_rooms,
        a_pair_has_a_backlog,
        many_join_during_a_backlog,
    ],
)
def test_growth(case: Case):
    """Eight times as much takes about eight times as long."""
    few, many = seconds(case, FEW), seconds(case, FEW * FACTOR)
    assert many < few * FACTOR * MARGIN + 0.01


def seconds(case: Case, size: int) -> float:
    """CPU time, of the best of a few tries."""
    times = []
    for _ in range(4):
        run = case(Turns(), size)
        began = time.process_time()
        run()
        times.append(time.process_time() - began)
    return min(times)
