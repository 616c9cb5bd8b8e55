"""Measures a Fanout: members of rooms receive what some of them send."""

from __future__ import annotations

from itertools import cycle
from typing import Any

from ..load.client import Client
from ..load.crowd import open_rooms
from ..load.loop import Loop
from ..results.result import Latency
from ..scenarios import Fanout
from ..systems import SEND_PRICE
from .delivery import DeliveryRound, spread
from .servers import Server


class FanoutRound(DeliveryRound[Client]):
    """One round of a Fanout."""

    def __init__(self, scenario: Fanout, server: Server, loop: Loop) -> None:
        super().__init__(scenario.name, server, loop)
        self._fanout = scenario
        ours = server.system.is_sanic_chat or server.system is SEND_PRICE
        self._rate = scenario.rate if ours else scenario.other_rate or scenario.rate
        self._all: list[int] = []
        self._from_other_pod: list[int] = []

    def open(self) -> None:
        """Fill the rooms, and give each its senders."""
        scenario = self._fanout
        self.clients = open_rooms(
            self.loop, self.server, rooms=scenario.rooms, members=scenario.members
        )
        self.rooms = {client: [client.room] for client in self.clients}
        for start in range(0, len(self.clients), scenario.members):
            members = self.clients[start : start + scenario.members]
            senders = self.speakers[members[0].room] = members[: scenario.senders]
            for sender in senders:
                sender.prepare_to_send(scenario.payload)
            self.checked.update(spread(members, scenario.checked))

    def start_sending(self) -> None:
        """Send at a fixed rate, room by room, or let each sender wait for its own messages."""
        senders = [sender for room in self.speakers.values() for sender in room]
        if self._rate:
            turns = cycle(senders)
            self.send_evenly(self._rate, lambda due_ns: next(turns).send(due_ns))
        else:
            self.send_in_closed_loop(senders, self._fanout.window)

    def note(self, member: Client, speaker: Client, nanoseconds: int) -> None:
        """Tell what came from another worker apart."""
        self._all.append(nanoseconds)
        if speaker.worker != member.worker:
            self._from_other_pod.append(nanoseconds)

    def details(self) -> dict[str, Any]:
        """The latencies, and the rate if it was fixed."""
        return {
            "latency": Latency.of(self._all),
            "latency_other_pod": Latency.of(self._from_other_pod),
            "note": f"{self._rate:g} messages/s" if self._rate else "",
        }
