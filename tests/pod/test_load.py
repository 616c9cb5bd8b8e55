"""How far a pod is behind: who is held for it, and when the pod has caught up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sanic_chat.hub.channel import Channel
from sanic_chat.pod.load import CHANNEL_BACKLOG_BYTES, Load

from ..support.hub import HubHandler, channel_of, deliver

MAX_BYTES = 4 * CHANNEL_BACKLOG_BYTES
FRAME = 8192
"""Bytes of a frame, its header of four included."""


class Scene:
    """A load of two rooms with a member each, of a publisher and a subscriber."""

    def __init__(self) -> None:
        self.handler = HubHandler(write_bytes=FRAME * 2)
        self.a, self.b = channel_of("a"), channel_of("b")
        self.handler.open(self.a), self.handler.open(self.b)
        self.publisher, self.subscriber = (SimpleNamespace(congested=False) for _ in range(2))
        broker: Any = SimpleNamespace(publisher=self.publisher, subscriber=self.subscriber)
        self.load = Load(self.handler.hub, broker, max_bytes=MAX_BYTES)

    def fill(self, channel: Channel, size: int) -> None:
        """Deliver so many bytes, or a little more, in one turn."""
        while channel.pending_bytes < size:
            deliver(self.handler, channel, b"x" * (FRAME - 4))

    def held(self) -> dict[str, bool]:
        """Who is to be held: speakers of each room, and who speaks in none."""
        channels = {"a": self.a, "b": self.b, "none": None}
        return {name: self.load.must_hold(channel) for name, channel in channels.items()}

    def relieved(self) -> dict[str, bool]:
        channels = {"a": self.a, "b": self.b, "none": None}
        return {name: self.load.is_relieved(channel) for name, channel in channels.items()}


@pytest.fixture
def scene() -> Scene:
    return Scene()


def all_are(value: bool) -> dict[str, bool]:
    return dict.fromkeys(("a", "b", "none"), value)


def test_nothing_waits(scene: Scene) -> None:
    assert scene.held() == all_are(False)
    assert scene.relieved() == all_are(True)


def test_a_room_with_a_backlog(scene: Scene) -> None:
    """Who speaks there is held until half of the backlog is gone, and nobody else."""
    scene.fill(scene.a, CHANNEL_BACKLOG_BYTES)
    assert scene.held() == all_are(False)
    scene.fill(scene.a, CHANNEL_BACKLOG_BYTES + 1)
    assert scene.held() == {"a": True, "b": False, "none": False}
    assert scene.relieved() == {"a": False, "b": True, "none": True}
    while scene.a.pending_bytes > CHANNEL_BACKLOG_BYTES // 2:
        assert scene.relieved() == {"a": False, "b": True, "none": True}
        scene.handler.end_turn()
    assert scene.relieved() == all_are(True)


def test_too_much_is_held_altogether(scene: Scene) -> None:
    """Who speaks in a room that is behind is held then, however little waits for that room."""
    rooms = [channel_of(f"room-{number}") for number in range(MAX_BYTES // CHANNEL_BACKLOG_BYTES)]
    for room in rooms:
        scene.handler.open(room)
        scene.fill(room, CHANNEL_BACKLOG_BYTES)
    scene.fill(scene.a, FRAME * 3)
    scene.fill(scene.b, 1)
    assert scene.held() == {"a": True, "b": False, "none": False}
    assert scene.relieved() == all_are(False)


def test_twice_as_much_as_may_be(scene: Scene) -> None:
    """Then everybody waits, wherever they speak, until half of what may be held is left."""
    scene.fill(scene.a, 2 * MAX_BYTES)
    scene.fill(scene.b, 1)
    assert scene.held() == all_are(True)
    hub = scene.handler.hub
    while hub.held_bytes > MAX_BYTES // 2:
        assert scene.relieved() == all_are(False)
        scene.handler.end_turn()
    assert scene.load.is_relieved(None)
    assert scene.load.is_relieved(scene.b)


def test_a_redis_that_is_behind_with_subscribing(scene: Scene) -> None:
    """Who sends commands waits for it, since joins and leaves are commands; who speaks does not."""
    scene.subscriber.congested = True
    assert scene.held() == {"a": False, "b": False, "none": True}
    assert scene.relieved() == {"a": True, "b": True, "none": False}


def test_a_redis_that_is_behind(scene: Scene) -> None:
    """Everybody waits for it, since everybody publishes."""
    scene.publisher.congested = True
    assert scene.held() == all_are(True)
    assert scene.relieved() == all_are(False)
