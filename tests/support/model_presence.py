"""Pods with their real presence on a bus that is a model, and clients that note what they are told.

A pod is its `Presence` and its hub; its canaries go over the same bus.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from sanic_chat.hub.channel import Channel
from sanic_chat.hub.hub import Hub
from sanic_chat.presence.presence import WINDOW_SECONDS, Presence
from sanic_chat.presence.speaker import Members
from sanic_chat.protocol.channels import RedisNames
from sanic_chat.protocol.message import json_text
from sanic_chat.protocol.presence import MAX_WORDS_BYTES, Info, Reason
from sanic_chat.session.handler import EndedBy, Ending
from sanic_chat.session.session import Session

from .model_bus import Bus, Clock, Process

NAMES = RedisNames("realtime")
CANARY_SECONDS = 1.0
RETRY_SECONDS = 0.25
LEFT, RELOADED = Ending(EndedBy.CLIENT, 1000, ""), Ending(EndedBy.CLIENT, 1001, "")
LOST, CLOSED = Ending(EndedBy.NOBODY, None, ""), Ending(EndedBy.SERVER, 1001, "")


@dataclass
class Seen:
    """A room as a client knows it from what it was told, which has to fit together."""

    members: dict[str, Any] | None
    """Each user's info; None: they are not named."""
    seq: int
    users: int
    sessions: int
    complete: bool
    since: float
    """The time of the first roster."""
    told_at: float

    def take(self, event: dict[str, Any]) -> None:
        """Take a `changed`."""
        assert event["seq"] == self.seq + 1
        self.seq, self.users, self.sessions = event["seq"], event["users"], event["sessions"]
        if self.members is None:
            assert event["joined"] is event["updated"] is event["left"] is None
            return
        for member in event["left"]:
            del self.members[member["user"]]
        for member in event["joined"]:
            assert member["user"] not in self.members
            self.members[member["user"]] = member.get("info")
        for member in event["updated"]:
            assert member["user"] in self.members
            self.members[member["user"]] = member.get("info")
        assert len(self.members) == self.users


class Client:
    """A session, as hub and presence see it, and the client at its other end."""

    echo = True
    writable = True

    def __init__(self, pod: ModelPod, user: str, client_id: str, info: str | None) -> None:
        self.pod = pod
        self.user = user
        self.client_id = client_id
        self.info = info
        self.channels: tuple[Channel, ...] = ()
        self.rooms: dict[str, None] = {}
        self.is_open = True
        self.reconnect_at: float | None = None
        self.seen: dict[str, Seen] = {}
        self.told: list[dict[str, Any]] = []
        """All events, each with its `room`."""
        self.on_event: Callable[[Client, dict[str, Any]], None] = lambda client, event: None
        self.on_closed: Callable[[Client], None] = lambda client: None

    @property
    def session(self) -> Session:
        return cast(Session, self)

    # -- what it does ----------------------------------------------------------------------

    def join(self, room: str, *, watch: bool = False) -> None:
        self.pod.join(self, room)
        if watch:
            self.watch(room)

    def leave(self, room: str, reason: Reason = "left") -> None:
        self.pod.leave(self, room, reason)
        self.seen.pop(room, None)

    def watch(self, room: str) -> None:
        self.pod.presence.watch(self.session, room)

    def unwatch(self, room: str) -> None:
        self.pod.presence.unwatch(self.session, room)
        self.seen.pop(room, None)

    def ask(self, room: str) -> bool:
        return self.pod.presence.ask(self.session, room)

    def is_watching(self, room: str) -> bool:
        watched = self.pod.presence._rooms.get(room)
        return watched is not None and self.session in watched.audience

    def end(self, ending: Ending) -> None:
        if self.is_open:
            self.pod.end(self, ending)

    # -- what it is told -------------------------------------------------------------------

    def write(self, frames: bytes) -> None:
        for line in frames.splitlines():
            event = json.loads(line)
            self.told.append(event)
            self._take(event["room"], event)
            self.on_event(self, event)

    def _take(self, room: str, event: dict[str, Any]) -> None:
        now = self.pod.process.time()
        seen = self.seen.get(room)
        if seen is not None:
            assert now - seen.told_at > WINDOW_SECONDS - 0.001, "twice in a window"
        if event["event"] == "changed":
            assert seen is not None, "a change before a roster"
            seen.take(event)
            seen.told_at = now
            return
        members = event["members"]
        if members is not None:
            members = {member["user"]: member.get("info") for member in members}
            assert len(members) == len(event["members"]) == event["users"]
        assert event["exact"] == (members is not None)
        self.seen[room] = Seen(
            members,
            event["seq"],
            event["users"],
            event["sessions"],
            event["complete"],
            now if seen is None else seen.since,
            now,
        )

    def enqueue(self, frames: bytes, messages: int, channel: Channel) -> bool:
        raise AssertionError("it is always writable")

    def overflow(self, messages: int) -> None:
        raise AssertionError("it is never slow")

    def fail(self, error: Exception) -> None:
        raise error


