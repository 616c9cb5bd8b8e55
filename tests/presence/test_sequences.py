"""Sequences on several pods that must come out right: who has left when, and who has not.

The pods are a model's (tests/support/model_presence.py); time is the test's.
"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Any

import pytest

from sanic_chat.presence.holds import HEARSAY_SECONDS, LOST_SECONDS, RELOAD_SECONDS, SETTLE_SECONDS
from sanic_chat.presence.peers import QUIET_BEATS
from sanic_chat.presence.presence import IN_USE_SECONDS, UNWATCH_SECONDS, WINDOW_SECONDS
from sanic_chat.session.handler import EndedBy, Ending

from ..support.model_bus import Bus, Clock
from ..support.model_presence import CLOSED, LEFT, LOST, RELOADED, Client, Cluster, ModelPod

ROOM = "lobby"
TOLD_SECONDS = 3.0
"""The longest time until all are told of somebody who says goodbye."""
PHASES = [0.0, 0.07, 0.13, 0.19, 0.25]
"""Seconds by which windows of different pods are apart."""


class Stage:
    """Some pods, of which the last one has a client that watches."""

    def __init__(self, pods: int = 3, *, watched: str = ROOM) -> None:
        self.clock = Clock()
        self.bus = Bus(self.clock, Random(1))
        self.cluster = Cluster(self.clock, self.bus)
        self.pods = [self.cluster.start() for _ in range(pods)]
        self.clock.pass_(3.0)
        self.watcher = self.connect("watcher", self.pods[-1], watched, watch=True)
        self.clock.pass_(3.0)

    def nobody_watches(self) -> None:
        """Let the watcher look away, and time pass until all pods know."""
        [room] = self.watcher.rooms
        self.watcher.unwatch(room)
        self.clock.pass_(UNWATCH_SECONDS + 2.0)

    def connect(self, user: str, pod: ModelPod, room: str = ROOM, *, watch: bool = False) -> Client:
        client = self.cluster.connect(pod, user)
        client.join(room, watch=watch)
        return client

    def told(self, client: Client | None = None) -> list[tuple[str, str]]:
        """What a client was told since the last call: who has joined, and who left, and why."""
        client = client or self.watcher
        told, client.told = client.told, []
        changes = [event for event in told if event["event"] == "changed"]
        return [
            change
            for event in changes
            for change in (
                *((each["user"], "joined") for each in event["joined"]),
                *((each["user"], each["reason"]) for each in event["left"]),
            )
        ]

    def users(self, client: Client | None = None, room: str = ROOM) -> set[str]:
        """The users that a client takes for present."""
        members = (client or self.watcher).seen[room].members
        assert members is not None
        return set(members)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    ("ending", "away"),
    [
        (LEFT, 0.05),
        (LEFT, SETTLE_SECONDS - 0.01),
        (RELOADED, 0.034),
        (RELOADED, RELOAD_SECONDS - 0.01),
        (CLOSED, 2.0),
        (Ending(EndedBy.SERVER, 1013, ""), 2.0),
        (LOST, LOST_SECONDS - 0.01),
    ],
)
def test_who_moves(ending: Ending, away: float, before: bool, phase: float) -> None:
    """A user who comes back within the hold, or has done so `before` the end, was never away."""
    stage = Stage()
    anna = stage.connect("anna", stage.pods[0])
    stage.clock.pass_(2.0)
    stage.connect("bert", stage.pods[1])  # begins a window there
    stage.clock.pass_(phase)
    assert ("anna", "joined") in stage.told()
    if before:
        again = stage.connect("anna", stage.pods[1])
        stage.clock.pass_(0.05)
        anna.end(ending)
    else:
        anna.end(ending)
        stage.clock.pass_(away)
        again = stage.connect("anna", stage.pods[1])
    stage.clock.pass_(20.0)
    assert [change for change in stage.told() if change[0] == "anna"] == []
    again.end(LEFT)
    stage.clock.pass_(TOLD_SECONDS)
    assert stage.told() == [("anna", "left")]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("drains", [False, True])
def test_pods_tell_at_once(drains: bool, phase: float) -> None:
    """That a user has left, so that who moves between pods is not told twice; one may drain."""
    for more in (0.0, 0.3, 0.6, 0.9):
        stage = Stage(2)
        watchers = [stage.watcher, stage.connect("other", stage.pods[0], watch=True)]
        anna = stage.connect("anna", stage.pods[0])
        stage.clock.pass_(3.0 + phase + more)
        told_at: list[float] = []

        def note(client: Client, event: dict[str, Any], told_at: list[float] = told_at) -> None:
            if event["event"] == "changed" and event["left"]:
                told_at.append(client.pod.process.time())

        for watcher in watchers:
            watcher.on_event = note
        if drains:
            stage.pods[0].drain(seconds=60.0, is_told=lambda client: False)
            stage.clock.pass_(0.9)
        left_at = stage.clock.now
        anna.end(LEFT)
        stage.clock.pass_(5.0)
        assert len(told_at) == 2
        assert max(told_at) - min(told_at) < 2 * WINDOW_SECONDS + 0.1
        assert max(told_at) - left_at < SETTLE_SECONDS + HEARSAY_SECONDS + 4 * WINDOW_SECONDS


def test_the_last_hold_decides() -> None:
    """A laptop that is lost at 0 s, and a phone that says goodbye at 5 s: lost at 15 s."""
    for pods in ((0, 1), (1, 0), (0, 0), (2, 2)):
        stage = Stage()
        laptop, phone = (stage.connect("anna", stage.pods[pod]) for pod in pods)
        stage.clock.pass_(1.0)
        laptop.end(LOST)
        stage.clock.pass_(5.0)
        phone.end(LEFT)
        assert stage.told() == [("anna", "joined")]
        stage.clock.pass_(LOST_SECONDS - 5.0)
        assert stage.told() == []
        stage.clock.pass_(2.0)
        assert stage.told() == [("anna", "lost")]


def test_who_was_sent_elsewhere_and_is_there_may_leave() -> None:
    """The hold of a drain is over with the new session, which came before the old one's end."""
    stage = Stage()
    old = stage.connect("anna", stage.pods[0])
    stage.clock.pass_(1.0)
    stage.pods[0].presence.told_to_reconnect(old.session, stage.clock.now + 1.0)
    stage.clock.pass_(1.0)
    new = stage.connect("anna", stage.pods[1])
    stage.clock.pass_(0.5)
    old.end(CLOSED)
    stage.clock.pass_(2.0)
    new.end(LEFT)
    stage.clock.pass_(TOLD_SECONDS)
    assert stage.told() == [("anna", "joined"), ("anna", "left")]


