"""Revoked tokens: which are, on which pods, and how many may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from sanic_chat.cluster import revocations
from sanic_chat.cluster.revocations import Revocations
from sanic_chat.errors import UpgradeRefused
from sanic_chat.pod.pod import Pod
from sanic_chat.protocol.identity import Identity

from ..support.harness import RedisProcess, eventually
from ..support.pods import know_each_other, make_pod, running_pods
from ..support.users import KNOWS_USERS

NOW = 1_800_000_000.5


@pytest.fixture
async def pods(redis: RedisProcess) -> AsyncIterator[list[Pod]]:
    async with running_pods(redis, 2, **KNOWS_USERS) as pods:
        yield pods


def table(pod: Pod) -> Revocations:
    return pod.cluster.revocations


async def test_which_tokens(pods: list[Pod]) -> None:
    """Those of that user from before that moment, and those that do not say from when they are."""
    one = table(pods[0])
    one.check(Identity("anna"))
    assert one.revoke("anna", NOW)
    assert not one.revoke("anna", NOW), "it is known"
    assert not one.revoke("anna", NOW - 1), "what was revoked stays so"
    for issued_at in (None, 0.0, NOW - 0.5):
        with pytest.raises(UpgradeRefused, match="revoked") as refusal:
            one.check(Identity("anna", issued_at=issued_at))
        assert (refusal.value.status, refusal.value.code) == (401, "token_revoked")
    one.check(Identity("anna", issued_at=NOW))
    one.check(Identity("bert", issued_at=0.0))
    assert one.revoke("anna", NOW + 1)
    assert one.has_revoked(Identity("anna", issued_at=NOW))
    assert len(one) == 1


async def test_a_pod_that_starts_later(pods: list[Pod], redis: RedisProcess) -> None:
    """It knows all that any other knows when it has started, however much that is."""
    users = [f"user-{number}-{'x' * 200}" for number in range(1500)]
    for number, user in enumerate(users):
        table(pods[number % 2]).revoke(user, NOW + number)
    new = make_pod(redis, **KNOWS_USERS)
    await new.start()
    try:
        assert len(table(new)) == len(users)
        for number, user in enumerate(users):
            assert table(new).has_revoked(Identity(user, issued_at=NOW + number - 1))
            assert not table(new).has_revoked(Identity(user, issued_at=NOW + number))
    finally:
        await new.close(1.0)


async def test_a_start_beside_a_foreign_listener(pods: list[Pod], redis: RedisProcess) -> None:
    """Who only listens looks like a silent pod: it is waited for, but not for long."""
    table(pods[0]).revoke("anna", NOW)
    new = make_pod(redis, **KNOWS_USERS)
    async with Redis(port=redis.port) as client, client.pubsub() as listener:
        await listener.psubscribe("*")
        await new.start()
    try:
        assert table(new).has_revoked(Identity("anna"))
    finally:
        await new.close(1.0)


async def test_a_pod_that_was_cut_off(pods: list[Pod], redis: RedisProcess) -> None:
    """It asks again, since it may have missed some."""
    redis.kill()
    await eventually(lambda: pods[1].broker.outage.is_on, "it is cut off")
    table(pods[0]).revoke("anna", NOW)
    redis.start()
    await eventually(lambda: table(pods[1]).has_revoked(Identity("anna")), "it knows")


async def test_all_questions_are_taken(pods: list[Pod]) -> None:
    """While it may ask nothing more, it waits, and asks then."""
    table(pods[0]).revoke("anna", NOW)
    pods[0].broker.hold()
    asking = [asyncio.create_task(pods[1].cluster.directory.rooms()) for _ in range(4)]
    await asyncio.sleep(0)
    table(pods[1]).catching_up.begin()
    await asyncio.gather(*asking)
    pods[0].broker.release()
    await know_each_other(pods)
    await eventually(lambda: len(table(pods[1])) == 1, "it knows")


async def test_users_are_bounded(
    pods: list[Pod], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Beyond the bound the earliest is forgotten, and the log says who."""
    monkeypatch.setattr(revocations, "MAX_REVOCATIONS", 3)
    one = table(pods[0])
    for user, before in (("b", NOW + 1), ("a", NOW), ("c", NOW + 2), ("b", NOW + 5), ("d", NOW)):
        one.revoke(user, before)
    assert len(one) == 3
    assert not one.has_revoked(Identity("a"))
    assert "those of 'a' count again" in caplog.text