@dataclass
class _Proof:
    number: int = 0
    under_way: int | None = None
    sent_at: float = 0.0
    missed: int = 0


class ModelPod:
    """A pod: its presence, its hub, its clients, and its canaries."""

    def __init__(self, id: str, clock: Clock, bus: Bus, *, phase: float = 0.0) -> None:
        self.id = id
        self.clients: dict[Client, None] = {}
        self.is_cut_off = True
        self.is_draining = False
        self.is_closed = False
        self.process = Process(clock)
        self.hub = Hub(
            call_soon=self.process.call_soon,
            everyone=Channel(b"global", None, b"null"),
            write_messages=1000,
            write_bytes=2**20,
        )
        self.presence = Presence(
            cast(Any, self.process),
            id,
            self.hub,
            NAMES,
            members=Members(self._users, self._presences),
            send=lambda kind, content: self._say(None, kind, content),
            send_to=self._say,
            prove=self._prove_now,
            frame=_frame,
            beat=CANARY_SECONDS,
        )
        self._heard = {
            "canary": self.presence.canary_received,
            "stream": self.presence.stream_received,
            "want": self.presence.want_received,
            "parts": self.presence.parts_received,
            "goodbye": lambda pod_id, content: self.presence.goodbye_received(pod_id),
        }
        self._bus = bus
        self._proof = _Proof()
        bus.add(self)
        self.process.call_later(phase, self._prove)

    # -- clients ---------------------------------------------------------------------------

    def connect(self, user: str, client_id: str, info: str | None = None) -> Client:
        client = Client(self, user, client_id, info)
        self.clients[client] = None
        self.hub.add(client)
        return client

    def join(self, client: Client, room: str) -> None:
        if room in client.rooms:
            return
        name = NAMES.room_channel(room)
        channel = self.hub.channels.get(name)
        is_first = channel is None
        self.hub.join(client, channel or Channel(name, room, json_text(room)))
        client.rooms[room] = None
        self.presence.joined(client.session, room, is_first=is_first)

    def leave(self, client: Client, room: str, reason: Reason) -> None:
        self.hub.leave(client, self.hub.channels[NAMES.room_channel(room)])
        del client.rooms[room]
        self.presence.unwatch(client.session, room)
        self.presence.left(client.session, room, reason)

    def end(self, client: Client, ending: Ending) -> None:
        """In the order of a pod: presence learns of it while the session is still a member."""
        client.is_open = False
        if self.presence.in_use:
            self.presence.ended(client.session, list(client.rooms), ending)
        del self.clients[client]
        self.hub.remove(client)
        client.on_closed(client)

    def _members(self, room: str) -> list[Client]:
        channel = self.hub.channels.get(NAMES.room_channel(room))
        return [] if channel is None else [cast(Client, member) for member in channel.members]

    def _users(self, room: str) -> set[str]:
        return {member.user for member in self._members(room)}

    def _presences(self, room: str, user: str) -> tuple[int, Info | None]:
        clients = [
            each for each in self._members(room) if each.user == user and each in self.clients
        ]
        infos = [
            Info(each.client_id, msgspec.Raw(json_text(each.info)))
            for each in clients
            if each.info is not None
        ]
        return len(clients), max(infos, key=lambda info: info.client_id, default=None)

    # -- Redis -----------------------------------------------------------------------------

    def _say(self, to: str | None, kind: str, content: bytes) -> None:
        assert len(content) <= MAX_WORDS_BYTES
        self._bus.publish(self.id, to, kind, content)

    def received(self, pod_id: str, kind: str, content: bytes) -> None:
        if self.is_closed:
            return
        if pod_id != self.id:
            self._heard[kind](pod_id, content)
        elif kind == "canary" and json.loads(content)["number"] == self._proof.under_way:
            self._proof.under_way = None
            self.presence.could_hear(self.process.time() - self._proof.sent_at)
            if self.is_cut_off:
                self.is_cut_off = False
                self.presence.connected()

    def cut_off(self) -> None:
        """Have it notice that Redis is away."""
        self._proof.under_way = None
        if not self.is_cut_off:
            self.is_cut_off = True
            self.presence.cut_off()

    def _prove(self) -> None:
        if self.is_draining or self.is_closed:
            return
        self.process.call_later(RETRY_SECONDS if self.is_cut_off else CANARY_SECONDS, self._prove)
        proof = self._proof
        if proof.under_way is not None:
            proof.missed += 1
            if proof.missed < 2:
                return
            self.cut_off()
        self._send_canary()

    def _prove_now(self) -> None:
        if self._proof.under_way is None and not self.is_draining:
            self._send_canary()

    def _send_canary(self) -> None:
        proof = self._proof
        proof.number += 1
        proof.under_way, proof.sent_at, proof.missed = proof.number, self.process.time(), 0
        words = self.presence.canary_words()
        self._say(None, "canary", b'{"number":%d,%b' % (proof.number, words[1:]))

    # -- its end ---------------------------------------------------------------------------

    def kill(self) -> None:
        self.process.is_dead = self.is_closed = True
        for client in self.clients:
            client.is_open = False

    def drain(self, *, seconds: float, is_told: Callable[[Client], bool]) -> None:
        """Close all clients within so many seconds, then say goodbye."""
        self.is_draining = self.presence.draining = True
        clients = list(self.clients)
        now = self.process.time()
        for number, client in enumerate(clients):
            moment = now + seconds * (number + 0.5) / len(clients)
            if is_told(client):
                client.reconnect_at = moment
                self.presence.told_to_reconnect(client.session, moment)
                moment += 0.1 * seconds
            self.process.call_later(moment - now, lambda client=client: client.end(CLOSED))
        self.process.call_later(1.2 * seconds, self.close)

    def close(self) -> None:
        for client in list(self.clients):
            client.end(CLOSED)
        self.presence.close()
        self._say(None, "goodbye", b"{}")
        self.is_closed = self.process.is_dead = True


def _frame(room: str, event: bytes) -> bytes:
    return b'{"room":%b,%b\n' % (json_text(room), event[1:])


@dataclass
class Cluster:
    """Some pods."""

    clock: Clock
    bus: Bus
    pods: list[ModelPod] = field(default_factory=list)
    """Those that are not closed or killed, in the order of their starts."""
    started: int = 0
    connected: int = 0

    def start(self) -> ModelPod:
        self.started += 1
        pod = ModelPod(
            f"pod-{self.started}", self.clock, self.bus, phase=self.started * 0.37 % CANARY_SECONDS
        )
        self.pods.append(pod)
        return pod

    def living(self) -> list[ModelPod]:
        """The pods that take clients."""
        self.pods = [pod for pod in self.pods if not pod.is_closed]
        return [pod for pod in self.pods if not pod.is_draining]

    def connect(self, pod: ModelPod, user: str, *, info: str | None = None) -> Client:
        self.connected += 1
        return pod.connect(user, f"{self.connected:08}", info)