def test_who_was_sent_elsewhere_and_has_left_there() -> None:
    """What the pod that a drain has emptied says at its end is about those who have not come back.

    One came back and left, before and after its end, to a pod that is watched and to another one.
    """
    for pod in (1, 2):
        for before in (True, False):
            stage = Stage()
            old, away = (stage.connect(user, stage.pods[0]) for user in ("anna", "away"))
            stage.clock.pass_(1.0)
            for client in (old, away):
                client.end(CLOSED)
            stage.clock.pass_(1.0)
            new = stage.connect("anna", stage.pods[pod])
            stage.clock.pass_(1.0)
            stage.told()
            if before:
                new.end(LEFT)
            stage.pods[0].close()
            stage.clock.pass_(1.0)
            new.end(LEFT)
            stage.clock.pass_(TOLD_SECONDS)
            assert stage.told() == [("anna", "left")]
            stage.clock.pass_(LOST_SECONDS)
            assert stage.told() == [("away", "lost")]


@pytest.mark.parametrize("watched", [ROOM, "elsewhere"])
@pytest.mark.parametrize("leaves", [True, False])
def test_who_has_come_back_and_left_is_not_held_elsewhere(leaves: bool, watched: str) -> None:
    """Neither by the pod that held the user, nor by those that do it in its place when it leaves;
    so a roster that is asked for later does not have the user."""
    for before in (True, False):
        stage = Stage(4, watched=watched)
        anna = stage.connect("anna", stage.pods[0])
        stage.clock.pass_(1.0)
        anna.end(CLOSED)
        stage.clock.pass_(1.0)
        if leaves and before:
            stage.pods[0].close()
        stage.clock.pass_(1.0)
        again = stage.connect("anna", stage.pods[1])
        stage.clock.pass_(1.0)
        if leaves and not before:
            stage.pods[0].close()
        again.end(LEFT)
        stage.clock.pass_(2.0)
        for pod in stage.pods[2:]:
            watcher = stage.connect("bert", pod, watch=True)
            stage.clock.pass_(1.5)
            assert "anna" not in stage.users(watcher)


