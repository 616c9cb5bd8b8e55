"""Who is disconnected, on which pods, and who is remembered for it."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import Any

import pytest
from redis.asyncio import Redis

from sanic_chat.cluster.asking import QUESTION
from sanic_chat.cluster.removals import DISCONNECT, PER_TURN
from sanic_chat.protocol.cluster import Removal
from sanic_chat.protocol.identity import Identity
from sanic_chat.session.inbound import State
from sanic_chat.websocket.frames import parse_close

from ..support.frames import take_server_frame
from ..support.harness import DEADLINE, RedisProcess, eventually
from ..support.pods import Crowd

ANNA, BERT = Identity("anna"), Identity("bert")


def frames_of(client: socket.socket) -> list[tuple[int, bytes]]:
    """All frames that a client has got by now."""
    client.setblocking(False)
    stream = bytearray(client.recv(2**20))
    frames = []
    while (frame := take_server_frame(stream)) is not None:
        frames.append(frame)
    assert not stream
    return frames


async def test_a_user(crowd: Crowd) -> None:
    """All sessions of a user end with code and reason, on all pods, and nobody else's."""
    annas = [await crowd.open(pod, identity=ANNA) for pod in (0, 0, 1)]
    bert = await crowd.open(1, identity=BERT)
    outcome = await crowd.cluster.removals.disconnect(user="anna", code=4001, reason="go away")
    assert (outcome.disconnected, outcome.complete, outcome.missing) == (3, True, [])
    assert {session.state for session in annas} == {State.CLOSING}
    assert bert.state is State.OPEN
    for client in crowd.sockets[:3]:
        [(opcode, payload)] = frames_of(client)
        assert (opcode, parse_close(payload)) == (8, (4001, "go away"))
    outcome = await crowd.cluster.removals.disconnect(user="anna", code=4001)
    assert outcome.disconnected == 0
    for pod, count in zip(crowd.pods, (2, 1), strict=True):
        assert pod.closes.counts()["backend"] == {"4000-4999": count}


async def test_who_is_spared(crowd: Crowd) -> None:
    """Sessions may be excepted, by their client IDs."""
    stays, goes = await crowd.open(0, identity=ANNA), await crowd.open(1, identity=ANNA)
    outcome = await crowd.cluster.removals.disconnect(
        user="anna", code=4001, spared=[stays.client_id, "other"], revoke=True
    )
    assert outcome.disconnected == 1
    assert (stays.state, goes.state) == (State.OPEN, State.CLOSING)


async def test_a_client_id(crowd: Crowd) -> None:
    """One session of a user may be meant."""
    stays, goes = await crowd.open(0, identity=ANNA), await crowd.open(1, identity=ANNA)
    outcome = await crowd.cluster.removals.disconnect(client_id=goes.client_id, code=4001)
    assert outcome.disconnected == 1
    assert (stays.state, goes.state) == (State.OPEN, State.CLOSING)
    outcome = await crowd.cluster.removals.disconnect(client_id="nobody", code=4001)
    assert outcome.disconnected == 0


async def test_what_was_sent_before(crowd: Crowd) -> None:
    """It arrives, and in front of the close frame."""
    await crowd.open(0, "lobby", identity=ANNA)
    speaker = await crowd.open(0, "lobby", identity=BERT)
    for number in range(3):
        crowd.pods[0].message_received(speaker, b'{"data": %d}' % number)
    await crowd.cluster.removals.disconnect(user="anna", code=4001)
    frames = frames_of(crowd.sockets[0])
    assert [opcode for opcode, _ in frames] == [1, 1, 1, 8]


async def test_many_sessions_of_one_user(crowd: Crowd) -> None:
    """They all go, and meanwhile everything else gets its turns."""
    sessions = [await crowd.open(1, identity=ANNA) for _ in range(2 * PER_TURN + 1)]
    outcome = await crowd.cluster.removals.disconnect(user="anna", code=4001)
    assert outcome.disconnected == len(sessions)
    await eventually(lambda: all(one.state is not State.OPEN for one in sessions), "all go")
    assert crowd.pods[1].closes.counts()["backend"] == {"4000-4999": len(sessions)}


