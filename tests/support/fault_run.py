"""One run of a fault: clients in several rooms on two pods talk while it strikes, lasts and ends.

What is promised whatever happens is checked here; figures that depend on the fault are handed on.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis.asyncio
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from .faults import Fault
from .harness import DEADLINE, ServerProcess, eventually, memory, receive
from .outcome import DUPLICATE, NO_ANSWER, UNCERTAIN, Outcome, Publication, Word
from .persistent_backend import publishing
from .stage import Settings, Stage
from .witness import Witness, witness

PODS = (0, 1)
SPARE_DESCRIPTORS = 8
"""What is connected to Redis while it is there, and not while it is absent."""

SAME_POD_SECONDS = 1.0
MEMORY = 64 * 1024 * 1024

OWN_PER_SECOND = 4
"""How often the pods speak to each other at most, and are dropped like their clients' words."""

CALM_SECONDS = 0.3
"""How long the clients talk before a fault strikes."""


class Client:
    """A client that reads all the time, and remembers what it got and when."""

    def __init__(self, connection: ClientConnection, rooms: list[str]) -> None:
        self.rooms = rooms
        self.received: list[tuple[float, dict[str, Any]]] = []
        self.is_closed = False
        self._connection = connection
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                message = await receive(self._connection, 10 * DEADLINE)
                self.received.append((time.monotonic(), message))
        self.is_closed = True

    async def close(self) -> None:
        """End it."""
        self._task.cancel()
        await asyncio.wait([self._task])
        self._connection.transport.abort()
        await self._connection.wait_closed()

    async def say(self, room: str | None, data: Any, *, ack: bool = False) -> str:
        """Say something in a room, or to everybody; returns its ID."""
        id = str(uuid4())
        message = {"id": id, "room": room, "data": data, "ack": ack}
        await self._connection.send(json.dumps(message))
        return id

    async def join(self, room: str) -> None:
        """Join a further room."""
        command = {"type": "system", "data": {"action": "join", "room": room}}
        await self._connection.send(json.dumps(command))
        await eventually(lambda: self.told("joined"), f"{room} is joined")
        self.rooms.append(room)

    def heard(self, data: Any) -> float | None:
        """When somebody's words came, None if they did not."""
        return next((at for at, m in reversed(self.received) if m["data"] == data), None)

    def told(self, event: str) -> list[tuple[float, dict[str, Any]]]:
        """What the server has told of its own accord, and when."""
        return [
            (at, message["data"])
            for at, message in self.received
            if message["type"] == "system" and message["data"]["event"] == event
        ]