@pytest.mark.parametrize("leaves", [True, False])
@pytest.mark.parametrize("is_new", [True, False])
def test_who_has_come_back_while_nobody_watched(is_new: bool, leaves: bool) -> None:
    """Is held no more, be it by a pod that drains, nor if it was to one that has just started."""
    for drains in (True, False):
        stage = Stage()
        anna = stage.connect("anna", stage.pods[0])
        stage.nobody_watches()
        if drains:
            stage.pods[0].drain(seconds=20.0, is_told=lambda client: False)
        pod = stage.cluster.start() if is_new else stage.pods[1]
        stage.clock.pass_(1.0)
        anna.end(CLOSED)
        stage.clock.pass_(1.0)
        again = stage.connect("anna", pod)
        stage.clock.pass_(1.0)
        if leaves:
            again.end(LEFT)
            stage.clock.pass_(1.0)
        stage.watcher.watch(ROOM)
        stage.clock.pass_(1.5)
        assert stage.users() == ({"watcher"} if leaves else {"anna", "watcher"})
        again.end(LEFT)
        stage.clock.pass_(TOLD_SECONDS)
        assert stage.told() == ([] if leaves else [("anna", "left")])


@pytest.mark.parametrize("watched", [None, "elsewhere"])
def test_who_came_back_before_a_drain_has_closed(watched: str | None) -> None:
    """And has left since: no roster that is asked for later has the user."""
    stage = Stage(watched=watched or ROOM)
    old = stage.connect("anna", stage.pods[0])
    if watched is None:
        stage.nobody_watches()
    stage.pods[0].drain(seconds=4.0, is_told=lambda client: True)
    stage.clock.pass_(old.reconnect_at - stage.clock.now)
    new = stage.connect("anna", stage.pods[1])
    stage.clock.pass_(1.0)
    assert not old.is_open
    new.end(LEFT)
    stage.clock.pass_(2.0)
    for pod in stage.pods[1:]:
        watcher = stage.connect("bert", pod, watch=True)
        stage.clock.pass_(1.5)
        assert "anna" not in stage.users(watcher)


def test_who_comes_back_long_after_anybody_watched() -> None:
    """Is held by nobody, though pods do not cease to note who comes at the same moment."""
    for tenths in range(int(10 * IN_USE_SECONDS) - 60, int(10 * IN_USE_SECONDS) + 60, 2):
        stage = Stage()
        anna = stage.connect("anna", stage.pods[0])
        stage.watcher.unwatch(ROOM)
        stage.clock.pass_(UNWATCH_SECONDS + tenths / 10)
        anna.end(CLOSED)
        stage.clock.pass_(0.2)
        again = stage.connect("anna", stage.pods[1])
        stage.clock.pass_(0.4)
        again.end(LEFT)
        stage.clock.pass_(1.0)
        stage.watcher.watch(ROOM)
        stage.clock.pass_(1.5)
        assert stage.users() == {"watcher"}, tenths


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("pod", [0, 1, 2])
def test_who_comes_back_for_a_moment(pod: int, phase: float) -> None:
    """Within a window, and leaves in peace: the hold of before is over."""
    stage = Stage()
    anna = stage.connect("anna", stage.pods[0])
    stage.clock.pass_(1.0)
    anna.end(LOST)
    stage.clock.pass_(1.0 + phase)
    again = stage.connect("anna", stage.pods[pod])
    stage.clock.pass_(0.05)
    again.end(LEFT)
    stage.clock.pass_(TOLD_SECONDS)
    assert stage.told() == [("anna", "joined"), ("anna", "left")]


def test_a_new_info_is_no_arrival() -> None:
    """The hold of a laptop that is lost outlives the phone, though that gets another token."""
    stage = Stage()
    laptop, phone = (stage.connect("anna", stage.pods[0]) for _ in range(2))
    stage.clock.pass_(1.0)
    laptop.end(LOST)
    stage.clock.pass_(2.0)
    phone.info = "new"
    stage.pods[0].presence.info_changed(phone.session, ROOM)
    stage.clock.pass_(1.0)
    phone.end(LEFT)
    stage.clock.pass_(LOST_SECONDS - 3.5)
    assert stage.told() == [("anna", "joined")]
    stage.clock.pass_(2.5)
    assert stage.told() == [("anna", "lost")]


