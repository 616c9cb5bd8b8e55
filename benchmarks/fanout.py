"""Measures a Fanout: members of rooms receive what some of them send."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.harness import RedisProcess

from .check import check_member
from .client import Client
from .crowd import CannotMeasure, open_rooms
from .loop import Loop
from .meter import Meter
from .results import Faults, Latency, Result
from .scenarios import Fanout
from .systems import Server

PROBE_SECONDS = 10.0
DRAIN_SECONDS = 20.0
SURPLUS_SECONDS = 0.05
"""How long what should not come gets to come, once all has come that should."""

MAX_SECONDS = 10.0
"""Servers ping after 20 s or more, and a member that only counts would not see it."""


def measure(
    scenario: Fanout, server: Server, *, loop: Loop, redis: RedisProcess, seconds: float
) -> Result:
    """One round. Raises CannotMeasure."""
    if seconds > MAX_SECONDS:
        raise CannotMeasure(f"a round takes at most {MAX_SECONDS:g} s")
    clients = open_rooms(loop, server, rooms=scenario.rooms, members=scenario.members)
    try:
        with _no_garbage_collection():
            run = _Run(scenario, server, loop, clients)
            return run.measure(redis, seconds)
    finally:
        for client in clients:
            client.close()


class _Run:
    def __init__(self, scenario: Fanout, server: Server, loop: Loop, clients: list[Client]) -> None:
        self._scenario = scenario
        self._system = server.system.name
        self._server = server
        self._loop = loop
        self._clients = clients
        self._rooms = [
            clients[start : start + scenario.members]
            for start in range(0, len(clients), scenario.members)
        ]
        self._senders = {room[0].room: room[: scenario.senders] for room in self._rooms}
        self._checked = {c for room in self._rooms for c in _spread(room, scenario.checked)}
        ours = self._system in ("sanic_chat", "send_price")
        self._rate = scenario.rate if ours else scenario.other_rate or scenario.rate
        self._stopped = False

    def measure(self, redis: RedisProcess, seconds: float) -> Result:
        message_bytes = self._probe()
        self._read_fast()
        self._start_sending()
        self._loop.run(time.monotonic() + min(1.0, seconds / 3))
        meter, before = Meter(self._server, redis), self._received()
        self._loop.run(time.monotonic() + seconds)
        meter.stop()
        figures = meter.figures((self._received() - before) // message_bytes)
        self._stop_sending(message_bytes)
        faults = self._count_faults(message_bytes)
        near: list[int] = []
        far: list[int] = []
        checked = self._check(faults, meter, near, far)
        return Result(
            scenario=self._scenario.name,
            system=self._system,
            latency=Latency.of(near + far),
            latency_other_pod=Latency.of(far),
            checked=checked,
            faults=faults,
            note=f"{self._rate:g} messages/s" if self._rate else "",
            **figures,
        )

    def _probe(self) -> int:
        """One sender of each room sends, and all must get it; returns a message's wire length.

        For the other senders, too, the probe counts as their message 0.
        """
        for senders in self._senders.values():
            for sender in senders:
                sender.prepare_to_send(self._scenario.payload)
                sender.sent = 1
            senders[0].sent = 0
            senders[0].send(time.monotonic_ns())
        deadline = time.monotonic() + PROBE_SECONDS
        waiting = self._clients
        while waiting and time.monotonic() < deadline:
            waiting = [client for client in waiting if not client.texts]
            self._loop.run(time.monotonic() + 0.02)
        if waiting:
            raise CannotMeasure(f"{len(waiting)} members did not get the probe of their room")
        lengths = {client.frame_bytes for client in self._clients}
        if len(lengths) != 1:
            raise CannotMeasure(f"messages have different lengths: {sorted(lengths)}")
        return lengths.pop()

    def _read_fast(self) -> None:
        for client in self._clients:
            if client in self._checked:
                client.keep()
            else:
                client.count()

    def _received(self) -> int:
        return sum(client.received for client in self._clients)

    # -- sending ---------------------------------------------------------------------------

    def _start_sending(self) -> None:
        senders = [sender for room in self._senders.values() for sender in room]
        if self._rate:
            self._send_evenly(senders)
        else:
            for sender in senders:
                sender.start_closed_loop(self._scenario.window, keep=sender in self._checked)

    def _send_evenly(self, senders: list[Client]) -> None:
        interval = 1 / self._rate
        due = time.monotonic()
        turn = 0

        def send() -> None:
            nonlocal due, turn
            while due <= time.monotonic() and not self._stopped:
                # The latency counts from when it was due: a load that is late does not hide it.
                senders[turn % len(senders)].send(int(due * 1e9))
                turn += 1
                due += interval
            if not self._stopped:
                self._loop.call_at(due, send)

        send()

    def _stop_sending(self, message_bytes: int) -> None:
        """Wait until everything that was sent has come, or can be said not to come."""
        self._stopped = True
        for room in self._senders.values():
            for sender in room:
                sender.stop_sending()

        wanted = sum(self._sent(room[0]) * len(room) for room in self._rooms) * message_bytes
        deadline = time.monotonic() + DRAIN_SECONDS
        while self._received() < wanted and time.monotonic() < deadline:
            self._loop.run(time.monotonic() + 0.02)
        self._loop.run(time.monotonic() + SURPLUS_SECONDS)

    def _sent(self, member: Client) -> int:
        """Messages to a member's room, without the probes."""
        return sum(sender.sent - 1 for sender in self._senders[member.room])

    # -- checking --------------------------------------------------------------------------

    def _count_faults(self, message_bytes: int) -> Faults:
        faults = Faults()
        for client in self._clients:
            faults.closed += bool(client.failure)
            missing = self._sent(client) * message_bytes - client.received
            if client in self._checked:
                continue  # is looked at more closely
            if missing > 0:
                faults.lost += -(-missing // message_bytes)
            faults.surplus_bytes += max(-missing, 0) or missing % message_bytes
        return faults

    def _check(self, faults: Faults, meter: Meter, near: list[int], far: list[int]) -> int:
        checked = 0
        for member in self._checked:
            senders = {sender.number: sender for sender in self._senders[member.room]}

            def take(sender: Client, sent: int, came: int, worker: int = member.worker) -> None:
                if meter.began_ns <= came < meter.ended_ns:
                    (near if sender.worker == worker else far).append(came - sent)

            checked += check_member(member, senders, faults, take)
        return checked


def _spread(room: list[Client], count: int) -> list[Client]:
    """That many members, evenly over the room."""
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
