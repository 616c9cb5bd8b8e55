"""Presence by property: whatever becomes of pods and of what they say, all end up with the truth.

The real parts of three and of five pods say what they say over a bus that is a model: it loses,
delays, cuts one direction, and goes down; pods stand still, die, drain and start. Clients come, go
and watch, and each checks that what it is told fits together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
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
from sanic_chat.presence.presence import IN_USE_SECONDS, UNWATCH_SECONDS, WINDOW_SECONDS
from sanic_chat.presence.speaker import MAX_ENVELOPES
from sanic_chat.session.handler import Ending

from ..support.model_bus import Bus, Clock
from ..support.model_presence import CLOSED, LEFT, LOST, RELOADED, Client, Cluster, ModelPod

USERS = ("anna", "bob", "carl", "dora")
ROOMS = ("a", "b")
INFOS = (None, None, "x", "y")
ENDINGS = (LEFT, RELOADED, LOST, CLOSED)
MAX_CLIENTS = 12
MAX_DRAIN_SECONDS = 4.0

RECOVERY_SECONDS = 10.0
"""When faults have ended, nobody is missing any more after that time."""
LONGEST_HOLD_SECONDS = LOST_SECONDS + MAX_DRAIN_SECONDS + RETURN_SECONDS
SILENCE_SECONDS = LOST_SECONDS - 2.5
"""What is certain of a silent pod's hold: it counts from when the pod was last heard."""
HEARD_SECONDS = 1.5
"""After that time a client is known to other pods, be it the first of its pod."""
CALM_SECONDS = 25.0
"""After what may have lost words, the time for which absences are not judged to the moment."""

seeds = st.integers(0, 2**32 - 1)
acts = st.integers(0, 5)
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
    unheard: Counter[str] = field(default_factory=Counter)
    """The IDs of pods that stand still, or are cut off, and for how many reasons."""
    down: tuple[float, float] = (inf, -inf)
    """From when till when Redis was away for the last time."""
    heard_from: float = 0.0
    """The time from which on all know of such pods, and of those that died."""
    noisy_until: float = 0.0
    """Words may have been lost; see `CALM_SECONDS`."""
    deaf: list[tuple[str, float, float]] = field(default_factory=list)
    """The IDs of pods that heard nothing, and from when till when."""
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
            for user in {*users, *(user for known, user in self.absences if known == room)}:
                clients = users.get(user, ())
                is_here = any(not self.unheard[each.pod.id] for each in clients)
                absences = self.absences.setdefault((room, user), [Absence(-inf, 0.0)])
                last = absences[-1]
                if is_here:
                    last.end = min(last.end, max(now, self.down[1]))
                elif hold == SILENCE_SECONDS and last.end > now - HEARD_SECONDS:
                    last.end = inf  # that it was here may not be heard before its pod is again
                elif last.end == inf:
                    last.hold = min(last.hold, now + hold - last.begin)
                else:
                    begin, end = self.down
                    was_heard_at = (
                        begin if hold == SILENCE_SECONDS and now < end + RECOVERY_SECONDS else now
                    )
                    absences.append(Absence(was_heard_at, hold))

    def ended(self, client: Client, rooms: Iterable[str], hold: float) -> None:
        """Take in that a client has left rooms, with a hold; its user may be there otherwise."""
        self.look(hold)
        now = self.clock.now
        for room in rooms:
            absences = self.absences[room, client.user]
            if absences[-1].end < inf:
                absences.append(Absence(now, hold, now))

    def as_known_on(self, pod: ModelPod, absences: list[Absence]) -> list[Absence]:
        """The absences of a user as a pod knows them that did not hear of a return in between."""
        known = absences[:1]
        for absence in absences[1:]:
            back, gone_again = known[-1].end + HEARD_SECONDS, absence.begin - HEARD_SECONDS
            if any(
                pod_id == pod.id and begin <= back and gone_again <= end
                for pod_id, begin, end in self.deaf
            ):
                known[-1] = replace(known[-1], end=absence.end)
            else:
                known.append(absence)
        return known

    def judge(self, client: Client, event: dict[str, Any]) -> None:
        """A client is told only what is so."""
        room, now = event["room"], self.clock.now
        if event["event"] == "roster" or event["left"] is None:
            return
        is_noisy = now < self.noisy_until
        early, late = (4.0, RECOVERY_SECONDS + 2.0) if is_noisy else (0.01, 2.0)
        seen = client.seen[room]
        told = [each["user"] for each in event["left"]]
        all_are_heard = now > self.heard_from and not (self.unheard.total() or is_noisy)
        if seen.complete and now - seen.since > 1.0 and all_are_heard:
            told += [each["user"] for each in event["joined"]]
        for user in told:
            absences = self.absences[room, user]
            assert any(
                absence.end >= client.pod.process.heard_until(2.0) - late
                and (
                    min(absence.end, now) - absence.begin >= absence.hold - early
                    or absence.begin < seen.since  # it knows at most of earlier holds
                )
                for absence in (*absences, *self.as_known_on(client.pod, absences))
            ), f"{user} was not away for long enough: {absences} {event}"