@pytest.mark.parametrize("is_watched", [True, False])
def test_a_roster_has_who_is_held(is_watched: bool) -> None:
    """A user who is away while the first watcher of a pod comes, be it the first of the room."""
    stage = Stage(watched=ROOM if is_watched else "elsewhere")
    anna = stage.connect("anna", stage.pods[0])
    stage.clock.pass_(1.0)
    anna.end(CLOSED)
    stage.clock.pass_(0.05)
    watcher = stage.connect("bert", stage.pods[1], watch=True)
    stage.clock.pass_(1.5)
    assert "anna" in stage.users(watcher)
    stage.connect("anna", stage.pods[1])
    stage.clock.pass_(20.0)
    assert stage.told(watcher) == []


def test_last_words() -> None:
    """Who is held by a pod that leaves is in the rosters of those that begin to watch later."""
    stage = Stage()
    for number in range(300):
        stage.connect(f"user {number}", stage.pods[0], f"room {number % 4}")
    stage.connect("anna", stage.pods[0])
    stage.clock.pass_(1.0)
    stage.pods[0].close()
    stage.clock.pass_(1.0)
    for number in range(4):
        watcher = stage.connect("bert", stage.pods[1], f"room {number}", watch=True)
        stage.clock.pass_(1.5)
        assert len(stage.users(watcher, f"room {number}")) == 76
    stage.clock.pass_(20.0)
    assert stage.told() == [("anna", "joined"), ("anna", "lost")]
    stage.clock.pass_(IN_USE_SECONDS)
    assert not any(each.holds for each in stage.pods[1].presence.speaker.parts.values())


def test_last_words_to_a_pod_that_has_just_started() -> None:
    """It lets go of what it holds for others, too."""
    stage = Stage()
    anna = stage.connect("anna", stage.pods[0])
    stage.clock.pass_(1.0)
    anna.end(CLOSED)
    stage.watcher.end(LEFT)
    stage.clock.pass_(UNWATCH_SECONDS + 1.0)
    new = stage.cluster.start()
    stage.clock.pass_(2.0)
    stage.pods[0].close()
    stage.clock.pass_(LOST_SECONDS + 2.0)
    assert new.presence.speaker.parts == {}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(
    ("who", "seconds"),
    [
        ("Redis", 0.7),
        ("Redis", 1.5),
        ("Redis", 7.0),
        ("the other pod", 0.7),
        ("the other pod", 4.0),
    ],
)
def test_who_moves_while_nothing_is_said(who: str, seconds: float, phase: float) -> None:
    """Redis stalls, or the other pod stands still, before it says that a user has come back."""
    for before in (-0.9, -0.5, -0.2, 0.0, 0.1, 0.3, 0.6):  # from the move to the fault
        stage = Stage()
        anna = stage.connect("anna", stage.pods[0])
        stage.clock.pass_(2.0 + phase)
        stage.told()
        left_at = stage.clock.now + 1.0
        other = stage.pods[1]
        stall, go_on = (
            (stage.bus.stall, stage.bus.go_on)
            if who == "Redis"
            else (other.process.freeze, partial(other.process.thaw, timers_first=phase < 0.1))
        )
        if who != "Redis" and before < 0.05:
            continue  # it would not take her in
        stage.clock.call_at(left_at, partial(anna.end, LEFT))
        stage.clock.call_at(left_at + 0.04, partial(stage.connect, "anna", other))
        stage.clock.call_at(left_at + before, stall)
        stage.clock.call_at(left_at + before + seconds, go_on)
        stage.clock.pass_(30.0)
        assert stage.told() == [], before


