"""Questions to all pods: who answers, who is missing, and what can't set one off."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio

from sanic_chat.cluster.asking import (
    MAX_ACTIONS,
    MAX_MISSING_BYTES,
    MAX_QUESTIONS,
    PATIENCE_SECONDS,
    QUESTION,
    REPLY,
    Outcome,
)
from sanic_chat.cluster.control import BEAT_SECONDS, LIVING_SECONDS
from sanic_chat.errors import TooManyQuestions
from sanic_chat.pod.pod import Pod
from sanic_chat.protocol.asking import MAX_REPLY_BYTES

from ..support.harness import DEADLINE, RedisProcess, eventually
from ..support.pods import know_each_other, make_pod, running_pods

SOON = PATIENCE_SECONDS
"""Less than who waits for a pod that is missing; pods that are all well take a millisecond."""


def answer_with_id(pod: Pod) -> None:
    """Have a pod answer what it is asked by its own ID."""
    pod.cluster.asking.handle("who", int, lambda number: [pod.id, number])


@pytest.fixture
async def pods(redis: RedisProcess) -> AsyncIterator[list[Pod]]:
    """Three pods, which answer `who`."""
    async with running_pods(redis, 3) as pods:
        for pod in pods:
            answer_with_id(pod)
        yield pods


async def ask(pod: Pod) -> tuple[Outcome[list[Any]], float]:
    """What came of a question, and how long it took."""
    began = time.monotonic()
    outcome = await pod.cluster.asking.ask("who", 7, list)
    return outcome, time.monotonic() - began


def is_whole(outcome: Outcome[list[Any]], pods: list[Pod]) -> bool:
    """Whether these pods have answered, and it is known that there are no others."""
    return outcome.complete and outcome.answers == {pod.id: [pod.id, 7] for pod in pods}


async def test_all_answer(pods: list[Pod]) -> None:
    """Each pod answers once, the asker too, and the outcome does not wait for a second."""
    outcome, seconds = await ask(pods[0])
    assert is_whole(outcome, pods)
    assert outcome.missing == []
    assert seconds < SOON


async def test_a_foreign_listener(pods: list[Pod], redis: RedisProcess) -> None:
    """Who listens to everything is no pod, and is not waited for."""
    async with redis_client(redis) as client, client.pubsub() as listener:
        await listener.psubscribe("*")
        assert (await listener.get_message(timeout=DEADLINE))["type"] == "psubscribe"
        outcome, seconds = await ask(pods[0])
    assert is_whole(outcome, pods)
    assert seconds < SOON


def redis_client(redis_process: RedisProcess) -> redis.asyncio.Redis:
    return redis.asyncio.Redis(port=redis_process.port)


async def test_a_pod_that_has_left(pods: list[Pod]) -> None:
    """It has said goodbye, so nobody waits for it, from the next moment on."""
    asker, other, leaving = pods
    await leaving.close(1.0)
    await eventually(lambda: leaving.id not in asker.control.living(), "it has said goodbye")
    outcome, seconds = await ask(asker)
    assert is_whole(outcome, [asker, other])
    assert seconds < SOON


async def test_a_pod_that_leaves_meanwhile(pods: list[Pod]) -> None:
    """Whoever says goodbye while a question is under way is not missing."""
    asker, other, leaving = pods
    leaving.broker.hold()  # it hears nothing any more
    asking = asyncio.create_task(ask(asker))
    await asyncio.sleep(0)
    await leaving.close(1.0)
    outcome, _ = await asking
    assert is_whole(outcome, [asker, other])


async def test_a_pod_that_is_silent(pods: list[Pod]) -> None:
    """Whoever was heard lately and does not answer is missing, and named, after a second."""
    asker, other, silent = pods
    silent.broker.hold()
    outcome, seconds = await ask(asker)
    assert (outcome.complete, outcome.missing) == (False, [silent.id])
    assert outcome.answers.keys() == {asker.id, other.id}
    assert seconds >= PATIENCE_SECONDS
    silent.broker.release()
    await eventually(lambda: asker.dropped["late_answer"], "its answer came late, and is counted")
    assert is_whole((await ask(asker))[0], pods)


async def test_a_draining_pod_answers(pods: list[Pod]) -> None:
    """It sends no canaries any more, and is asked all the same, for as long as it drains."""
    draining = pods[2]
    draining.begin_drain()
    began = time.monotonic()
    while time.monotonic() - began < LIVING_SECONDS + 2 * BEAT_SECONDS:
        await asyncio.sleep(BEAT_SECONDS)
        assert draining.id in pods[0].control.living()
    assert is_whole((await ask(pods[0]))[0], pods)


async def test_pods_with_rare_canaries(redis: RedisProcess) -> None:
    """They are heard once a second all the same."""
    async with running_pods(redis, 2, CHAT_PROOF_INTERVAL="30") as pods:
        for pod in pods:
            answer_with_id(pod)
        began = time.monotonic()
        while time.monotonic() - began < LIVING_SECONDS + BEAT_SECONDS:
            await asyncio.sleep(BEAT_SECONDS)
            assert pods[0].control.living() == {pods[1].id}
        assert is_whole((await ask(pods[0]))[0], pods)


async def test_a_pod_of_another_version(pods: list[Pod], redis: RedisProcess) -> None:
    """One that is heard and knows no questions is missing, after a second."""
    async with redis_client(redis) as client:
        await client.publish("realtime:control", '{"canary":{},"number":1,"pod_id":"old"}')
        await eventually(lambda: "old" in pods[0].control.living(), "it is heard")
        outcome, seconds = await ask(pods[0])
    assert (outcome.complete, outcome.missing) == (False, ["old"])
    assert outcome.answers.keys() == {pod.id for pod in pods}
    assert seconds >= PATIENCE_SECONDS


async def test_a_pod_that_has_just_started(pods: list[Pod], redis: RedisProcess) -> None:
    """It answers, even if it was not heard before."""
    new = make_pod(redis)
    answer_with_id(new)
    await new.start()
    try:
        await know_each_other([*pods, new])
        assert is_whole((await ask(pods[0]))[0], [*pods, new])
        assert is_whole((await ask(new))[0], [*pods, new])
    finally:
        await new.close(1.0)


async def test_a_kind_that_a_pod_does_not_know(pods: list[Pod]) -> None:
    """It says so at once: it is missing, and nobody waits for it."""
    pods[0].cluster.asking.handle("news", int, lambda number: number)
    began = time.monotonic()
    outcome = await pods[0].cluster.asking.ask("news", 1, int)
    assert time.monotonic() - began < PATIENCE_SECONDS
    assert outcome == ({pods[0].id: 1}, False, sorted(pod.id for pod in pods[1:]))


async def test_a_handler_that_fails(pods: list[Pod], caplog: pytest.LogCaptureFixture) -> None:
    """Its pod is missing, wherever it is, and has a traceback in its log; the others answer."""

    def fail(number: int) -> int:
        raise ZeroDivisionError

    for pod, type in zip(pods, (int, str, int), strict=True):
        pod.cluster.asking.handle("bad", type, fail if pod is pods[0] else lambda given: given)
    outcome = await pods[0].cluster.asking.ask("bad", 1, int)
    assert outcome.answers == {pods[2].id: 1}
    assert set(outcome.missing) == {pods[0].id, pods[1].id}
    assert "ZeroDivisionError" in caplog.text
    assert pods[1].dropped["bad_envelope"] == 1


async def test_an_answer_of_another_type(pods: list[Pod]) -> None:
    """It can't be read: its pod is missing, and it is counted."""
    for pod, answer in zip(pods, (1, "one", 1), strict=True):
        pod.cluster.asking.handle("number", int, lambda number, answer=answer: answer)
    outcome = await pods[0].cluster.asking.ask("number", 1, int)
    assert (outcome.complete, outcome.missing) == (False, [pods[1].id])
    assert pods[0].dropped["bad_envelope"] == 1