class Crowd:
    """On each pod a talker, who asked for events, and a listener, who did not."""

    def __init__(
        self, stage: Stage, talkers: list[Client], listeners: list[Client], witness: Witness
    ) -> None:
        self.stage = stage
        self.talkers = talkers
        self.listeners = listeners
        self._witness = witness
        self.lobby = talkers[0].rooms[0]
        self.words: list[list[Word]] = [[] for _ in PODS]
        self.id = uuid4().hex
        """Tells this crowd's words from those of one before it in the same rooms."""

    async def talk(self, pod: int, rate: float) -> None:
        """Say numbers in the lobby until cancelled; every second one asks for a receipt."""
        words = self.words[pod]
        while True:
            said_at = time.monotonic()
            asks = len(words) % 2 == 0
            id = await self.talkers[pod].say(self.lobby, [self.id, pod, len(words)], ack=asks)
            words.append(Word(id, said_at, asks=asks))
            await asyncio.sleep(1 / rate)

    def settle(self) -> None:
        """Find out what became of all words."""
        for pod in PODS:
            here = self._arrivals(pod, pod)
            there = self._arrivals(1 - pod, pod)
            told = {kind: self.talkers[pod].told(kind) for kind in ("error", "nack", "ack")}
            unavailable = {
                data["id"]: at
                for at, data in (*told["error"], *told["nack"])
                if data["code"] == "unavailable"
            }
            receipts: dict[str, list[str]] = {}
            for kind in ("nack", "ack"):
                for _, data in told[kind]:
                    receipts.setdefault(data["id"], []).append(kind)
            unasked = {data["id"] for _, data in told["error"]}
            for number, word in enumerate(self.words[pod]):
                word.here_at = here.get(number)
                word.there_at = there.get(number)
                word.unavailable_at = unavailable.get(word.id)
                word.receipts = receipts.get(word.id, [])
                word.is_published = word.id in self._witness.published
                assert not (word.asks and word.id in unasked), "a nack stands for an error"

    def all_have_receipts(self) -> bool:
        """Whether all words that asked have one by now."""
        self.settle()
        return all(word.receipts for words in self.words for word in words if word.asks)

    def _arrivals(self, listener: int, talker: int) -> dict[int, float]:
        """When which numbers came; they come once, and in order, whatever happens."""
        came = [
            (message["data"][2], at)
            for at, message in self.listeners[listener].received
            if message["type"] == "chat" and message["data"][:2] == [self.id, talker]
        ]
        numbers = [number for number, _ in came]
        assert numbers == sorted(set(numbers)), "each comes once, and in order"
        return dict(came)

    def settle_publications(self, publications: list[Publication]) -> None:
        """Find out whom they reached, and how often."""
        members = [*zip(self.talkers, self.listeners, strict=True)]
        came = [[Counter(m["id"] for _, m in one.received) for one in pod] for pod in members]
        for publication in publications:
            publication.arrivals = [[ids[publication.id] for ids in pod] for pod in came]
            seen = self._witness.published.get(publication.id, {})
            publication.published = max(seen.values(), default=0)

    async def back(self, since: float) -> float:
        """Wait until words said since then have crossed both ways; how long after that it was."""

        def crossings() -> list[float]:
            self.settle()
            firsts = (
                next((w.there_at for w in words if w.said_at >= since and w.there_at), None)
                for words in self.words
            )
            return [first - since for first in firsts if first is not None]

        await eventually(lambda: len(crossings()) == 2, "words cross again")
        return max(crossings())

    async def check_rooms(self, admin: redis.asyncio.Redis, pod_ids: list[str]) -> None:
        """Redis knows exactly the subscriptions that the clients need, and no room is deaf."""
        needed = Counter(
            {
                "realtime:global": 2,
                "realtime:control": 2,
                **{f"realtime:pod:{id}": 1 for id in pod_ids},
            }
        )
        for talker in self.talkers:
            needed.update(f"realtime:room:{room}" for room in talker.rooms)

        async def exact() -> bool:
            channels = [name.decode() for name in await admin.pubsub_channels("realtime:*")]
            counts = await admin.pubsub_numsub(*channels)
            return needed == {name.decode(): count for name, count in counts}

        await eventually(exact, f"the subscriptions are {dict(needed)}")
        for room in {room for talker in self.talkers for room in talker.rooms}:
            marker = f"from outside {uuid4()}"
            await admin.publish(f"realtime:room:{room}", json.dumps({"data": marker}))
            for talker in self.talkers:
                if room in talker.rooms:
                    await eventually(lambda t=talker, m=marker: t.heard(m), f"{room} is heard")
        for talker in self.talkers:
            marker = f"to all {uuid4()}"
            await talker.say(None, marker)
            for client in (*self.talkers, *self.listeners):
                await eventually(lambda c=client, m=marker: c.heard(m), "all are heard by all")


