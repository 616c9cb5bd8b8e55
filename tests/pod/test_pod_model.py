"""A pod by property: rooms by command, personal rooms and receipts, whatever Redis does meanwhile.

Two pods with all their real parts share a Redis that is a model (tests/support/model_redis.py).
Clients join and leave rooms one by one and many at once, speak, renew their tokens, stop reading
and go, in any order, while Redis freezes, answers command by command, forbids rooms and dies.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from sanic_chat import worker as module
from sanic_chat.config.settings import Config
from sanic_chat.pod.pod import Pod
from sanic_chat.pod.rooms import Wanted
from sanic_chat.protocol.identity import Identity
from sanic_chat.protocol.permissions import parse_permissions
from sanic_chat.protocol.personal_room import personal_room, resolve
from sanic_chat.session.inbound import State
from sanic_chat.session.session import Session
from sanic_chat.websocket.frames import CloseCode
from sanic_chat.worker import Worker

from ..support.frames import client_frame
from ..support.model_redis import ClockedLoop, ModelRedis
from ..support.transports import RecordingTransport

USERS = ("anna", "auth0|5f7c")
ROOMS_PER_SESSION = 3
NAMES = ("a", "b c", "@me", "@anna", "@auth0%7C5f7c")
WRONG_NAMES = ("..", "@nobody", "@%61nna", "x")
SETTINGS = {
    "CHAT_PUBLISH_QUEUE_MESSAGES": "6",
    "CHAT_PUBLISH_QUEUE_SECONDS": "3",
    "CHAT_ROOMS_PER_SESSION": str(ROOMS_PER_SESSION),
    "CHAT_UNSUBSCRIBE_DELAY": "1",
    "CHAT_SEND_QUEUE_MESSAGES": "8",
}
SECONDS_TO_REST = 20

TOKENS = {
    "all": None,
    "none": [],
    "a": [{"room": "a", "allow": ["join", "publish"]}],
    "speaker": [{"match": "*", "allow": ["join"]}, {"match": "@*", "allow": ["publish"]}],
}

indexes = st.integers(0, 10**6)
names = st.sampled_from(NAMES)
several = st.lists(st.sampled_from((*NAMES, *WRONG_NAMES)), min_size=1, max_size=ROOMS_PER_SESSION)


@dataclass(eq=False)
class Client:
    """A client, what it has sent, and what came back."""

    session: Session
    transport: RecordingTransport
    asked: list[str] = field(default_factory=list)
    """The IDs of its commands."""
    receipts: dict[str, str | None] = field(default_factory=dict)
    """The IDs of its messages that asked for a receipt, each with the room it was for."""
    connected_into: tuple[str, ...] = ()

    def told(self) -> list[dict[str, Any]]:
        """The `data` of what the server has told it."""
        messages = map(json.loads, self.transport.texts())
        return [message["data"] for message in messages if message["type"] == "system"]

    def rooms(self) -> set[str]:
        """The rooms that it is in, as it has been told."""
        rooms = set(self.connected_into)
        for data in self.told():
            match data:
                case {"event": "joined", "room": room}:
                    rooms.add(room)
                case {"event": "left" | "kicked", "room": room}:
                    rooms.discard(room)
                case {"event": "joined" | "left", "rooms": results}:
                    done = {one["room"] for one in results if "error" not in one}
                    rooms = rooms | done if data["event"] == "joined" else rooms - done
                    if data["event"] == "joined":  # Redis forbids it, whoever let it in before
                        rooms -= {one["room"] for one in results if is_forbidden(one.get("error"))}
                case {"event": "error", "code": "forbidden_room", "room": room}:
                    rooms.discard(room)
                case {"event": "rooms", "rooms": names}:
                    assert set(names) == rooms
        return rooms


def is_forbidden(error: dict[str, str] | None) -> bool:
    return error is not None and error["code"] == "forbidden_room" and "Redis" in error["message"]


class PodMachine(RuleBasedStateMachine):
    """Whatever happens, and in whatever order:

    Answers come once each, in the order of the commands. What they say of rooms is so in the end.
    In a personal room are sessions of that user only. Each message that asked has one ack, one nack
    or one error, unless its session ended first; an ack only if Redis has passed the message on,
    and with numbers only for members. When all is over Redis knows exactly the rooms that have
    members, and nothing is kept of what was.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop = ClockedLoop()
        asyncio.set_event_loop(self.loop)
        self.patch = pytest.MonkeyPatch()
        self.clients: list[Client] = []
        self.gone: list[Client] = []
        self.ids = count(1)

    @initialize()
    def two_pods_start(self) -> None:
        self.redis = ModelRedis(self.loop)
        self.patch.setattr(module, "Endpoint", lambda url: self.redis.endpoint())
        self.pods: list[Pod] = []

        async def start() -> None:
            for number in range(2):
                config = Config.from_environment({**SETTINGS, "POD_NAME": f"pod-{number}"})
                pod = Worker(config, redis_url="", name="test").pod
                pod.commands._renewal._authenticate = self.authenticate
                self.pods.append(pod)
                await pod.start()

        started = self.loop.create_task(start())
        self.loop.pass_(2)
        started.result()

    def authenticate(self, token: str) -> Identity:
        user, _, rules = token.partition(" ")
        rights = TOKENS[rules]
        return Identity(user, None if rights is None else parse_permissions(rights))

    def id(self) -> str:
        return str(UUID(int=next(self.ids)))

    def pick(self, index: int) -> Client:
        return self.clients[index % len(self.clients)]

    def send(self, client: Client, message: dict[str, Any]) -> None:
        client.session.data_received(client_frame(0x81, json.dumps(message).encode()))
        self.look()

    def look(self) -> None:
        """Note who has gone."""
        for client in [each for each in self.clients if each.session.state is not State.OPEN]:
            self.clients.remove(client)
            self.gone.append(client)

    # -- clients ---------------------------------------------------------------------------

    @rule(
        pod=st.integers(0, 1),
        user=st.sampled_from(USERS),
        token=st.sampled_from(("all", "all", "speaker")),
        rooms=st.sampled_from(((), ("a",), ("a", "b c"), ("@me",))),
        echo=st.booleans(),
    )
    def a_client_connects(
        self, pod: int, user: str, token: str, rooms: tuple[str, ...], echo: bool
    ) -> None:
        rooms = tuple(resolve(room, user) for room in rooms)
        session = Session(
            self.pods[pod],
            client_id=self.id(),
            identity=self.authenticate(f"{user} {token}"),
            echo=echo,
        )
        transport = RecordingTransport()
        transport.set_protocol(session)
        session.connection_made(transport)

        async def open() -> None:
            wanted = [Wanted(room, presence=False) for room in rooms]
            self.pods[pod].open(session, wanted, default=None, confirmed=False)

        self.loop.run_until_complete(open())
        self.clients.append(Client(session, transport, connected_into=rooms))

    @precondition(lambda self: self.clients)
    @rule(index=indexes, action=st.sampled_from(("join", "leave")), rooms=names | several)
    def a_client_joins_or_leaves(self, index: int, action: str, rooms: str | list[str]) -> None:
        named = {"rooms": rooms} if isinstance(rooms, list) else {"room": rooms}
        self.command(self.pick(index), action, **named)

    @precondition(lambda self: self.clients)
    @rule(index=indexes, rooms=several)
    def a_client_joins_and_leaves_at_once(self, index: int, rooms: list[str]) -> None:
        """In one packet, and joins the same again."""
        client = self.pick(index)
        for action in ("join", "leave", "join"):
            if client in self.clients:
                self.command(client, action, rooms=rooms)

    @precondition(lambda self: self.clients)
    @rule(index=indexes, action=st.sampled_from(("ping", "rooms")))
    def a_client_asks(self, index: int, action: str) -> None:
        self.command(self.pick(index), action)

    @precondition(lambda self: self.clients)
    @rule(
        index=indexes,
        token=st.sampled_from(list(TOKENS)),
        user=st.sampled_from((None, None, None, "carl")),
    )
    def a_client_brings_a_token(self, index: int, token: str, user: str | None) -> None:
        client = self.pick(index)
        self.command(client, "auth", token=f"{user or client.session.user} {token}")

    @precondition(lambda self: self.clients)
    @rule(index=indexes, which=indexes, times=st.sampled_from((1, 3, 20)))
    def a_client_speaks_where_it_is(self, index: int, which: int, times: int) -> None:
        client = self.pick(index)
        rooms = [None, *self.pod_of(client).rooms.of(client.session)]
        self.say(client, rooms[which % len(rooms)], times)

    def command(self, client: Client, action: str, **fields: Any) -> None:
        id = self.id()
        client.asked.append(id)
        self.send(client, {"type": "system", "id": id, "data": {"action": action, **fields}})

    @precondition(lambda self: self.clients)
    @rule(index=indexes, room=names)
    def a_client_speaks_anywhere(self, index: int, room: str) -> None:
        self.say(self.pick(index), room)

    def say(self, client: Client, room: str | None, times: int = 1) -> None:
        for _ in range(times):
            if client in self.clients:
                id = self.id()
                client.receipts[id] = room
                self.send(client, {"id": id, "ack": True, "room": room, "data": "x"})

    @precondition(lambda self: self.clients)
    @rule(index=indexes)
    def a_client_stops_reading(self, index: int) -> None:
        self.pick(index).transport.stalled = True

    @precondition(lambda self: self.clients)
    @rule(index=indexes)
    def a_client_reads_again(self, index: int) -> None:
        self.pick(index).transport.resume()
        self.look()

    @precondition(lambda self: self.clients)
    @rule(index=indexes, how=st.sampled_from(("reset", "closed")))
    def a_client_goes(self, index: int, how: str) -> None:
        client = self.pick(index)
        if how == "reset":
            client.transport.abort()
        else:
            client.session.close(CloseCode.GOING_AWAY)
        self.look()

    # -- Redis and time --------------------------------------------------------------------

    @rule()
    def redis_freezes(self) -> None:
        self.redis.is_frozen = True

    @rule()
    def redis_goes_on(self) -> None:
        self.redis.thaw()

    @rule(commands=st.integers(1, 3))
    def redis_answers_some(self, commands: int) -> None:
        self.redis.execute(commands)
        self.loop.turns(3)
        self.look()

    @rule(commands=st.integers(0, 3))
    def redis_dies(self, commands: int) -> None:
        """Some of what it was asked it has done, and nobody was told."""
        self.redis.execute(commands, answers=False)
        self.redis.die()
        self.loop.turns(3)
        self.look()

    @rule()
    def redis_is_there_again(self) -> None:
        self.redis.is_up = True

    @rule(room=st.sampled_from(("a", "b c", "@anna")))
    def redis_forbids_a_room(self, room: str) -> None:
        self.redis.forbidden.add(b"realtime:room:" + room.encode())

    @rule(turns=st.integers(1, 5))
    def the_loop_turns(self, turns: int) -> None:
        self.loop.turns(turns)
        self.look()

    @rule(seconds=st.sampled_from((0.1, 1.1, 4.0)))
    def time_passes(self, seconds: float) -> None:
        self.loop.pass_(seconds)
        self.look()

    # -- what is promised ------------------------------------------------------------------

    @rule()
    def all_comes_to_rest(self) -> None:
        self.redis.is_up = True
        self.redis.forbidden.clear()
        self.redis.thaw()
        self.loop.turns(3)
        for _ in range(SECONDS_TO_REST * 2):
            for client in tuple(self.clients):
                client.transport.resume()
            if not any(map(self.unrest, self.pods)):
                break
            self.loop.pass_(0.5)
        self.look()
        assert [self.unrest(pod) for pod in self.pods] == [{}, {}]
        for client in (*self.clients, *self.gone):
            self.check_what_was_told(client)
        for client in self.clients:
            rooms = set(self.pod_of(client).rooms.of(client.session))
            assert rooms == client.rooms()
            assert len(rooms) <= ROOMS_PER_SESSION
            assert not client.session.is_held
        for pod in self.pods:
            self.check_members(pod)

    def check_what_was_told(self, client: Client) -> None:
        told = client.told()
        answers = [data["id"] for data in told if data.get("id") in client.asked]
        receipts = Counter(data["id"] for data in told if data.get("id") in client.receipts)
        if client in self.clients:
            assert answers == client.asked
            assert receipts == Counter(list(client.receipts))
        else:
            assert answers == client.asked[: len(answers)]
            assert max(receipts.values(), default=1) == 1
        published = {str(json.loads(payload)["id"]) for _, payload in self.messages()}
        personal = personal_room(client.session.user)
        for data in told:
            if data["event"] != "ack":
                continue
            assert data["id"] in published, "a false ack"
            room = client.receipts[data["id"]]
            if room is not None and room.startswith("@") and room not in ("@me", personal):
                assert set(data) == {"event", "id"}
            elif room is None or not room.startswith("@"):
                assert data["local"] >= 0
                assert data["subscribers"] <= len(self.pods)

    def messages(self) -> list[tuple[bytes, bytes]]:
        channels = (b"realtime:room:", b"realtime:global")
        return [one for one in self.redis.published if one[0].startswith(channels)]

    def pod_of(self, client: Client) -> Pod:
        handler = client.session.handler
        assert isinstance(handler, Pod)
        return handler

    def check_members(self, pod: Pod) -> None:
        sessions = {each.session for each in self.clients if self.pod_of(each) is pod}
        assert pod.hub.everyone.members.keys() == sessions
        for channel in pod.hub.channels.values():
            if channel.room is not None and channel.room.startswith("@"):
                assert {personal_room(member.user) for member in channel.members} == {channel.room}
        assert pod.sessions_failed == 0

    def unrest(self, pod: Pod) -> dict[str, Any]:
        """What is still under way."""
        subscriber = pod.broker.subscriber
        needed = {*pod.hub.channels, *pod.control.channels}
        looks = {
            "not wanted as needed": subscriber.wanted ^ needed,
            "not confirmed": subscriber.wanted ^ subscriber.confirmed,
            "waiters": subscriber._waiters,
            "answers": pod.answers.waiting,
            "receipts": pod.receipts.waiting,
            "to publish": not pod.broker.publisher._is_idle,
            "held": pod.backpressure.held,
            "to deliver": pod.hub.held_bytes,
        }
        return {what: seen for what, seen in looks.items() if seen}

    def teardown(self) -> None:
        try:
            self.all_comes_to_rest()
        finally:
            for client in self.clients:
                client.transport.abort()

            async def close() -> None:
                for pod in self.pods:
                    await pod.close(0)

            closed = self.loop.create_task(close())
            self.loop.pass_(2)
            closed.result()
            self.patch.undo()
            asyncio.set_event_loop(None)
            self.loop.close()


TestPodModel = PodMachine.TestCase
TestPodModel.settings = settings(
    max_examples=settings().max_examples, stateful_step_count=30, report_multiple_bugs=False
)
