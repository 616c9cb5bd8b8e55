"""One round of messages: who is where and who speaks differs, how it is measured does not.

    open → probe → read fast → start sending → warm up → meter → stop → count and check

May live here: what every scenario of messages has in common. Must not know one of them.
"""

from __future__ import annotations

import gc
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

from tests.support.harness import RedisProcess

from ..load.check import Faults, Sender, check_member
from ..load.client import Client
from ..load.crowd import CannotMeasure
from ..load.loop import Loop
from ..results.result import Result
from .meter import Meter, meter_deliveries
from .servers import Server

PROBE_SECONDS = 10.0
DRAIN_SECONDS = 20.0
SURPLUS_SECONDS = 0.05
"""Time for messages that should not come, once all have come that should."""

LOOK_SECONDS = 0.02

MAX_SECONDS = 10.0
"""Servers ping after 20 s or more, and a member that only counts would not see it."""


class Speaker(Sender, Protocol):
    """A voice in one room."""

    number: int

    def probe(self) -> None:
        """Send message 0, for all speakers of the room."""


AnySpeaker = TypeVar("AnySpeaker", bound=Speaker)


class DeliveryRound(ABC, Generic[AnySpeaker]):
    """Measures one round with clients of its own, by `measure`, once.

    A subclass fills `clients`, `rooms`, `speakers` and `checked` in `open`, and says in
    `start_sending` how they speak.
    """

    def __init__(self, scenario: str, server: Server, loop: Loop) -> None:
        self.server = server
        self.loop = loop
        self.clients: list[Client] = []
        """Those whose deliveries are counted."""
        self.rooms: dict[Client, list[int]] = {}
        """The rooms of everybody, of those who are not counted too."""
        self.speakers: dict[int, list[AnySpeaker]] = {}
        """The voices in each room."""
        self.checked: set[Client] = set()
        """Those that keep all they get."""
        self.answers: dict[Client, bytes] = {}
        """The text that stands in each answer to a client's own commands."""
        self._scenario = scenario
        self._in_closed_loop: list[Client] = []
        self._is_stopped = False

    # -- what a scenario says --------------------------------------------------------------

    @abstractmethod
    def open(self) -> None:
        """Connect everybody. Raises CannotMeasure."""

    @abstractmethod
    def start_sending(self) -> None:
        """Let the speakers speak, by `send_evenly` or `send_in_closed_loop`."""

    @abstractmethod
    def note(self, member: Client, speaker: AnySpeaker, nanoseconds: int) -> None:
        """Take the latency of a message that came to a checked member in the interval."""

    @abstractmethod
    def details(self) -> dict[str, Any]:
        """The fields of the result beside its figures: latencies, a note."""

    # -- the round -------------------------------------------------------------------------

    def measure(self, redis: RedisProcess, seconds: float) -> Result:
        """Open, measure, check and close. Raises CannotMeasure."""
        if seconds > MAX_SECONDS:
            raise CannotMeasure(f"a round takes at most {MAX_SECONDS:g} s")
        try:
            self.open()
            with _no_garbage_collection():
                return self._measure(redis, seconds)
        finally:
            for client in {*self.clients, *self.rooms}:
                client.close()

    def _measure(self, redis: RedisProcess, seconds: float) -> Result:
        message_bytes = self._probe()
        for client in self.rooms:
            if client in self.checked:
                client.keep()
            else:
                client.count()
        self.start_sending()
        self.loop.run(time.monotonic() + min(1.0, seconds / 3))
        meter, figures = meter_deliveries(
            self.loop, self.server, redis, self.clients, message_bytes, seconds
        )
        self._stop_sending()
        due = self._due(message_bytes)
        self._drain(due)
        faults = self._count_faults(due, message_bytes)
        checked = self._check(faults, meter)
        return Result(
            scenario=self._scenario,
            system=self.server.system.name,
            checked=checked,
            faults=faults,
            **figures,
            **self.details(),
        )

    def _probe(self) -> int:
        """In each room one speaks, and all must get it; returns a message's wire length."""
        for speakers in self.speakers.values():
            speakers[0].probe()
        due = {client: len(rooms) for client, rooms in self.rooms.items()}
        self.wait_for_texts(due, "the probe of each of their rooms")
        lengths = {client.frame_bytes for client in self.rooms}
        if len(lengths) != 1:
            raise CannotMeasure(f"messages have different lengths: {sorted(lengths)}")
        return lengths.pop()

    def wait_for_texts(self, due: Mapping[Client, int], what: str) -> None:
        """Wait until each client has got so many, and forget them. Raises CannotMeasure."""
        deadline = time.monotonic() + PROBE_SECONDS
        waiting = list(due)
        while waiting and time.monotonic() < deadline:
            waiting = [client for client in waiting if len(client.texts) < due[client]]
            self.loop.run(time.monotonic() + LOOK_SECONDS)
        if waiting:
            raise CannotMeasure(f"{len(waiting)} clients did not get {what}")
        for client in due:
            client.texts.clear()

    # -- sending ---------------------------------------------------------------------------

    def send_evenly(self, rate: float, say: Callable[[int], None]) -> None:
        """Call `say` that many times a second, with the time (ns) at which it was due."""
        interval = 1 / rate
        due = time.monotonic()

        def send() -> None:
            nonlocal due
            while due <= time.monotonic() and not self._is_stopped:
                # The latency counts from when it was due: a load that is late does not hide it.
                say(int(due * 1e9))
                due += interval
            if not self._is_stopped:
                self.loop.call_at(due, send)

        send()

    def send_in_closed_loop(self, senders: Iterable[Client], window: int) -> None:
        """Let each keep `window` messages in flight."""
        for sender in senders:
            sender.start_closed_loop(window, keep=sender in self.checked)
            self._in_closed_loop.append(sender)

    def _stop_sending(self) -> None:
        self._is_stopped = True
        for sender in self._in_closed_loop:
            sender.stop_sending()

    # -- afterwards ------------------------------------------------------------------------

    def _due(self, message_bytes: int) -> dict[Client, int]:
        """The bytes that each is to get, without the probes."""
        said = {
            room: message_bytes * sum(speaker.sent - 1 for speaker in speakers)
            for room, speakers in self.speakers.items()
        }
        return {client: sum(said[room] for room in rooms) for client, rooms in self.rooms.items()}

    def _drain(self, due: dict[Client, int]) -> None:
        """Wait until everything that was sent has come, or can be said not to come."""
        deadline = time.monotonic() + DRAIN_SECONDS
        waiting = list(due)
        while waiting and time.monotonic() < deadline:
            self.loop.run(time.monotonic() + LOOK_SECONDS)
            waiting = [client for client in waiting if client.received < due[client]]
        self.loop.run(time.monotonic() + SURPLUS_SECONDS)

    def _count_faults(self, due: dict[Client, int], message_bytes: int) -> Faults:
        faults = Faults()
        for client, bytes_due in due.items():
            faults.closed += bool(client.failure)
            if client in self.checked:
                continue  # is looked at more closely
            missing = bytes_due - client.received
            if missing > 0:
                faults.lost += -(-missing // message_bytes)
            faults.surplus_bytes += max(-missing, 0) or missing % message_bytes
        return faults

    def _check(self, faults: Faults, meter: Meter) -> int:
        messages = 0
        for member in self.checked:

            def take(speaker: AnySpeaker, sent: int, came: int, member: Client = member) -> None:
                if meter.began_ns <= came < meter.ended_ns:
                    self.note(member, speaker, came - sent)

            heard = {s.number: s for room in self.rooms[member] for s in self.speakers[room]}
            messages += check_member(member, heard, faults, take, answers=self.answers.get(member))
        return messages


def spread(room: list[Client], count: int) -> list[Client]:
    """So many members, evenly over the room."""
    count = min(count, len(room))
    return [room[index * len(room) // count] for index in range(count)]


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """The load makes no cycles while it measures, and must not pause."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