@asynccontextmanager
async def _crowd(stage: Stage, *, is_absent: bool) -> AsyncIterator[Crowd]:
    async with AsyncExitStack() as stack:

        async def connect(server: ServerProcess, room: str, **query: str) -> Client:
            client = Client(await server.connect(room, **query), [room])
            stack.push_async_callback(client.close)
            return client

        seen = await stack.enter_async_context(witness(stage, at_once=not is_absent))
        talkers = [await connect(server, "lobby", events="system") for server in stage.servers]
        listeners = [await connect(server, "lobby") for server in stage.servers]
        for pod, talker in enumerate(talkers):
            await talker.join("kitchen")
            await talker.join(f"only-{pod}")
        yield Crowd(stage, talkers, listeners, seen)


async def run(fault: Fault, stage: Stage) -> Outcome:
    """Let it happen, and check what is promised whatever the fault is."""
    if not fault.is_absent:
        await stage.unready(None)
    # Before anybody is there who could be told of an outage that begins meanwhile.
    pods = [server.pod() for server in stage.servers]
    pod_ids = [pod["pod_id"] for pod in pods]
    async with _crowd(stage, is_absent=fault.is_absent) as crowd:
        if not fault.is_absent:
            async with stage.admin() as admin:
                await crowd.check_rooms(admin, pod_ids)
        before = _Resources.of(stage)
        talk = [asyncio.create_task(crowd.talk(pod, fault.rate)) for pod in PODS]
        backend = publishing(stage.servers, crowd.lobby, rate=fault.rate / 2)
        async with backend as publications:
            await asyncio.sleep(CALM_SECONDS)

            stage.struck_at = time.monotonic()
            async with fault.inflict(stage):
                for pod in fault.hit if fault.is_told else ():
                    talker = crowd.talkers[pod]
                    await eventually(lambda t=talker: t.told("degraded"), "it is noticed")
            reachable_at = stage.struck_at if fault.is_reachable else time.monotonic()
            back = await crowd.back(reachable_at)
            for pod in fault.hit if fault.is_told else ():
                await eventually(lambda t=crowd.talkers[pod]: _is_over(t), "its end is told")
        for task in talk:
            task.cancel()
        await asyncio.wait(talk)

        async with stage.admin() as admin:  # which may be another one by now
            await crowd.check_rooms(admin, pod_ids)
            await eventually(lambda: _reports(admin, pod_ids), "the stats are there again")
        await stage.unready(None)
        await eventually(crowd.all_have_receipts, "all who asked have a receipt")
        crowd.settle_publications(publications)
        outcome = Outcome(back, crowd.words, publications)
        for talker in crowd.talkers:
            ends = talker.told("recovered")
            outcome.outages.append([data["outage_ms"] / 1000 for _, data in ends])
            end = ends[0 if fault.is_single else -1][0] if ends else stage.struck_at
            outcome.real_outages.append(end - stage.struck_at)
            outcome.gaps.append(Counter(data["room"] for _, data in talker.told("gap")))
        for server, pod in zip(stage.servers, pods, strict=True):
            now = server.pod()
            outcome.dropped += _dropped(now) - _dropped(pod)
            outcome.late.append(now["redis"]["proofs_failed"] - pod["redis"]["proofs_failed"])
        await eventually(
            lambda: _Resources.of(stage).descriptors <= before.descriptors + SPARE_DESCRIPTORS,
            "no sockets are left",
        )
        after = _Resources.of(stage)
        outcome.more_memory = after.memory - before.memory
        outcome.log_lines = after.log_lines - before.log_lines
        outcome.seconds = time.monotonic() - stage.struck_at

        assert not any(client.is_closed for client in (*crowd.talkers, *crowd.listeners))
        for listener in crowd.listeners:
            assert all(m["type"] in ("chat", "notification") for _, m in listener.received)
        for words in outcome.words:
            assert all(word.here_at for word in words), "the same pod gets everything"
            assert all(len(word.receipts) == word.asks for word in words), "one, if it was asked"
        for pod in PODS:  # each pod tells of all its rooms, the same number of times
            counts = outcome.gaps[pod]
            assert not counts or set(counts) == {None, *crowd.talkers[pod].rooms}
            assert len(set(counts.values())) <= 1
        return outcome