async def test_who_is_remembered(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was shaking hands when his user was disconnected, and no one who comes later."""
    began = time.monotonic()
    await crowd.cluster.removals.disconnect(user="anna", code=4001, reason="go away")
    for pod in crowd.pods:
        kick = pod.cluster.removals.kick_of("anna", began)
        assert kick is not None
        assert (kick.code, kick.reason) == (4001, "go away")
        assert pod.cluster.removals.kick_of("bert", began) is None
        assert pod.cluster.removals.kick_of("anna", time.monotonic()) is None


async def test_what_is_told_twice(crowd: Crowd) -> None:
    """It is done once, as of when it was asked for: sessions that have begun since stay."""
    here = crowd.pods[0].cluster.removals
    early = await crowd.open(0, identity=ANNA)
    await asyncio.sleep(0.01)
    asked_at = time.monotonic()
    await asyncio.sleep(0.01)
    began = time.monotonic()
    late = await crowd.open(0, identity=ANNA)
    removal = Removal(4001, "", user="anna", id="1", seconds_ago=time.monotonic() - asked_at)
    assert here._disconnect_here(removal) == 1
    assert (early.state, late.state) == (State.CLOSING, State.OPEN)
    assert here.kick_of("anna", asked_at - 0.01) is not None
    assert here.kick_of("anna", began) is None
    await crowd.open(0, identity=ANNA)
    assert here._disconnect_here(removal.aged(0.0)) == 0


async def test_a_revocation_that_is_told_late(crowd: Crowd) -> None:
    """Of the sessions that have begun since, those end whose token it revokes."""
    old, spared = [await crowd.open(0, identity=Identity("anna", issued_at=1.0)) for _ in range(2)]
    new = await crowd.open(0, identity=Identity("anna", issued_at=3.0))
    removal = Removal(
        4001,
        "",
        user="anna",
        spared=[spared.client_id],
        revoked_before=2.0,
        id="1",
        seconds_ago=60.0,
    )
    assert crowd.pods[0].cluster.removals._disconnect_here(removal) == 1
    assert [one.state for one in (old, spared, new)] == [State.CLOSING, State.OPEN, State.OPEN]


async def test_a_pod_that_has_missed_some(crowd: Crowd) -> None:
    """It learns of them when it is reached again, however many there were, each but once."""
    here, there = crowd.pods
    sessions = [await crowd.open(1, identity=Identity(f"user-{number}")) for number in range(30)]
    stays = await crowd.open(1, identity=ANNA)
    spared = [stays.client_id, *("x" * 36 for _ in range(99))]
    for session in sessions:  # as if the other pod did not hear it
        here.cluster.removals._disconnect_here(
            Removal(4001, "r" * 123, user=session.user, spared=spared, id=session.client_id[-12:])
        )
    here.cluster.removals._disconnect_here(
        Removal(4001, "", user="anna", spared=[stays.client_id], id="anna")
    )
    there.cluster.reached()
    await eventually(lambda: all(one.state is State.CLOSING for one in sessions), "they are closed")
    await eventually(lambda: "anna" in there.cluster.removals._kicks, "and all else is done")
    assert stays.state is State.OPEN
    counted = there.closes.counts()["backend"]
    there.cluster.reached()
    await asyncio.wait_for(there.cluster.removals.catching_up._task, DEADLINE)
    assert there.closes.counts()["backend"] == counted


async def test_a_pod_that_nobody_has_heard(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the others do what it was asked for when it could not tell them."""
    here, there = crowd.pods
    anna = await crowd.open(1, identity=ANNA)
    with monkeypatch.context() as patch:
        patch.setattr(here.control, "send", lambda kind, content: None)
        outcome = await here.cluster.removals.disconnect(user="anna", code=4001, reason="out")
    assert (outcome.complete, outcome.missing) == (False, [there.id])
    assert anna.state is State.OPEN
    later = await crowd.open(1, identity=ANNA)
    here.cluster.reached()
    await eventually(lambda: anna.state is State.CLOSING, "it is closed")
    assert later.state is State.OPEN
    assert parse_close(frames_of(crowd.sockets[0])[0][1]) == (4001, "out")
    await eventually(lambda: not here.cluster.removals._recent.untold(), "all have been told")


async def test_a_revocation_that_is_learned_late(crowd: Crowd) -> None:
    """A pod that had not heard of it closes, with 4401, whoever has such a token."""
    old = await crowd.open(1, identity=Identity("anna", issued_at=100.0))
    new = await crowd.open(1, identity=Identity("anna", issued_at=300.0))
    crowd.pods[0].cluster.revocations.revoke("anna", 200.0)
    crowd.pods[1].cluster.revocations.catching_up.begin()
    await eventually(lambda: old.state is not State.OPEN, "it is closed")
    assert new.state is State.OPEN
    [(_, payload)] = frames_of(crowd.sockets[0])
    assert parse_close(payload)[0] == 4401


async def test_a_drain(crowd: Crowd) -> None:
    """The pod that is meant begins it, once it has answered; no other does."""
    asked: list[int] = []
    for number, pod in enumerate(crowd.pods):
        pod.cluster.removals.drain_here = lambda number=number: asked.append(number)
    assert (await crowd.cluster.removals.drain(crowd.pods[1].id)).found
    await asyncio.sleep(0)
    assert asked == [1]
    assert not (await crowd.cluster.removals.drain("nobody")).found
    crowd.pods[1].cluster.removals.drain_here = None
    assert not (await crowd.cluster.removals.drain(crowd.pods[1].id)).found
    assert asked == [1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"code": 10**30},
        {"code": 1005},
        {"reason": "x" * 124},
        {"user": "anna" * 100},
        {"spared": ["x"] * 101},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
async def test_what_no_pod_says(
    crowd: Crowd, shared_redis: RedisProcess, wrong: dict[str, Any]
) -> None:
    """A removal that no backend can ask for is dropped, counted, and not remembered."""
    anna = await crowd.open(0, identity=ANNA)
    pod = crowd.pods[0]
    removal = {"code": 4000, "reason": "", "user": "anna", **wrong}
    question = {"id": "0" * 16, "kind": DISCONNECT, "arguments": removal}
    [channel] = [each for each in pod.control.channels if pod.id.encode() not in each]
    async with Redis(port=shared_redis.port) as client:
        await client.publish(channel, json.dumps({"pod_id": "x", QUESTION: question}))
    await eventually(lambda: pod.dropped["bad_envelope"] == 1, "it is counted")
    assert anna.state is State.OPEN
    assert not len(pod.cluster.removals._kicks)
