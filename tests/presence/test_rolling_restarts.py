"""A rolling restart of all pods is silent for users who come back, whatever they do first.

The pods are a model's (tests/support/model_presence.py); time is the test's.
"""

from __future__ import annotations

from functools import partial
from math import inf
from random import Random
from typing import Any

import pytest

from sanic_chat.session.handler import Ending

from ..support.model_bus import Bus, Clock
from ..support.model_presence import LEFT, LOST, RELOADED, Client, Cluster, ModelPod

USERS, ROOMS = 500, 5
WATCHERS = 3
"""The users of each room that watch it."""
WINDOW_SECONDS = 4.0
"""The time in which a pod sends its clients away."""

KINDS = ("makes before it breaks", "breaks before it makes", "is not told")
"""The kinds of clients."""


class Restart:
    """Pods with users, each pod replaced by a new one, after the other."""

    def __init__(self, pods: int, kinds: tuple[str, ...]) -> None:
        self.clock = Clock()
        self.random = Random(pods)
        self.cluster = Cluster(self.clock, Bus(self.clock, self.random))
        self.kinds = kinds
        self.changes: list[tuple[Client, dict[str, Any]]] = []
        """The users that joined or left, each with who was told so."""
        self.gone: set[str] = set()
        """The users that do not come back once they are sent away."""
        self.stays = self.cluster.start()
        """A pod that is not restarted; a client on it watches each room."""
        for _ in range(pods):
            self.cluster.start()
        self.clock.pass_(2.0)
        for number in range(ROOMS):
            self.connect("observer", f"room {number}", watch=True, pod=self.stays)
        for number in range(USERS):
            room = f"room {number % ROOMS}"
            self.connect(f"user {number}", room, watch=number < WATCHERS * ROOMS)
        self.clock.pass_(5.0)
        self.changes.clear()

    def clients(self) -> list[Client]:
        return [client for pod in self.cluster.pods for client in pod.clients]

    def connect(self, user: str, room: str, *, watch: bool, pod: ModelPod | None = None) -> None:
        pods = [pod for pod in self.cluster.living() if pod is not self.stays]
        client = self.cluster.connect(pod or self.random.choice(pods), user)
        client.on_event = self.note
        client.join(room, watch=watch)

    def note(self, client: Client, event: dict[str, Any]) -> None:
        if event["event"] == "changed":
            self.changes += ((client, left) for left in event["left"])
            self.changes += ((client, joined) for joined in event["joined"])

    def back(self, client: Client, after: float) -> None:
        """Have a client's user connect again."""
        if client.user not in self.gone:
            [room] = client.rooms
            connect = partial(self.connect, client.user, room, watch=bool(client.seen))
            self.clock.call_at(self.clock.now + after, connect)

    def end(self, user: str, ending: Ending, away: float) -> None:
        """Have a user end its connection, and come back after some time."""
        for client in [each for each in self.clients() if each.user == user]:
            if away < inf and client.reconnect_at is None:
                self.back(client, away)
            client.on_closed = lambda client: None
            client.end(ending)

    def run(self) -> None:
        for old in self.cluster.living()[1:]:
            self.cluster.start()
            self.clock.pass_(1.5)
            self.drain(old)
            self.clock.pass_(6.0)
        self.clock.pass_(30.0)

    def drain(self, old: ModelPod) -> None:
        kinds = {client: self.random.choice(self.kinds) for client in old.clients}
        old.drain(seconds=WINDOW_SECONDS, is_told=lambda client: kinds[client] != KINDS[2])
        for client, kind in kinds.items():
            if kind == KINDS[2]:
                client.on_closed = lambda client: self.back(client, 1.0 + self.random.random())
                continue
            assert client.reconnect_at is not None
            until = client.reconnect_at - self.clock.now
            self.back(client, until + (0.0 if kind == KINDS[0] else 0.3))
            self.clock.call_at(
                client.reconnect_at + (0.05 if kind == KINDS[0] else 0.0),
                partial(client.end, LEFT),
            )


@pytest.mark.parametrize("pods", [2, 4])
@pytest.mark.parametrize("kinds", [KINDS[:1], KINDS[1:2], KINDS[2:], KINDS], ids=lambda k: k[0][:5])
def test_users_who_come_back(pods: int, kinds: tuple[str, ...]) -> None:
    """Nobody is told that anybody joined or left, and every roster is complete."""
    restart = Restart(pods, kinds)
    restart.run()
    assert restart.changes == []
    check_rosters(restart, USERS)


def check_rosters(restart: Restart, users: int) -> None:
    """Every client that watches knows all users in its room."""
    clients = restart.clients()
    assert len({client.user for client in clients}) == users + 1
    watching = [client for client in clients if client.seen]
    assert len(watching) == (WATCHERS + 1) * ROOMS
    for client in watching:
        [(room, seen)] = client.seen.items()
        assert seen.complete
        assert seen.members is not None
        assert set(seen.members) == {each.user for each in clients if room in each.rooms}


@pytest.mark.parametrize("kinds", [KINDS[:1], KINDS], ids=lambda k: k[0][:5])
def test_users_who_do_not(kinds: tuple[str, ...]) -> None:
    """Twenty are lost and one leaves, once each for a client; not who reloads, or is reset."""
    restart = Restart(3, kinds)
    users = [f"user {number}" for number in range(WATCHERS * ROOMS, USERS)]
    restart.random.shuffle(users)
    gone, reload, reset = users[:20], users[20:40], users[40:60]
    restart.gone.update(gone, users[60:61])
    for user, ending, away in (
        *((user, RELOADED, 0.05) for user in reload),
        *((user, LOST, 5.0) for user in reset),
        (users[60], LEFT, inf),
    ):
        at = restart.clock.now + 5.0 * restart.random.random()
        restart.clock.call_at(at, partial(restart.end, user, ending, away))
    restart.run()
    for _, change in restart.changes:
        assert "reason" in change, f"joined: {change}"
    reasons = dict.fromkeys(gone, "lost") | {users[60]: "left"}
    told: dict[Client, list[tuple[str, str]]] = {}
    for client, change in restart.changes:
        told.setdefault(client, []).append((change["user"], change["reason"]))
    for changes in told.values():
        assert len(changes) == len(set(changes))
        assert set(changes) <= reasons.items()
    observed = [change for client in restart.stays.clients for change in told[client]]
    assert sorted(observed) == sorted(reasons.items())
    check_rosters(restart, USERS - 21)
