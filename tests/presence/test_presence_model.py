"""Presence by property: whatever becomes of pods and of what they say, all end up with the truth.

The real parts of three and of five pods say what they say over a bus that is a model: it loses,
delays, cuts one direction, and goes down; pods stand still, die, drain and start. Clients come, go
and watch, and each checks that what it is told fits together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from sanic_chat.presence.holds import (
    LOST_SECONDS,
    RETURN_SECONDS,
    SETTLE_SECONDS,
    hold_of,
)
from sanic_chat.presence.presence import UNWATCH_SECONDS, WINDOW_SECONDS
from sanic_chat.presence.speaker import MAX_ENVELOPES
from sanic_chat.session.handler import Ending

from ..support.model_bus import Bus, Clock
from ..support.model_presence import CLOSED, LEFT, LOST, RELOADED, Client, Cluster, ModelPod

USERS = ("anna", "bob", "carl", "dora")
ROOMS = ("a", "b")
ENDINGS = {"left": LEFT, "reloaded": RELOADED, "lost": LOST, "closed": CLOSED}
MAX_CLIENTS = 12
MAX_DRAIN_SECONDS = 4.0

RECOVERY_SECONDS = 10.0
"""When faults have ended, nobody is missing any more after that time."""
LONGEST_HOLD_SECONDS = LOST_SECONDS + MAX_DRAIN_SECONDS + RETURN_SECONDS
SILENCE_SECONDS = LOST_SECONDS - 2.5
"""What is certain of a silent pod's hold: it counts from when the pod was last heard."""
CALM_SECONDS = 25.0
"""After what may have lost words, the time for which absences are not judged to the moment."""

indexes = st.integers(0, 10**6)
users = st.sampled_from(USERS)
rooms = st.sampled_from(ROOMS)
infos = st.sampled_from((None, None, "x", "y"))
seconds = st.sampled_from((0.0, 0.02, 0.3, 0.3, 1.2, 3.0, 7.0))
long_seconds = st.sampled_from((0.4, 1.5, 3.0, 7.0, 8.0, 14.0, 20.0))


@dataclass
class Absence:
    """A time for which a user was on no pod that could be heard."""

    begin: float
    hold: float
    end: float = inf


@dataclass
class Truth:
    """Who is where, and for how long who was nowhere."""

    clock: Clock
    clients: dict[Client, None] = field(default_factory=dict)
    unheard: set[str] = field(default_factory=set)
    """The IDs of pods that stand still, or are cut off."""
    noisy_until: float = 0.0
    """Words may have been lost; see `CALM_SECONDS`."""
    absences: dict[tuple[str, str], list[Absence]] = field(default_factory=dict)

    def users(self, room: str) -> dict[str, list[Client]]:
        """The users in a room, each with its sessions."""
        users: dict[str, list[Client]] = {}
        for client in self.clients:
            if room in client.rooms:
                users.setdefault(client.user, []).append(client)
        return users

    def look(self, hold: float = SILENCE_SECONDS) -> None:
        """Take in that somebody has come or gone, for whom there is such a hold."""
        now = self.clock.now
        self.clients = {client: None for client in self.clients if client.is_open}
        for room in ROOMS:
            users = self.users(room)
            for user in USERS:
                clients = users.get(user, ())
                is_here = any(each.pod.id not in self.unheard for each in clients)
                absences = self.absences.setdefault((room, user), [Absence(-inf, 0.0)])
                last = absences[-1]
                if is_here:
                    last.end = min(last.end, now)
                elif last.end < inf:
                    absences.append(Absence(now, hold))

    def judge(self, client: Client, event: dict[str, Any]) -> None:
        """A client is told only what is so."""
        room, now = event["room"], self.clock.now
        if event["event"] == "roster" or event["left"] is None:
            return
        is_noisy = now < self.noisy_until
        early, late = (4.0, RECOVERY_SECONDS + 2.0) if is_noisy else (0.01, 2.0)
        seen = client.seen[room]
        told = [each["user"] for each in event["left"]]
        if seen.complete and now - seen.since > 1.0 and not is_noisy:
            told += [each["user"] for each in event["joined"]]
        for user in told:
            assert any(
                absence.end >= now - late
                and min(absence.end, now) - absence.begin >= absence.hold - early
                for absence in self.absences[room, user]
            ), f"{user} in {room} was not away for long enough: {self.absences[room, user]}"