class PresenceMachine(RuleBasedStateMachine):
    """Whatever happens, and in whatever order:

    Ten seconds after faults have ended nobody is missing from what a client was told, and after the
    longest hold everything is as it is told. Nobody is told to have left before his hold is over. A
    client gets one event a window. A pod says at most `MAX_ENVELOPES` a window, and nothing when
    nobody has watched for a minute. When all have left nothing is kept.
    """

    PODS = 3

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.truth = Truth(self.clock)

    @initialize(seed=seeds, watched=st.sampled_from((0.0, 0.3, 1.0)))
    def pods_start(self, seed: int, watched: float) -> None:
        """In each there may be clients that watch and never move."""
        self.random = Random(seed)
        self.bus = Bus(self.clock, self.random)
        self.cluster = Cluster(self.clock, self.bus)
        self.watched = watched
        for _ in range(self.PODS):
            self.start()
        self.clock.pass_(3.0)

    def start(self) -> None:
        pod = self.cluster.start()
        for room in ROOMS:
            if self.random.random() < self.watched:
                self.connect(pod, f"watcher {self.cluster.started}", room, watch=True)

    def pod(self) -> ModelPod:
        return self.random.choice(self.cluster.living())

    # -- clients ---------------------------------------------------------------------------

    @rule(seed=seeds, times=st.integers(1, 8), apart=st.sampled_from((0.05, 0.5, 3.0)))
    def clients_act(self, seed: int, times: int, apart: float) -> None:
        """They come, go, move, and look, at random and so far apart."""
        self.random.seed(seed)
        self.act(times, apart)

    def act(self, times: int, apart: float) -> None:
        for _ in range(times):
            clients = [each for each in self.truth.clients if each.user in USERS]
            act = self.random.choice(ACTIONS)
            if not clients or (act is PresenceMachine.comes and len(clients) < MAX_CLIENTS):
                self.comes()
            else:
                client = self.random.choice(clients)
                if not client.pod.process.is_frozen:
                    act(self, client)
            self.clock.pass_(2 * apart * self.random.random())

    def comes(self, client: Client | None = None) -> None:
        user, room, info = map(self.random.choice, (USERS, ROOMS, INFOS))
        self.connect(self.pod(), user, room, info=info, watch=self.random.random() < 0.5)

    def connect(
        self, pod: ModelPod, user: str, room: str, *, info: str | None = None, watch: bool = False
    ) -> None:
        if not (pod.process.is_frozen or pod.is_draining):
            client = self.cluster.connect(pod, user, info=info)
            client.on_event = self.truth.judge
            client.join(room, watch=watch)
            self.truth.clients[client] = None
            self.truth.look()

    def goes(self, client: Client) -> None:
        self.end(client, self.random.choice(ENDINGS))

    def end(self, client: Client, ending: Ending) -> None:
        if client.is_open and not client.pod.process.is_frozen:
            now = self.clock.now
            hold = hold_of(ending, now, client.reconnect_at)
            client.end(ending)
            self.truth.ended(client, client.rooms, hold.until - now)

    def moves(self, client: Client) -> None:
        """To another pod, or comes back to the same; first the new connection, or first the end."""
        pod, user, rooms = self.pod(), client.user, list(client.rooms)
        watch = any(map(client.is_watching, rooms))
        away = self.random.choice((-0.1, 0.0, 0.03, 0.5, 2.0, 4.5))
        if away >= 0:
            self.goes(client)
        else:
            self.clock.call_at(self.clock.now - away, partial(self.goes, client))
        self.clock.pass_(max(0.0, away))
        for room in rooms:
            self.connect(pod, user, room, info=client.info, watch=watch)

    def joins(self, client: Client) -> None:
        client.join(self.random.choice(ROOMS), watch=self.random.random() < 0.5)
        self.truth.look()

    def leaves(self, client: Client) -> None:
        if client.rooms:
            room = self.random.choice(list(client.rooms))
            client.leave(room)
            self.truth.ended(client, (room,), SETTLE_SECONDS)

    def looks(self, client: Client) -> None:
        if client.rooms:
            look = self.random.choice((Client.watch, Client.unwatch, Client.ask))
            look(client, self.random.choice(list(client.rooms)))

    # -- pods ------------------------------------------------------------------------------

    @precondition(lambda self: len(self.cluster.living()) < self.PODS)
    @rule(seed=seeds)
    def a_pod_starts(self, seed: int) -> None:
        self.random.seed(seed)
        self.start()

    @precondition(lambda self: len(self.cluster.living()) > 1)
    @rule(seed=seeds)
    def a_pod_dies(self, seed: int) -> None:
        self.random.seed(seed)
        self.pod().kill()
        self.truth.look()
        self.truth.heard_from = self.clock.now + LOST_SECONDS + HEARD_SECONDS

    @precondition(lambda self: len(self.cluster.living()) > 1)
    @rule(seed=seeds, seconds=st.sampled_from((0.5, MAX_DRAIN_SECONDS)), acts=acts)
    def a_pod_drains(self, seed: int, seconds: float, acts: int) -> None:
        self.random.seed(seed)
        pod = self.pod()
        if pod.process.is_frozen:
            return
        for client in pod.clients:
            client.on_closed = self.closed
        pod.drain(seconds=seconds, is_told=lambda client: self.random.random() < 0.5)
        self.act(acts, seconds / (acts + 1))
        self.clock.pass_(1.5 * seconds)

    def closed(self, client: Client) -> None:
        """A pod has closed a client."""
        now = self.clock.now
        hold = hold_of(CLOSED, now, client.reconnect_at)
        self.truth.ended(client, client.rooms, hold.until - now)

    @rule(seed=seeds, seconds=long_seconds, timers_first=st.booleans(), acts=acts)
    def a_pod_stands_still(self, seed: int, seconds: float, timers_first: bool, acts: int) -> None:
        self.random.seed(seed)
        pod = self.pod()
        if not pod.process.is_frozen:
            pod.process.freeze()
            self.unheard(pod, seconds, partial(pod.process.thaw, timers_first=timers_first))
            self.act(acts, seconds / (acts + 1))

    def unheard(self, pod: ModelPod, seconds: float, mend: Callable[[], None]) -> None:
        """Have a pod not be heard for a time."""
        self.truth.unheard[pod.id] += 1
        self.truth.look()

        def end() -> None:
            mend()
            self.truth.unheard[pod.id] -= 1
            self.truth.look()
            if not self.truth.unheard.total():
                heard_from = self.clock.now + HEARD_SECONDS
                self.truth.heard_from = max(self.truth.heard_from, heard_from)

        self.clock.call_at(self.clock.now + seconds, end)

    # -- what becomes of words -------------------------------------------------------------

    def noise(self, seconds: float) -> None:
        until = self.clock.now + seconds + CALM_SECONDS
        self.truth.noisy_until = max(self.truth.noisy_until, until)

    @rule(
        seed=seeds,
        seconds=long_seconds,
        direction=st.sampled_from(("is_publishing", "is_subscribed")),
        is_noticed=st.booleans(),
        acts=acts,
    )
    def a_pod_is_cut_off(
        self, seed: int, seconds: float, direction: str, is_noticed: bool, acts: int
    ) -> None:
        """In one direction; it notices at once, or by its canary."""
        self.random.seed(seed)
        pod = self.pod()
        self.noise(seconds)
        if direction == "is_subscribed":
            self.truth.deaf.append((pod.id, self.clock.now, self.clock.now + seconds))
        setattr(self.bus.links[pod.id], direction, False)
        if is_noticed and not pod.process.is_frozen:
            pod.cut_off()
        self.unheard(pod, seconds, partial(setattr, self.bus.links[pod.id], direction, True))
        self.act(acts, seconds / (acts + 1))

    @rule(
        seed=seeds, seconds=st.sampled_from((0.3, 2.0)), late=st.sampled_from((1.0, 6.0)), acts=acts
    )
    def a_connection_is_replaced(self, seed: int, seconds: float, late: float, acts: int) -> None:
        """What a pod said last on the old one comes after what it says on the new one."""
        self.random.seed(seed)
        pod = self.pod()
        link = self.bus.links[pod.id]
        if link.stuck is not None or pod.process.is_frozen:
            return
        self.noise(seconds + late)
        link.stuck = []
        self.act(acts, seconds / (acts + 1))
        self.clock.pass_(seconds)
        if not (pod.is_closed or pod.process.is_frozen):
            pod.cut_off()
        self.bus.unstick(pod.id, late)
        self.act(acts, late / (acts + 1))

    @rule(seed=seeds, seconds=long_seconds, loss=st.sampled_from((0.2, 0.5)), acts=acts)
    def words_are_lost(self, seed: int, seconds: float, loss: float, acts: int) -> None:
        self.random.seed(seed)
        self.noise(seconds)
        self.bus.loss = loss
        self.clock.call_at(self.clock.now + seconds, partial(setattr, self.bus, "loss", 0.0))
        self.act(acts, seconds / (acts + 1))

    @rule(seed=seeds, seconds=long_seconds, delay=st.sampled_from((0.5, 3.0)), acts=acts)
    def words_take_long(self, seed: int, seconds: float, delay: float, acts: int) -> None:
        self.random.seed(seed)
        self.noise(seconds + delay)
        self.bus.delay = delay
        self.clock.call_at(self.clock.now + seconds, partial(setattr, self.bus, "delay", 0.05))
        self.act(acts, seconds / (acts + 1))

    @rule(seed=seeds, seconds=st.sampled_from((0.5, 1.5, 7.0)), acts=acts)
    def redis_stalls(self, seed: int, seconds: float, acts: int) -> None:
        """All that is said meanwhile is heard afterwards."""
        self.random.seed(seed)
        self.noise(seconds)
        self.bus.stall()
        self.act(acts, seconds / (acts + 1))
        self.clock.pass_(seconds / (acts + 1))
        self.bus.go_on()

    @rule(seed=seeds, seconds=long_seconds, is_noticed=st.booleans(), acts=acts)
    def redis_is_away(self, seed: int, seconds: float, is_noticed: bool, acts: int) -> None:
        self.random.seed(seed)
        self.noise(seconds)
        now = self.clock.now
        begin, end = self.truth.down
        self.truth.down = (begin if now < end + RECOVERY_SECONDS else now, max(end, now + seconds))
        self.bus.is_down = True
        for pod in self.cluster.pods if is_noticed else ():
            if not (pod.is_closed or pod.process.is_frozen):
                pod.cut_off()
        self.clock.call_at(self.truth.down[1], self.redis_is_back)
        self.act(acts, seconds / (acts + 1))

    def redis_is_back(self) -> None:
        self.bus.is_down = self.clock.now < self.truth.down[1]

    # -- what is promised ------------------------------------------------------------------

    def faults_end(self) -> None:
        self.clock.pass_(max(0.0, self.truth.noisy_until - CALM_SECONDS - self.clock.now))
        while self.truth.unheard.total():
            self.clock.pass_(0.5)

    def all_comes_to_rest(self) -> None:
        self.faults_end()
        self.clock.pass_(RECOVERY_SECONDS)
        for client, room, told in self.told():
            assert told >= set(self.truth.users(room)), f"missing on {client.pod.id} in {room}"
        self.act(6, 0.5)
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
        """No pod has said more than it may in a window, but for its last words."""
        times: dict[str, list[float]] = {}
        ends = {(at, pod_id) for at, pod_id, kind in self.bus.said if kind == "goodbye"}
        for at, pod_id, kind in self.bus.said:
            if kind != "canary" and (at, pod_id) not in ends:
                times.setdefault(pod_id, []).append(at)
        for each in times.values():
            for first, last in zip(each, each[MAX_ENVELOPES:], strict=False):
                assert last - first > WINDOW_SECONDS - 0.001
        self.bus.said.clear()

    def nothing_is_said(self) -> None:
        for client in self.truth.clients:
            for room in list(client.rooms):
                client.unwatch(room)
        self.clock.pass_(UNWATCH_SECONDS + IN_USE_SECONDS + 3.0)
        self.bus.said.clear()
        for pod in self.cluster.living():
            self.connect(pod, USERS[0], ROOMS[0])
            self.clock.pass_(0.3)
            self.end([*self.truth.clients][-1], LEFT)
        self.clock.pass_(2.0)
        assert {kind for _, _, kind in self.bus.said} <= {"canary"}

    def nothing_is_kept(self) -> None:
        for client in list(self.truth.clients):
            self.end(client, LOST)
        self.clock.pass_(LONGEST_HOLD_SECONDS + UNWATCH_SECONDS + 1.0)
        for pod in self.cluster.living():
            assert kept(pod) == {}, kept(pod)
            assert len(pod.presence.listener.peers) == len(self.cluster.living()) - 1

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


ACTIONS: tuple[Callable[..., None], ...] = (
    *(PresenceMachine.comes,) * 3,
    *(PresenceMachine.goes,) * 2,
    *(PresenceMachine.moves,) * 2,
    PresenceMachine.joins,
    PresenceMachine.leaves,
    PresenceMachine.looks,
)
"""What clients do, and how often."""


class FivePodsMachine(PresenceMachine):
    PODS = 5


TestThreePods = PresenceMachine.TestCase
TestThreePods.settings = settings(
    max_examples=2 * settings().max_examples, stateful_step_count=12, report_multiple_bugs=False
)
TestFivePods = FivePodsMachine.TestCase
TestFivePods.settings = settings(
    max_examples=settings().max_examples // 3, stateful_step_count=15, report_multiple_bugs=False
)
