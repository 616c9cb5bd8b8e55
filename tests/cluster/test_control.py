"""What pods say to each other: kinds, senders, and what cannot be read."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from sanic_chat.cluster import control
from sanic_chat.cluster.control import LIVING_SECONDS, Control
from sanic_chat.errors import BadEnvelope
from sanic_chat.protocol.channels import RedisNames
from sanic_chat.protocol.control import MAX_CONTROL_BYTES

NAMES = RedisNames("realtime")


class Pods:
    """Two controls, and what they publish."""

    def __init__(self) -> None:
        self.published: list[tuple[bytes, bytes]] = []
        self.dropped: Counter[str] = Counter()
        self.said: list[tuple[str, object]] = []
        self.one, self.two = self.control("one"), self.control("two")
        self.two.handle("greeting", self.note)

    def control(self, pod_id: str) -> Control:
        def publish(channel: bytes, envelope: bytes, receipt: None, head: bytes) -> None:
            self.published.append((channel, head + envelope))

        return Control(pod_id, names=NAMES, publish=publish, dropped=self.dropped)

    def note(self, pod_id: str, content: bytes) -> None:
        if content == b"0":
            raise BadEnvelope("it says nothing")
        self.said.append((pod_id, json.loads(content)))


def test_everybody_and_one() -> None:
    """What is said goes out on the control channel, or on one pod's own, as an envelope."""
    pods = Pods()
    pods.one.send("greeting", b'{"a":1}')
    pods.one.send_to("two", "greeting", b"[]")
    assert [channel for channel, _ in pods.published] == [b"realtime:control", b"realtime:pod:two"]
    assert pods.two.channels == (b"realtime:control", b"realtime:pod:two")
    for _, envelope in pods.published:
        assert envelope.startswith(b'{"pod_id":"one",'), "by which its own pod knows an echo"
        assert "data" not in json.loads(envelope), "which older pods would show to clients"
        pods.two.received(envelope)
    assert pods.said == [("one", {"a": 1}), ("one", [])]


def test_a_canary_tells_that_a_pod_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod lives for three seconds after it was heard, and not any more once it said goodbye."""
    now = 100.0
    monkeypatch.setattr(control.time, "monotonic", lambda: now)
    pods = Pods()
    assert pods.one.canary(1) != pods.one.canary(2)
    assert not pods.one.canary(1).startswith(b'{"pod_id":"one",'), "it is no echo"
    pods.one.canary_words = lambda: b'{"n":7}'
    pods.two.handle("canary", pods.note)
    pods.two.received(pods.one.canary(1))
    pods.one.received(pods.one.canary(1))
    assert pods.said == [("one", {"n": 7})]
    assert (pods.one.living(), pods.two.living()) == (set(), {"one"})
    now = 103.0
    assert pods.two.living() == {"one"}
    now = 103.1
    assert pods.two.living() == set()
    pods.two.received(pods.one.canary(2))
    pods.two.forget("one")
    assert pods.two.living() == set()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"greeting":{}}',
        b'{"pod_id":7,"greeting":{}}',
        b'{"pod_id":"","greeting":{}}',
        b'{"pod_id":"%b","greeting":{}}' % (b"x" * 129),
        b'{"pod_id":"one","greeting":0}',
        b'{"pod_id":"one","greeting":%b}' % (b"[" * 2000 + b"]" * 2000),
        b'{"pod_id":"one","greeting":"%b"}' % (b"x" * MAX_CONTROL_BYTES),
    ],
    ids=lambda payload: repr(payload[:40]),
)
def test_what_cannot_be_read(payload: bytes) -> None:
    """It is dropped and counted, whoever said it, and nothing raises."""
    pods = Pods()
    pods.two.received(payload)
    assert pods.dropped == {"bad_envelope": 1}
    assert pods.said == []


def test_a_later_version() -> None:
    """A kind that is not known is no fault of its sender."""
    pods = Pods()
    pods.two.received(b'{"pod_id":"one","later":{"a":1}}')
    assert (pods.dropped, pods.two.living()) == ({}, {"one"})


def test_pods_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of pods that never were, however many are imitated, so many are remembered."""
    monkeypatch.setattr(control, "MAX_PODS", 3)
    pods = Pods()
    for number in range(10):
        pods.two.received(b'{"pod_id":"%d"}' % number)
    assert pods.two.living() == {"0", "1", "2"}


def test_a_flood_of_pods_that_never_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """While as many are known as may be, it is looked once a second whether some of them are gone,
    and not for each envelope."""
    monkeypatch.setattr(control, "MAX_PODS", 3)
    now = 100.0
    monkeypatch.setattr(control.time, "monotonic", lambda: now)
    pods = Pods()
    for number in range(4):
        pods.two.received(b'{"pod_id":"%d"}' % number)
    looked_through = pods.two.heard
    for number in range(4, 10):
        pods.two.received(b'{"pod_id":"%d"}' % number)
    assert pods.two.heard is looked_through
    now += LIVING_SECONDS + 1
    pods.two.received(b'{"pod_id":"one"}')
    assert pods.two.heard.keys() == {"one"}