def check(fault: Fault, outcome: Outcome, settings: Settings, *, margin: float) -> None:
    """Insist on what is promised for this fault; `margin`: seconds that it all may take longer."""
    assert outcome.back < fault.back_within + margin
    stopped = outcome.seconds if fault.stops_a_pod else 0.0
    assert outcome.same_pod < SAME_POD_SECONDS + stopped + margin
    assert outcome.false_acks == 0
    # Every word either crossed, or its sender was told, or it fell into a gap.
    own = outcome.dropped.total() - outcome.unavailable - outcome.answers("redis_refuses")
    assert 0 <= own <= OWN_PER_SECOND * (1 + outcome.seconds) + outcome.answers(*UNCERTAIN)
    for missed, gaps in zip(outcome.missed, reversed(outcome.gaps), strict=True):
        assert gaps or not missed
    given_up = 1.5 * settings.redis_timeout
    assert outcome.told_after < max(given_up, settings.queue_seconds) + 1 + margin
    for pod, (told, real) in enumerate(zip(outcome.outages, outcome.real_outages, strict=True)):
        assert fault.is_lossy or not outcome.gaps[pod]
        if pod in fault.hit:
            assert told or not fault.is_told
            assert bool(outcome.gaps[pod]) == fault.is_lossy
        if fault.is_single:  # a busy machine's canary may be late, and that is an outage, too
            assert len(told) <= fault.is_told + outcome.late[pod]
        if fault.is_single and fault.is_told and told and not fault.is_absent:
            seconds = told[0]
            doubt = 3 * settings.proof_interval  # for how long a proof counts
            assert real / 2 - doubt < seconds < real + doubt + margin
    _check_publications(fault, outcome)
    assert outcome.log_lines < 16 + 8 * outcome.seconds
    assert outcome.more_memory < MEMORY


def _check_publications(fault: Fault, outcome: Outcome) -> None:
    """Insist on what backends are promised: what was answered 200 came, and once for its ID."""
    assert outcome.publications
    assert fault.stops_a_pod or not outcome.answers(NO_ANSWER)
    for publication in outcome.publications:
        assert publication.published or publication.times, "200 is true"
        assert publication.uncertain or publication.answers[-1] != DUPLICATE, "no double by itself"
        # What was noted is forgotten once at most, with the Redis that knew it.
        most = 1 + (fault.forgets and publication.uncertain > 0)
        assert max(publication.published, publication.times) <= most
    for pod in PODS:
        assert outcome.gaps[pod] or not outcome.publications_missed(pod)


def _is_over(talker: Client) -> bool:
    """Whether a client was told of as many ends as beginnings."""
    return len(talker.told("recovered")) == len(talker.told("degraded"))


def _dropped(pod: dict[str, Any]) -> Counter[str]:
    """What a pod has counted as not published."""
    reasons: dict[str, int] = pod["messages_dropped"]
    return Counter({k: n for k, n in reasons.items() if k.startswith("publish_")})


async def _reports(admin: redis.asyncio.Redis, pod_ids: list[str]) -> bool:
    """Whether the pods' reports stand on Redis, which has loaded all that it has to."""
    keys = [f"realtime:pod:{pod_id}" for pod_id in pod_ids]
    try:
        members = {member.decode() for member in await admin.smembers("realtime:pods")}
        return members == set(pod_ids) and await admin.exists(*keys) == len(keys)
    except redis.exceptions.BusyLoadingError:  # it publishes all the same
        return False


@dataclass
class _Resources:
    """What both workers take."""

    descriptors: int
    memory: int
    log_lines: int

    @classmethod
    def of(cls, stage: Stage) -> _Resources:
        pids = [pid for server in stage.servers for pid in server.worker_pids]
        return cls(
            sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids),
            sum(map(memory, pids)),
            sum(server.log.count("\n") for server in stage.servers),
        )