async def test_answers_are_bounded(pods: list[Pod]) -> None:
    """Who would answer more than is allowed is missing."""
    for pod, size in zip(pods, (2, MAX_REPLY_BYTES, MAX_REPLY_BYTES + 1), strict=True):
        pod.cluster.asking.handle("much", int, lambda number, size=size: "x" * (size - 2))
    outcome = await pods[0].cluster.asking.ask("much", 1, str)
    assert outcome.missing == [pods[2].id]
    assert [*map(len, outcome.answers.values())] == [0, MAX_REPLY_BYTES - 2]


async def test_questions_at_a_time(pods: list[Pod]) -> None:
    """Four may be under way; a fifth is refused, with a sentence, and costs nobody anything."""
    asker, _, silent = pods
    silent.broker.hold()
    under_way = [asyncio.create_task(ask(asker)) for _ in range(MAX_QUESTIONS)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyQuestions, match="4 questions to all pods are under way"):
        await ask(asker)
    for outcome, _ in await asyncio.gather(*under_way):
        assert outcome.missing == [silent.id]
    silent.broker.release()
    assert is_whole((await ask(asker))[0], pods)


async def test_what_acts_has_a_place_of_its_own(pods: list[Pod]) -> None:
    """It is bounded too, and neither takes places from the other questions nor waits for them."""
    asker, other, silent = pods
    done: list[int] = []
    for pod in pods:
        pod.cluster.asking.handle("act", int, done.append, acts=True)
    silent.broker.hold()
    reading = [asyncio.create_task(ask(asker)) for _ in range(MAX_QUESTIONS)]
    acting = [
        asyncio.create_task(asker.cluster.asking.ask("act", number, type(None)))
        for number in range(MAX_ACTIONS)
    ]
    await asyncio.sleep(0)
    for kind in ("who", "act"):
        with pytest.raises(TooManyQuestions):
            await asker.cluster.asking.ask(kind, 7, object)
    for outcome, _ in await asyncio.gather(*reading):
        assert outcome.missing == [silent.id]
    for acted in await asyncio.gather(*acting):
        assert acted.answers.keys() == {asker.id, other.id}
    assert sorted(done) == sorted([*range(MAX_ACTIONS)] * 2)
    silent.broker.release()
    assert is_whole((await ask(asker))[0], pods)


