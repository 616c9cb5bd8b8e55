"""Measures a Mixed: clients in several rooms, senders in mixed order, commands between messages."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

from ..load.client import Client
from ..load.crowd import make_clients, must_open, open_room
from ..load.loop import Loop
from ..load.wire import MessageMaker, client_frame
from ..results.result import Latency
from ..scenarios import Mixed
from .delivery import DeliveryRound, spread
from .servers import Server

FIRST_OWN_ROOM = 20_000
"""Rooms of one are numbered from here on; those of many begin at 0."""
PAIR_ROOM = 99_999

PING = client_frame(b'{"type":"system","data":{"action":"ping"}}')
ANSWER = b'"type":"system"'


class Voice:
    """A client as one room hears it: its messages there are numbered by themselves."""

    def __init__(self, client: Client, room: int, *, number: int, payload: int) -> None:
        self.client = client
        self.number = number
        self.sent = 1
        """The probe included, which one voice of each room sends for all."""
        message = b'{"data":%%b,"room":"%b"}' % client.wire.room_name(room).encode()
        self._maker = MessageMaker(replace(client.wire, message=message), self.number, payload)

    def frame(self, time_ns: int) -> bytes:
        """The next message, which was due at that time."""
        frame = self._maker.frame(self.sent, time_ns)
        self.sent += 1
        return frame

    def send(self, time_ns: int) -> None:
        """Send the next message, which was due at that time."""
        self.client.write(self.frame(time_ns))

    def probe(self) -> None:
        """Send message 0."""
        self.client.write(self._maker.frame(0, time.monotonic_ns()))


class MixedRound(DeliveryRound[Voice | Client]):
    """One round of a Mixed."""

    def __init__(self, scenario: Mixed, server: Server, loop: Loop) -> None:
        super().__init__(scenario.name, server, loop)
        self._mixed = scenario
        self._random = random.Random(1)  # the same order in every round
        self._members: dict[int, list[Client]] = {}
        self._voices: dict[int, list[Voice]] = {}
        self._pair: list[Client] = []
        self._latencies: list[int] = []
        self._latencies_of_pair: list[int] = []

    # -- before ----------------------------------------------------------------------------

    def open(self) -> None:
        """Connect everybody, and let them join what they are in besides."""
        scenario, loop, server = self._mixed, self.loop, self.server
        total = scenario.rooms * scenario.members
        crowd = make_clients(loop, server, range(total), per_room=scenario.members)
        others: list[Client] = []
        if scenario.own_rooms == "others":
            numbers = range(FIRST_OWN_ROOM, FIRST_OWN_ROOM + total)
            others = make_clients(loop, server, numbers, per_room=1)
        self.clients = crowd + others
        must_open(loop, self.clients)
        for client in self.clients:
            self._enter(client, client.room)
        for client in crowd:
            for room in scenario.rooms_of(client.number)[1:]:
                self._join(client, room)
            if scenario.own_rooms == "members":
                self._join(client, FIRST_OWN_ROOM + client.number)
        if scenario.then == "room":
            for room in range(1, scenario.rooms):
                self._join(crowd[0], room)
        joins = {client: len(rooms) - 1 for client, rooms in self.rooms.items()}
        self.wait_for_texts(joins, "the answer to each join")
        for room in range(scenario.rooms):
            self.checked.update(spread(self._members[room], scenario.checked))
        talker = crowd[0] if scenario.talker else None
        voice_numbers = count()
        for room, members in self._members.items():
            speakers = members
            if talker is not None:
                speakers = [talker] if talker in members else members[:1]
            voices = [
                Voice(client, room, number=next(voice_numbers), payload=scenario.payload)
                for client in speakers
            ]
            self._voices[room], self.speakers[room] = voices, [*voices]
        if talker is not None:
            self.checked.add(talker)
            self.answers[talker] = ANSWER
            self._open_pair()

    def _enter(self, client: Client, room: int) -> None:
        self._members.setdefault(room, []).append(client)
        self.rooms.setdefault(client, []).append(room)

    def _join(self, client: Client, room: int) -> None:
        command = b'{"type":"system","data":{"action":"join","room":"%b"}}'
        client.write(client_frame(command % client.wire.room_name(room).encode()))
        self._enter(client, room)

    def _open_pair(self) -> None:
        self._pair = open_room(
            self.loop, self.server.ports[0], room=PAIR_ROOM, count=2, wire=self.server.wire
        )
        for client in self._pair:
            client.prepare_to_send(self._mixed.payload)
            self.rooms[client] = [PAIR_ROOM]
        self.speakers[PAIR_ROOM] = list(self._pair)
        self.checked.update(self._pair)

    # -- the measurement -------------------------------------------------------------------

    def start_sending(self) -> None:
        """Let the pair talk, and beside it the talker, or all by turns."""
        self.send_in_closed_loop(self._pair, 1)
        say = self._talk() if self._mixed.talker else self._say_by_turns()
        self.send_evenly(self._mixed.rate, say)

    def _talk(self) -> Callable[[int], None]:
        talker, then = self.clients[0], self._mixed.then
        voices = [self._voices[room][0] for room in self.rooms[talker]]

        def say(time_ns: int) -> None:
            frames = b"".join([voice.frame(time_ns) for voice in voices])
            talker.write(frames + PING if then == "ping" else frames)

        return say

    def _say_by_turns(self) -> Callable[[int], None]:
        choose = self._random.choice
        speaks_alone = self._mixed.then == "own"
        in_rooms: list[Voice] = []
        alone: list[Voice] = []
        for room, voices in self._voices.items():
            (alone if room >= FIRST_OWN_ROOM else in_rooms).extend(voices)

        def say(time_ns: int) -> None:
            choose(in_rooms).send(time_ns)
            if speaks_alone:
                choose(alone).send(time_ns)

        return say

    # -- afterwards ------------------------------------------------------------------------

    def note(self, member: Client, speaker: Voice | Client, nanoseconds: int) -> None:
        """Tell the pair's apart."""
        into = self._latencies_of_pair if member in self._pair else self._latencies
        into.append(nanoseconds)

    def details(self) -> dict[str, Any]:
        """The latencies of the rooms, and of the pair."""
        return {
            "latency": Latency.of(self._latencies),
            "latency_beside": Latency.of(self._latencies_of_pair),
        }
