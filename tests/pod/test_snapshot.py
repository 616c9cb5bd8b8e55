"""A pod's report of itself: what it counts."""

from __future__ import annotations

from typing import Any
from unittest.mock import ANY

from msgspec.structs import replace

import sanic_chat
from sanic_chat.config.settings import Config
from sanic_chat.hub.channel import Channel
from sanic_chat.pod.snapshot import REPORTED_ROOMS, build_report
from sanic_chat.process.slots import LoneSlot
from sanic_chat.protocol.channels import RedisNames
from sanic_chat.session.handler import EndedBy, Ending
from sanic_chat.stats.metrics import WorkerMetrics, encode_metrics
from sanic_chat.worker import Worker

NAMES = RedisNames("realtime")


async def test_the_rooms_of_a_pod_are_those_of_its_hub():
    """They are counted there for each report, so that no way in which one ends spoils the count."""
    pod = Worker(Config(), redis_url="redis://127.0.0.1:1", name="test").pod
    member: Any = type("Member", (), {"channels": ()})()
    pod.hub.everyone.members[member] = None
    pod.hub.join(member, Channel(NAMES.room_channel("a"), "a", b'"a"'))
    pod.hub.join(member, Channel(NAMES.presence_channel("a"), "a", b'"a"'))
    report = build_report(pod, worker="test", crowded_out=0)
    assert (report.rooms, report.largest_rooms) == (1, {"a": 1})
    pod.hub.remove(member)
    report = build_report(pod, worker="test", crowded_out=0)
    assert (report.rooms, report.largest_rooms) == (0, {})


async def test_the_largest_of_many_rooms():
    """Of many rooms the hundred largest are named, wherever they stand, and all are counted."""
    pod = Worker(Config(), redis_url="redis://127.0.0.1:1", name="test").pod
    sizes = {f"room-{number}": number * 7919 % 97 + 1 for number in range(5000)}
    for name, size in sizes.items():
        room = Channel(NAMES.room_channel(name), name, b"")
        room.members = dict.fromkeys(range(size))
        pod.hub.channels[room.name] = room
    report = build_report(pod, worker="test", crowded_out=0)
    assert report.rooms == len(sizes)
    assert [*report.largest_rooms.values()] == sorted(sizes.values())[: -REPORTED_ROOMS - 1 : -1]
    assert report.largest_rooms.items() <= sizes.items()


async def test_personal_rooms_are_not_named():
    """The stats do not tell who is there: users' rooms are counted, and not named."""
    pod = Worker(Config(), redis_url="redis://127.0.0.1:1", name="test").pod
    for name, size in {"@anna": 9, "lobby": 1, "@bert": 7}.items():
        room = Channel(NAMES.room_channel(name), name, b"")
        room.members = dict.fromkeys(range(size))
        pod.hub.channels[room.name] = room
    report = build_report(pod, worker="test", crowded_out=0)
    assert (report.rooms, report.largest_rooms) == (3, {"lobby": 1})


async def test_the_metrics_have_the_report():
    """What both tell comes from one look; rooms are counted for the report, and named nowhere."""
    worker = Worker(Config(), redis_url="redis://127.0.0.1:1", name="test", slots=LoneSlot())
    pod = worker.pod
    member: Any = type("Member", (), {"channels": ()})()
    pod.hub.everyone.members[member] = None
    pod.hub.join(member, Channel(NAMES.room_channel("secret"), "secret", b'"secret"'))
    pod.refused["bad_room"] += 2
    pod.dropped["bad_json"] += 3
    pod.broker_events.canary_returned(0.02)
    pod.closes.note(Ending(EndedBy.SERVER, 1013, ""))
    [entry] = worker.board.collect()
    found = entry.metrics
    assert isinstance(found, WorkerMetrics)
    report = worker.reporter._report()
    assert found.report == replace(report, largest_rooms={}, uptime_seconds=ANY)
    assert (found.report.rooms, report.largest_rooms) == (1, {"secret": 1})
    assert (found.unready, found.is_away) == ("no_redis", True)
    assert found.closes["server"]["1013"] == 1
    assert found.version == sanic_chat.__version__
    assert {sum(found.histograms["proof_round_trip"].counts)} == {1}
    assert b"secret" not in encode_metrics(found)
    assert set(found.histograms) == {
        "proof_round_trip", "handshake", "event_loop_lag", "fan_out_turn", "send_queue",
    }  # fmt: skip
