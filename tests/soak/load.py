"""Steady traffic between regulars that stay all the time, and a ledger of what arrives.

At most once is what is promised, in the order of each sender: nothing twice and nothing out of
order, ever; nothing lost on the sender's own pod, ever; and nothing lost between pods but while a
connection to Redis was broken.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from websockets.asyncio.client import ClientConnection

from ..support.harness import ServerProcess, eventually

ROOM = "regulars"
MESSAGES_PER_SECOND = 40
"""Of each sender."""


@dataclass
class Breach:
    """A time in which messages between pods may be lost."""

    began: float
    ended: float = float("inf")


@dataclass
class Sender:
    """One that speaks, and when it said what."""

    pod: str
    client: ClientConnection
    sent_at: list[float] = field(default_factory=list)


@dataclass
class Loss:
    """Messages of one sender that a listener did not get."""

    numbers: range
    noticed_at: float


@dataclass
class Stream:
    """What one listener has got of one sender."""

    sender: Sender
    same_pod: bool
    last: int = -1
    losses: list[Loss] = field(default_factory=list)

    def received(self, number: int) -> None:
        """Number after number, with gaps between pods at most."""
        assert number > self.last, f"{number} of {self.sender.pod} after {self.last}"
        if number > self.last + 1:
            assert not self.same_pod, f"{self.last} and then {number} on the sender's own pod"
            self.losses.append(Loss(range(self.last + 1, number), time.monotonic()))
        self.last = number


class Load:
    """Two regulars on each pod, of which one speaks and both listen, and some that only watch who
    is there."""

    def __init__(
        self,
        senders: list[Sender],
        listeners: dict[ClientConnection, str],
        quiet: list[ClientConnection],
    ) -> None:
        self.breaches: list[Breach] = []
        self._senders = senders
        self._quiet = quiet
        self._listeners = {
            client: [Stream(sender, sender.pod == pod) for sender in senders]
            for client, pod in listeners.items()
        }
        self._speaking = asyncio.Event()

    @property
    def sent(self) -> int:
        """Messages sent so far."""
        return sum(len(sender.sent_at) for sender in self._senders)

    @property
    def lost(self) -> int:
        """Messages that did not arrive, counted for each listener."""
        return sum(len(loss.numbers) for stream in self._streams() for loss in stream.losses)

    def _streams(self) -> list[Stream]:
        return [stream for streams in self._listeners.values() for stream in streams]

    def resume(self) -> None:
        """Speak, until `pause`."""
        self._speaking.set()

    async def pause(self) -> None:
        """Stop speaking; returns when everything has arrived."""
        self._speaking.clear()
        await self._all_arrive([len(sender.sent_at) - 1 for sender in self._senders])

    async def crosses(self) -> None:
        """Return once of each sender something said from now on has reached every listener."""
        await self._all_arrive([len(sender.sent_at) for sender in self._senders])

    async def _all_arrive(self, numbers: list[int]) -> None:
        await eventually(
            lambda: all(
                stream.last >= number
                for streams in self._listeners.values()
                for stream, number in zip(streams, numbers, strict=True)
            ),
            "what was sent has arrived",
        )

    @asynccontextmanager
    async def breach(self) -> AsyncIterator[None]:
        """Whatever is done inside may lose messages, until messages cross again after it."""
        breach = Breach(time.monotonic())
        self.breaches.append(breach)
        yield
        await self.crosses()
        breach.ended = time.monotonic()

    def check(self) -> None:
        """Every loss happened in a breach."""
        for stream in self._streams():
            for loss in stream.losses:
                sent = [stream.sender.sent_at[number] for number in loss.numbers]
                assert any(
                    breach.began <= loss.noticed_at and sent[-1] <= breach.ended
                    for breach in self.breaches
                ), f"{stream.sender.pod} lost {loss.numbers} without a breach"

    async def run(self) -> None:
        """Speak and listen until cancelled; raises what is wrong as soon as it is seen."""
        async with asyncio.TaskGroup() as group:
            for index, sender in enumerate(self._senders):
                group.create_task(self._speak(index, sender))
            for client, streams in self._listeners.items():
                group.create_task(self._listen(client, streams))
            for client in self._quiet:
                group.create_task(self._listen(client, []))

    async def _speak(self, index: int, sender: Sender) -> None:
        while True:
            await self._speaking.wait()
            number = len(sender.sent_at)
            sender.sent_at.append(time.monotonic())
            await sender.client.send(json.dumps({"data": [index, number], "room": ROOM}))
            await asyncio.sleep(1 / MESSAGES_PER_SECOND)

    async def _listen(self, client: ClientConnection, streams: list[Stream]) -> None:
        async for text in client:
            message = json.loads(text)
            if message["type"] == "chat" and message["room"] == ROOM:
                index, number = message["data"]
                streams[index].received(number)
        raise AssertionError(f"a regular was thrown out: {client.close_code}")


@asynccontextmanager
async def load(server: ServerProcess, *, pods: int, quiet: int) -> AsyncIterator[Load]:
    """A load between that many pods, which speaks from `resume` on."""
    speakers = await server.connect_to_pods(pods, ROOM)
    listeners = await server.connect_to_pods(pods, ROOM)
    quiet_ones = [
        await server.connect(f"quiet-{number % 10}", events="presence") for number in range(quiet)
    ]
    load = Load(
        [Sender(pod, client) for pod, client in speakers.items()],
        {client: pod for group in (speakers, listeners) for pod, client in group.items()},
        quiet_ones,
    )
    try:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(load.run())
            yield load
            running.cancel()
    finally:
        clients = (*speakers.values(), *listeners.values(), *quiet_ones)
        await asyncio.gather(*(client.close() for client in clients))