async def test_a_question_that_is_given_up(pods: list[Pod]) -> None:
    """Who asked may be gone; that leaves nothing behind."""
    for _ in range(2 * MAX_QUESTIONS):
        asking = asyncio.create_task(ask(pods[0]))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
    assert is_whole((await ask(pods[0]))[0], pods)


async def test_during_an_outage(pods: list[Pod], redis: RedisProcess) -> None:
    """A pod that is cut off knows of itself only, and says that this is not all."""
    asker = pods[0]
    redis.kill()
    await eventually(lambda: asker.broker.outage.is_on, "it is known")
    outcome, _ = await ask(asker)
    assert not outcome.complete
    assert outcome.answers.keys() == {asker.id}
    await eventually(lambda: not asker.control.living(), "the others are not heard any more")
    outcome, seconds = await ask(asker)
    assert outcome == ({asker.id: outcome.answers[asker.id]}, False, [])
    assert seconds < SOON


async def test_what_is_no_question(pods: list[Pod], redis: RedisProcess) -> None:
    """Whatever is published there by others is counted, and harms nobody."""
    asker = pods[0]
    async with redis_client(redis) as client:
        for content in ("{}", '{"id":"0123456789abcdef","kind":"who"}', "7", '{"id":7}'):
            await client.publish("realtime:control", f'{{"pod_id":"x","{QUESTION}":{content}}}')
            await client.publish(f"realtime:pod:{asker.id}", f'{{"pod_id":"x","{REPLY}":7}}')
    await eventually(lambda: asker.dropped["bad_envelope"] >= 8, "all are counted")
    await eventually(lambda: "x" not in asker.control.living(), "it is not heard any more")
    assert is_whole((await ask(asker))[0], pods)


async def test_pods_that_never_were(pods: list[Pod], redis: RedisProcess) -> None:
    """However many are imitated, only the first of those that are missing are named."""
    asker = pods[0]
    names = [f"{number:03}{'x' * 125}" for number in range(100)]
    async with redis_client(redis) as client:
        for name in names:
            await client.publish("realtime:control", f'{{"pod_id":"{name}"}}')
    await eventually(lambda: asker.control.living() >= {*names}, "all are heard")
    outcome, _ = await ask(asker)
    assert not outcome.complete
    assert outcome.missing == names[: len(outcome.missing)]
    assert MAX_MISSING_BYTES - 200 < len(json.dumps(outcome.missing)) <= MAX_MISSING_BYTES + 100