def test_a_pod_stands_still() -> None:
    """Its timers fire before it reads; it buries nobody, and misses nobody afterwards."""
    for timers_first in (True, False):
        stage = Stage()
        still = stage.pods[-1]
        moving = stage.connect("moving", stage.pods[0])
        stage.connect("anna", stage.pods[0])
        stage.clock.pass_(1.0)
        observer = stage.connect("observer", stage.pods[0], watch=True)
        stage.clock.pass_(3.0)
        stage.told()
        moving.end(RELOADED)
        stage.clock.pass_(0.5)
        still.process.freeze()
        stage.clock.pass_(1.0)
        stage.connect("moving", stage.pods[1])
        stage.clock.pass_(19.0)
        assert stage.told(observer) == [("watcher", "lost")]
        still.process.thaw(timers_first=timers_first)
        stage.clock.pass_(4.0)
        assert stage.told() == []
        assert stage.told(observer) == [("watcher", "joined")]
        stage.connect("carl", stage.pods[0])  # it is told of the room as before
        stage.clock.pass_(2.0)
        assert stage.told() == [("carl", "joined")]
        assert stage.users() == {"watcher", "moving", "anna", "observer", "carl"}


@pytest.mark.parametrize("is_noticed", [True, False])
def test_redis_is_away(is_noticed: bool) -> None:
    """For 12 s: nobody has left who is there; rosters say meanwhile that some may be missing."""
    stage = Stage()
    lost = stage.connect("lost", stage.pods[0])
    for number, pod in enumerate(stage.pods):
        stage.connect(f"user {number}", pod)
    stage.clock.pass_(2.0)
    lost.end(LOST)
    stage.clock.pass_(6.0)
    stage.told()
    stage.bus.is_down = True
    for pod in stage.pods if is_noticed else ():
        pod.cut_off()
    stage.clock.pass_(4.0)
    stage.watcher.ask(ROOM)
    stage.clock.pass_(1.0)
    assert not stage.watcher.seen[ROOM].complete
    stage.connect("lost", stage.pods[1])
    stage.clock.pass_(7.0)
    stage.bus.is_down = False
    stage.clock.pass_(10.0)
    assert stage.told() == []
    assert stage.watcher.seen[ROOM].complete
    assert stage.users() == {"watcher", "lost", "user 0", "user 1", "user 2"}


def test_a_pod_is_killed() -> None:
    """Its users are lost fifteen seconds later, told by all pods within a second."""
    stage = Stage()
    other = stage.connect("other", stage.pods[1], watch=True)
    stage.connect("anna", stage.pods[0])
    stage.connect("back", stage.pods[0])
    stage.clock.pass_(2.0)
    stage.told(), stage.told(other)
    stage.pods[0].kill()
    stage.clock.pass_(3.0)
    stage.connect("back", stage.pods[1])
    stage.clock.pass_(LOST_SECONDS - 4.5)
    assert stage.told() == stage.told(other) == []
    stage.clock.pass_(3.5)
    assert stage.told() == stage.told(other) == [("anna", "lost")]
    times = [client.seen[ROOM].told_at for client in (stage.watcher, other)]
    assert abs(times[0] - times[1]) < 1.5


def test_a_pod_that_was_buried_wakes() -> None:
    """All its members are there again, though no number is missing."""
    stage = Stage()
    stage.connect("anna", stage.pods[0])
    stage.clock.pass_(1.0)
    stage.bus.links[stage.pods[0].id].is_publishing = False
    stage.clock.pass_(20.0)
    assert stage.told() == [("anna", "joined"), ("anna", "lost")]
    stage.bus.links[stage.pods[0].id].is_publishing = True
    stage.clock.pass_(5.0)
    assert stage.told() == [("anna", "joined")]


def test_words_of_an_old_connection() -> None:
    """They come after words of the new one, and change nothing any more."""
    stage = Stage()
    stage.connect("anna", stage.pods[0])
    stage.clock.pass_(1.0)
    watching, link = stage.pods[-1], stage.bus.links[stage.pods[-1].id]
    link.stuck = []
    stage.watcher.unwatch(ROOM)
    stage.clock.pass_(UNWATCH_SECONDS + 3 * WINDOW_SECONDS)
    watching.cut_off()
    stuck, link.stuck = link.stuck, None
    stage.watcher.watch(ROOM)
    stage.clock.pass_(3.0)
    for word in stuck:
        word()
    stage.clock.pass_(3.0)
    stage.connect("bert", stage.pods[0])
    stage.clock.pass_(2.0)
    assert stage.users() == {"anna", "bert", "watcher"}