class PresenceMachine(RuleBasedStateMachine):
    """Whatever happens, and in whatever order:

    Ten seconds after faults have ended nobody is missing from what a client was told, and after the
    longest hold everything is as it is told. Nobody is told to have left before his hold is over. A
    client gets one event a window. A pod says at most `MAX_ENVELOPES` a window, and nothing if
    nobody watches. When all have left nothing is kept.
    """

    PODS = 3

    def __init__(self) -> None:
        super().__init__()
        self.have_died = False
        self.clock = Clock()
        self.truth = Truth(self.clock)

    @initialize(seed=indexes)
    def pods_start(self, seed: int) -> None:
        self.bus = Bus(self.clock, Random(seed))
        self.cluster = Cluster(self.clock, self.bus)
        for _ in range(self.PODS):
            self.cluster.start()
        self.clock.pass_(3.0)

    def pod(self, index: int) -> ModelPod:
        pods = self.cluster.living()
        return pods[index % len(pods)]

    def client(self, index: int) -> Client:
        clients = list(self.truth.clients)
        return clients[index % len(clients)]

    # -- clients ---------------------------------------------------------------------------

    @precondition(lambda self: len(self.truth.clients) < MAX_CLIENTS)
    @rule(index=indexes, user=users, room=rooms, info=infos, watch=st.booleans(), after=seconds)
    def a_client_connects(
        self, index: int, user: str, room: str, info: str | None, watch: bool, after: float
    ) -> None:
        self.connect(self.pod(index), user, room, info=info, watch=watch)
        self.clock.pass_(after)

    def connect(
        self, pod: ModelPod, user: str, room: str, *, info: str | None = None, watch: bool = False
    ) -> None:
        if pod.process.is_frozen:
            return
        client = self.cluster.connect(pod, user, info=info)
        client.on_event = self.truth.judge
        client.join(room, watch=watch)
        self.truth.clients[client] = None
        self.truth.look()

    @precondition(lambda self: self.truth.clients)
    @rule(index=indexes, how=st.sampled_from(list(ENDINGS)), after=seconds)
    def a_client_ends(self, index: int, how: str, after: float) -> None:
        self.end(self.client(index), ENDINGS[how])
        self.clock.pass_(after)

    def end(self, client: Client, ending: Ending) -> None:
        if client.pod.process.is_frozen:
            return
        now = self.clock.now
        hold = hold_of(ending, now, client.reconnect_at)
        client.end(ending)
        self.truth.look(hold.until - now)

    @precondition(lambda self: self.truth.clients)
    @rule(
        index=indexes,
        other=indexes,
        how=st.sampled_from(list(ENDINGS)),
        away=st.sampled_from((-0.1, 0.0, 0.03, 0.5, 2.0, 4.5)),
        after=seconds,
    )
    def a_client_moves(self, index: int, other: int, how: str, away: float, after: float) -> None:
        """To another pod, or comes back to the same; first the new connection, or first the end."""
        client, pod = self.client(index), self.pod(other)
        watch = any(map(client.is_watching, client.rooms))
        here = list(client.rooms)
        steps: list[Callable[[], None]] = [
            lambda: self.end(client, ENDINGS[how]),
            lambda: (
                [self.connect(pod, client.user, room, watch=watch) for room in here[:1]] and None
            ),
        ]
        for step in steps if away >= 0 else reversed(steps):
            step()
            self.clock.pass_(abs(away))
        self.clock.pass_(after)

    @precondition(lambda self: self.truth.clients)
    @rule(
        index=indexes,
        room=rooms,
        what=st.sampled_from(("join", "join", "leave", "watch", "watch", "unwatch", "ask")),
        after=seconds,
    )
    def a_client_does_something(self, index: int, room: str, what: str, after: float) -> None:
        client = self.client(index)
        if not client.pod.process.is_frozen:
            if what == "join":
                client.join(room)
            elif room in client.rooms:
                getattr(client, what)(room)
            self.truth.look(SETTLE_SECONDS)
        self.clock.pass_(after)

    # -- pods ------------------------------------------------------------------------------

    @precondition(lambda self: len(self.cluster.living()) < self.PODS)
    @rule(after=seconds)
    def a_pod_starts(self, after: float) -> None:
        self.cluster.start()
        self.clock.pass_(after)

    @precondition(lambda self: len(self.cluster.living()) > 1)
    @rule(index=indexes, after=seconds)
    def a_pod_dies(self, index: int, after: float) -> None:
        self.pod(index).kill()
        self.have_died = True
        self.cluster.living()
        self.truth.look()
        self.clock.pass_(after)

    @precondition(lambda self: len(self.cluster.living()) > 1)
    @rule(index=indexes, within=st.sampled_from((0.5, MAX_DRAIN_SECONDS)), told=st.booleans())
    def a_pod_drains(self, index: int, within: float, told: bool) -> None:
        pod = self.pod(index)
        if pod.process.is_frozen:
            return
        clients = list(pod.clients)
        pod.drain(seconds=within, is_told=lambda client: told or client.info is None)
        self.cluster.living()
        before = set(clients)
        while not pod.is_closed:
            self.clock.pass_(0.01)
            gone = {client for client in before if not client.is_open}
            for client in gone:
                hold = hold_of(CLOSED, self.clock.now, client.reconnect_at)
                self.truth.look(hold.until - self.clock.now - 0.02)
            before -= gone
        self.truth.look(LOST_SECONDS)

    @rule(index=indexes, seconds=long_seconds, timers_first=st.booleans(), after=seconds)
    def a_pod_stands_still(
        self, index: int, seconds: float, timers_first: bool, after: float
    ) -> None:
        pod = self.pod(index)
        if pod.process.is_frozen:
            return
        pod.process.is_frozen = True
        self.unheard(pod, seconds, lambda: pod.process.thaw(timers_first=timers_first))
        self.clock.pass_(after)

    def unheard(self, pod: ModelPod, seconds: float, mend: Callable[[], None]) -> None:
        """Have a pod not be heard for a time."""
        self.truth.unheard.add(pod.id)
        self.truth.look()

        def end() -> None:
            mend()
            self.truth.unheard.discard(pod.id)
            self.truth.look()

        self.clock.call_at(self.clock.now + seconds, end)

    # -- what becomes of words -------------------------------------------------------------

    def noise(self, seconds: float) -> None:
        until = self.clock.now + seconds + CALM_SECONDS
        self.truth.noisy_until = max(self.truth.noisy_until, until)

    @rule(
        index=indexes,
        seconds=long_seconds,
        direction=st.sampled_from(("is_publishing", "is_subscribed")),
        is_noticed=st.booleans(),
        after=seconds,
    )
    def a_pod_is_cut_off(
        self, index: int, seconds: float, direction: str, is_noticed: bool, after: float
    ) -> None:
        """In one direction; it notices at once, or by its canary."""
        pod = self.pod(index)
        link = self.bus.links[pod.id]
        self.noise(seconds)
        setattr(link, direction, False)
        if is_noticed and not pod.process.is_frozen:
            pod.cut_off()
        self.unheard(pod, seconds, lambda: setattr(link, direction, True))
        self.clock.pass_(after)

    @rule(
        index=indexes,
        seconds=st.sampled_from((0.3, 1.0, 2.0)),
        late=st.sampled_from((1.0, 6.0)),
        after=seconds,
    )
    def a_connection_is_replaced(
        self, index: int, seconds: float, late: float, after: float
    ) -> None:
        """What a pod said last on the old one comes after what it says on the new one."""
        pod = self.pod(index)
        link = self.bus.links[pod.id]
        if link.stuck is not None or pod.process.is_frozen:
            return
        self.noise(seconds + late)
        link.stuck = []
        self.clock.pass_(seconds)
        if not pod.is_closed:
            pod.cut_off()
        self.bus.unstick(pod.id, late)
        self.clock.pass_(after)

    @rule(seconds=long_seconds, loss=st.sampled_from((0.1, 0.4)), after=seconds)
    def words_are_lost(self, seconds: float, loss: float, after: float) -> None:
        self.noise(seconds)
        self.bus.loss = loss
        self.clock.call_at(self.clock.now + seconds, lambda: setattr(self.bus, "loss", 0.0))
        self.clock.pass_(after)

    @rule(seconds=long_seconds, delay=st.sampled_from((0.5, 3.0)), after=seconds)
    def words_take_long(self, seconds: float, delay: float, after: float) -> None:
        self.noise(seconds)
        self.bus.delay = delay
        self.clock.call_at(self.clock.now + seconds, lambda: setattr(self.bus, "delay", 0.05))
        self.clock.pass_(after)

    @rule(seconds=long_seconds, is_noticed=st.booleans(), after=seconds)
    def redis_is_away(self, seconds: float, is_noticed: bool, after: float) -> None:
        self.noise(seconds)
        self.bus.is_down = True
        for pod in self.cluster.pods if is_noticed else ():
            if not pod.is_closed and not pod.process.is_frozen:
                pod.cut_off()
        self.clock.call_at(self.clock.now + seconds, lambda: setattr(self.bus, "is_down", False))
        self.clock.pass_(after)

    # -- what is promised ------------------------------------------------------------------

    def faults_end(self) -> None:
        self.clock.pass_(max(0.0, self.truth.noisy_until - CALM_SECONDS - self.clock.now))
        while self.truth.unheard:
            self.clock.pass_(0.5)

    @rule()
    def all_comes_to_rest(self) -> None:
        self.faults_end()
        self.clock.pass_(RECOVERY_SECONDS)
        for client, room, told in self.told():
            assert told >= set(self.truth.users(room)), f"missing on {client.pod.id} in {room}"
        self.clock.pass_(LONGEST_HOLD_SECONDS)
        for client, room, told in self.told():
            users = self.truth.users(room)
            seen = client.seen[room]
            assert seen.complete
            assert told == set(users), f"on {client.pod.id} in {room}"
            assert seen.sessions == sum(map(len, users.values()))
            for user, clients in users.items():
                with_info = [each for each in clients if each.info is not None]
                newest = max(with_info, key=lambda each: each.client_id, default=None)
                assert seen.members is not None
                assert seen.members[user] == (None if newest is None else newest.info)
        self.check_commands()

    def told(self) -> list[tuple[Client, str, set[str]]]:
        """Each client that watches, and the users in a room as it was told."""
        return [
            (client, room, set(client.seen[room].members or ()))
            for client in self.truth.clients
            for room in client.rooms
            if client.is_watching(room)
        ]

    def check_commands(self) -> None:
        """No pod has said more than it may in a window."""
        times: dict[str, list[float]] = {}
        for at, pod_id, kind in self.bus.said:
            if kind != "canary":
                times.setdefault(pod_id, []).append(at)
        for each in times.values():
            for first, last in zip(each, each[MAX_ENVELOPES:], strict=False):
                assert last - first > WINDOW_SECONDS - 0.001
        self.bus.said.clear()

    def nothing_is_said(self) -> None:
        for client in self.truth.clients:
            for room in list(client.rooms):
                client.unwatch(room)
        self.clock.pass_(UNWATCH_SECONDS + 3 * WINDOW_SECONDS)
        self.bus.said.clear()
        if self.have_died:  # they may come back, for all that others know, and have watched
            return
        for number, pod in enumerate(self.cluster.living()):
            self.connect(pod, USERS[number % len(USERS)], ROOMS[0])
            self.clock.pass_(0.3)
            self.end(self.client(number), LEFT)
        self.clock.pass_(2.0)
        assert {kind for _, _, kind in self.bus.said} <= {"canary"}

    def nothing_is_kept(self) -> None:
        for client in list(self.truth.clients):
            self.end(client, LOST)
        self.clock.pass_(LONGEST_HOLD_SECONDS + UNWATCH_SECONDS + 1.0)
        for pod in self.cluster.living():
            assert kept(pod) == {}

    def teardown(self) -> None:
        if hasattr(self, "cluster"):
            self.all_comes_to_rest()
            self.nothing_is_said()
            self.nothing_is_kept()


def kept(pod: ModelPod) -> dict[str, Any]:
    """What a pod keeps of rooms and sessions."""
    presence, speaker, listener = pod.presence, pod.presence.speaker, pod.presence.listener
    looks = {
        "channels": len(pod.hub.channels) - 1,
        "watched": presence._rooms,
        "due": presence._due,
        "unwatch": presence._unwatch_at,
        "reconnect": presence._reconnect_at,
        "asked": presence._asked_at,
        "views": listener.views,
        "doubts": [peer.doubts for _, peer in listener.peers.living() if peer.doubts],
        "touched": listener.touched | listener.rebuilt,
        "parts": speaker.parts,
        "registrations": speaker.watchers,
        "unsaid": speaker.has_news,
    }
    return {what: seen for what, seen in looks.items() if seen}


class FivePodsMachine(PresenceMachine):
    PODS = 5


TestThreePods = PresenceMachine.TestCase
TestThreePods.settings = settings(
    max_examples=settings().max_examples, stateful_step_count=30, report_multiple_bugs=False
)
TestFivePods = FivePodsMachine.TestCase
TestFivePods.settings = settings(
    max_examples=settings().max_examples // 3, stateful_step_count=40, report_multiple_bugs=False
)
