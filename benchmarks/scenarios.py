"""The scenarios: plain data, one entry each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Fanout:
    """Members of rooms receive what some of them send.

    Closed loop: each sender keeps `window` messages in flight, and sends the next one when one of
    its own has come back. Open loop: `rate` messages per second in all, evenly spaced, whatever
    comes back.
    """

    name: str
    title: str
    rooms: int
    members: int
    senders: int
    """Senders in each room."""
    checked: int
    """Members of each room that keep all they get, and are checked message by message."""
    window: int = 1
    rate: float = 0
    """Messages per second in all; 0: closed loop."""
    other_rate: float = 0
    """The rate of every system but sanic_chat; 0: the same."""
    payload: int = 64
    """Bytes of filling in each message's data."""
    workers: int = 1
    floor: bool = False
    """Whether the price of a plain send() is measured beside it."""

    def __post_init__(self) -> None:
        if not 0 < self.senders <= self.members:
            raise ValueError(f"{self.senders} senders in a room of {self.members}")
        if self.members % self.workers:
            raise ValueError(f"{self.members} members do not go evenly into {self.workers} workers")

    @property
    def connections(self) -> int:
        return self.rooms * self.members


@dataclass(frozen=True)
class Mixed:
    """Clients in more than one room, and clients that do more than speak.

    `rate` times a second somebody says something to a room: a sender drawn at random, or the one
    `talker`. What `then` says follows at once. What is measured is told beside the figures of the
    scenario `beside`, which is the same without what makes this one mixed.
    """

    name: str
    title: str
    rooms: int
    members: int
    """Of each of these rooms."""
    rate: float
    checked: int
    """Members of each room that are checked message by message."""
    talker: bool = False
    """Whether one client of the first room says everything, beside a pair that talks elsewhere."""
    each_in: int = 1
    """The rooms that each member is in, of so many times `rooms`, with other members in each."""
    own_rooms: Literal["", "others", "members"] = ""
    """The others with a room of their own: as many clients beside the rooms, or their members."""
    then: Literal["", "own", "ping", "room"] = ""
    """After each message: somebody alone in a room speaks there; the talker sends a `ping`; or it
    says the same to the second room, which it is in too."""
    beside: str = ""
    payload: int = 64

    def __post_init__(self) -> None:
        if self.then == "own" and not self.own_rooms:
            raise ValueError("nobody has a room of its own to speak in")
        if self.then == "room" and self.rooms < 2:
            raise ValueError("there is no second room")

    @property
    def connections(self) -> int:
        return self.rooms * self.members * (1 + (self.own_rooms == "others"))

    def rooms_of(self, number: int) -> list[int]:
        """The rooms of the member of that number, the one that it connects to first."""
        room, seat = divmod(number, self.members)
        return [
            layer * self.rooms + (room + layer * seat) % self.rooms for layer in range(self.each_in)
        ]


@dataclass(frozen=True)
class Idle:
    """Connections that say nothing: what memory they take in the server."""

    name: str
    title: str
    connections: int
    settle: float = 1.0
    """Seconds before each look at the memory."""


@dataclass(frozen=True)
class Connects:
    """Clients that connect, `in_flight` at a time, and stay."""

    name: str
    title: str
    connections: int
    in_flight: int
    settle: float = 0.2
    """Seconds between a warm-up and the measurement."""


@dataclass(frozen=True)
class Storm:
    """All clients lose their connection at the same moment, and all come back at once."""

    name: str
    title: str
    rooms: int
    members: int

    @property
    def connections(self) -> int:
        return self.rooms * self.members


Scenario = Fanout | Mixed | Idle | Connects | Storm

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Fanout(
            "room_100", "room of 100, 10 senders", rooms=1, members=100, senders=10, checked=10
        ),
        Fanout(
            "room_100_w16", "room of 100, 10 senders, 16 in flight each",
            rooms=1, members=100, senders=10, checked=3, window=16,
        ),
        Fanout(
            "pairs", "100 rooms of 2, both send", rooms=100, members=2, senders=2, checked=2
        ),
        Fanout(
            "rooms_of_20", "100 rooms of 20, 2 senders each",
            rooms=100, members=20, senders=2, checked=3,
        ),
        Fanout(
            "rooms_of_20_all", "100 rooms of 20, everybody sends",
            rooms=100, members=20, senders=20, checked=1,
        ),
        Fanout(
            "one_to_1000", "1 sender to 1 000", rooms=1, members=1000, senders=1, checked=200,
            floor=True,
        ),
        Fanout(
            "room_1000", "room of 1 000, 100 senders",
            rooms=1, members=1000, senders=100, checked=50,
        ),
        Fanout(
            "steady_200", "200 messages/s to 20 rooms of 50",
            rooms=20, members=50, senders=1, checked=50, rate=200,
        ),
        Fanout(
            "steady_1000", "1 000 messages/s to 20 rooms of 50, others 100/s",
            rooms=20, members=50, senders=1, checked=20, rate=1000, other_rate=100,
        ),
        Fanout(
            "cross_pod", "2 workers, room of 100 on both, 10 senders",
            rooms=1, members=100, senders=10, checked=10, workers=2,
        ),
        Fanout(
            "cross_pod_20", "2 workers, 10 rooms of 20 on both, 2 senders each",
            rooms=10, members=20, senders=2, checked=4, workers=2,
        ),
        Fanout(
            "cross_pod_20_all", "2 workers, 10 rooms of 20 on both, everybody sends",
            rooms=10, members=20, senders=20, checked=1, workers=2,
        ),
        Mixed(
            "mixed_50", "4 000 messages/s to 20 rooms of 50, senders in mixed order",
            rooms=20, members=50, rate=4000, checked=2,
        ),
        Mixed(
            "mixed_50_own", "the same, everybody in a silent room of its own too",
            rooms=20, members=50, rate=4000, checked=2, own_rooms="members", beside="mixed_50",
        ),
        Mixed(
            "mixed_50_8", "the same, everybody in 8 of 160 rooms of 50",
            rooms=20, members=50, rate=4000, checked=2, each_in=8, beside="mixed_50",
        ),
        Mixed(
            "mixed_1000", "4 000 messages/s to a room of 1 000, 4 000/s to rooms of one elsewhere",
            rooms=1, members=1000, rate=4000, checked=20, own_rooms="others", then="own",
        ),
        Mixed(
            "mixed_1000_own", "the same, the rooms of one being its members'",
            rooms=1, members=1000, rate=4000, checked=20, own_rooms="members", then="own",
            beside="mixed_1000",
        ),
        Mixed(
            "talker", "1 talker, 1 000 messages/s to a room of 1 000, beside a pair",
            rooms=1, members=1000, rate=1000, checked=20, talker=True,
        ),
        Mixed(
            "talker_pings", "the same, and a ping after each message",
            rooms=1, members=1000, rate=1000, checked=20, talker=True, then="ping",
            beside="talker",
        ),
        Mixed(
            "talker_rooms", "the same, each message to two rooms of 500",
            rooms=2, members=500, rate=1000, checked=10, talker=True, then="room",
            beside="talker",
        ),
        Idle("idle_10k", "10 000 idle connections", connections=10_000),
        Connects("connects", "connects, 100 in flight", connections=2_000, in_flight=100),
        Storm("storm_5k", "reconnect storm of 5 000", rooms=100, members=50),
    )
}  # fmt: skip