def test_a_stream_that_asks_is_lost() -> None:
    """Who asks again is known to watch, so the first member that comes then is told."""
    stage = Stage(watched="elsewhere")
    stage.nobody_watches()
    watcher = stage.connect("bert", stage.pods[1], watch=True)
    stage.bus.lost = {"stream", "canary"}
    stage.bus.said.clear()
    while "want" not in {kind for _, _, kind in stage.bus.said}:
        stage.clock.pass_(0.01)
    stage.clock.pass_(2 * WINDOW_SECONDS)
    stage.connect("anna", stage.pods[0])
    stage.bus.lost = set()
    stage.clock.pass_(3.0)
    assert "anna" in stage.users(watcher)


def test_an_unwatching_is_lost() -> None:
    """A pod that watches nothing is told of no room, as soon as one hears that it does not."""
    stage = Stage()
    stage.connect("anna", stage.pods[0])
    stage.clock.pass_(1.0)
    stage.bus.lost = {"stream"}
    stage.watcher.unwatch(ROOM)
    stage.clock.pass_(UNWATCH_SECONDS + 2.0)
    stage.bus.lost = set()
    assert stage.pods[0].presence.stats().registrations == 0
    stage.clock.pass_(IN_USE_SECONDS)
    stage.bus.said.clear()
    stage.connect("bert", stage.pods[0])
    stage.clock.pass_(2.0)
    assert {kind for _, _, kind in stage.bus.said} == {"canary"}


def test_the_first_member_comes_while_a_request_waits() -> None:
    """Its pod answers that nobody is there, and says in the same window that somebody is."""
    stage = Stage()
    watcher = stage.connect("bert", stage.pods[1], watch=True)
    while not stage.pods[0].presence.speaker.has_news:
        stage.clock.pass_(0.01)
    stage.connect("anna", stage.pods[0])
    stage.clock.pass_(3.0)
    assert stage.users(watcher) == {"anna", "bert", "watcher"}


def test_pods_that_are_gone_are_forgotten() -> None:
    """One that has said goodbye at once, be it that nobody watches; one that was killed soon."""
    stage = Stage()
    stage.watcher.end(LEFT)
    stage.clock.pass_(IN_USE_SECONDS + UNWATCH_SECONDS + 1.0)
    stage.pods[0].close()
    stage.pods[1].kill()
    stage.clock.pass_(1.0)
    assert stage.pods[-1].presence.stats().peers == 1
    stage.clock.pass_(QUIET_BEATS + 2.0)
    assert stage.pods[-1].presence.stats().peers == 0


def test_a_pod_that_watched_is_killed() -> None:
    """Some seconds later nobody is told for its sake any more, and then nothing is said."""
    stage = Stage()
    stage.connect("anna", stage.pods[0])
    stage.clock.pass_(1.0)
    stage.pods[-1].kill()
    stage.clock.pass_(QUIET_BEATS + 2.0)
    assert stage.pods[0].presence.stats().registrations == 0
    stage.clock.pass_(IN_USE_SECONDS)
    stage.bus.said.clear()
    stage.connect("bert", stage.pods[0])
    stage.connect("carl", stage.pods[1], "a new room")
    stage.clock.pass_(2.0)
    assert {kind for _, _, kind in stage.bus.said} == {"canary"}


@pytest.mark.parametrize("seconds", [10.0, 90.0, 700.0])
@pytest.mark.parametrize("others_watch", [True, False])
def test_a_pod_that_watches_is_not_heard(others_watch: bool, seconds: float) -> None:
    """Nor does it hear others, since it stands still. Afterwards it is told of all as before."""
    for timers_first in (True, False):
        stage = Stage()
        anna = stage.connect("anna", stage.pods[0])
        if others_watch:
            stage.connect("observer", stage.pods[1], "elsewhere", watch=True)
        stage.clock.pass_(2.0)
        still = stage.pods[-1]
        still.process.freeze()
        stage.clock.pass_(seconds - 2.0)
        anna.end(LEFT)
        stage.connect("bert", stage.pods[0])
        stage.clock.pass_(2.0)
        still.process.thaw(timers_first=timers_first)
        stage.clock.pass_(5.0)
        assert stage.users() == {"bert", "watcher"}
        stage.connect("carl", stage.pods[0])
        stage.clock.pass_(2.0)
        assert stage.users() == {"bert", "carl", "watcher"}
