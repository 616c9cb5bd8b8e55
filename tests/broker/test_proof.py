"""The proof of delivery: the deaf are found, the slow left alone, and no other counters move."""

from __future__ import annotations

import asyncio
import signal
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import hiredis
import pytest
import redis.asyncio

from sanic_chat.broker.connection import Call
from sanic_chat.broker.proof import OVERDUE_INTERVALS, PATIENCE
from sanic_chat.broker.publisher import Drop

from ..support.clients import RedisProxy, behave
from ..support.harness import RedisProcess, eventually
from ..support.pairs import CHANNEL, INTERVAL, ROOM, Pair, running


@pytest.fixture(scope="module")
def proxy(own_redis: RedisProcess) -> Iterator[RedisProxy]:
    with RedisProxy(own_redis.port) as proxy:
        yield proxy


# -- all is well -----------------------------------------------------------------------------


async def test_proofs_come_again_and_again(shared_redis):
    """While Redis delivers, the last proof stays young, and nobody reconnects."""
    async with running(shared_redis.port) as pair:
        for _ in range(5):
            await pair.proven()
            assert pair.proof.is_current
            assert 0 <= pair.proof.age < OVERDUE_INTERVALS * INTERVAL
            assert 0 < pair.proof.round_trip < INTERVAL * PATIENCE
        assert pair.reconnects == (0, 0)
        assert pair.proof.failed == 0


async def test_a_proof_on_demand(shared_redis):
    """It comes at once, however long the interval, unless a canary is under way, or none leaves."""
    async with running(shared_redis.port, interval=60.0) as pair:
        sent = pair.proof._sent
        await eventually(lambda: pair.proof._canary.is_done, "the first one is over")
        for _ in range(3):  # before the first of them is back
            pair.proof.send_now()
        await eventually(lambda: len(pair.round_trips) == sent + 1, "it has come back")
        assert pair.proof._sent == sent + 1
        pair.proof.stop()
        pair.proof.send_now()
        assert pair.proof._sent == sent + 1


async def test_before_the_first_proof():
    """Without a proof there is no age, no round trip, and nothing to rely on."""
    proof = Pair(1).proof
    assert (proof.age, proof.round_trip, proof.is_current) == (None, None, False)


async def test_only_messages_are_counted(shared_redis):
    """However many proofs there are among the messages, exactly the messages are counted."""
    async with running(shared_redis.port, interval=0.005) as pair:
        for number in range(300):
            pair.publisher.publish(ROOM, b"%d" % number)
            if number % 3:
                await asyncio.sleep(0.001)
        await eventually(lambda: len(pair.received) == 300, "all messages arrive")
        await pair.proven()
        assert pair.received == [b"%d" % number for number in range(300)]
        assert pair.publisher.published == 300
        assert pair.proof._sent > 10
        assert pair.reconnects == (0, 0)


class StubLink:
    """A link whose socket takes everything."""

    is_up = True
    writable = True

    def __init__(self) -> None:
        self.expected: deque[Any] = deque()
        self.sent: list[bytes] = []
        self.send = self.sent.append
        self.refusals: list[str] = []
        self.rebuilt: list[str] = []
        self.rebuild = self.rebuilt.append

    def call(self, command: tuple[bytes, ...], *told: Any) -> None:
        self.expected.append(Call(*told))

    def ask(self, question: bytes, on_answer: Callable[[], None]) -> None:
        self.call((b"PING", question), lambda reply: on_answer())

    def prove(self) -> None: ...

    def refused(self, subject: str, error: hiredis.ReplyError) -> None:
        self.refusals.append(subject)


NO = hiredis.ReplyError("NOPERM")
PONG = b"PONG"


@pytest.mark.parametrize(
    ("asked", "replies", "answer", "published", "refused"),
    [
        pytest.param("?mm", [[1], [1, 1]], 1, 2, 0, id="probe first"),
        pytest.param("mm?m", [[1, 1, 1, 1]], 1, 3, 0, id="probe in the middle"),
        pytest.param("mm?m", [[1], [1], [7], [1]], 7, 3, 0, id="one by one"),
        pytest.param(".m.?.m", [[PONG, 1, NO, 5, PONG], [1]], 5, 2, 0, id="among pings"),
        pytest.param("m?m", [[NO, NO, 1]], NO, 1, 1, id="refused, like the message before it"),
        pytest.param("m?m", [[1, NO, 1]], NO, 2, 0, id="refused alone"),
    ],
)
async def test_the_answer_to_a_probe(asked, replies, answer, published, refused):
    """The probe's own answer is found by its place, and is nobody else's."""
    publisher = Pair(1).publisher
    publisher.link = link = StubLink()
    publisher.link_up()
    answers: list[Any] = []
    for what in asked:
        if what == "m":
            publisher.publish(ROOM, b"message")
        elif what == "?":
            publisher.probe(CHANNEL, b"probe", answers.append)
        else:
            link.ask(b"", lambda: None)
        await asyncio.sleep(0)  # messages leave at the end of the loop turn
    for batch in replies:
        publisher.replies_received(batch)
    assert answers == [answer]
    assert (publisher.published, publisher.dropped[Drop.REFUSED]) == (published, refused)
    assert publisher._is_idle
    assert not link.rebuilt


async def test_a_probe_that_is_lost_is_no_message(own_redis):
    """What goes down with a connection counts as dropped if it was a message, else not."""
    async with running(own_redis.port, timeout=1) as pair:
        own_redis.signal(signal.SIGSTOP)
        try:
            before = pair.proof._sent
            await eventually(lambda: pair.proof._sent > before, "a canary leaves")
            pair.publisher.publish(ROOM, b"lost")
            await eventually(lambda: pair.reconnects == (1, 1), "both links notice the silence")
        finally:
            own_redis.signal(signal.SIGCONT)
        await pair.proven()
        assert pair.publisher.dropped == {Drop.UNCONFIRMED: 1}
        assert pair.publisher.published == 0


# -- somebody is deaf ------------------------------------------------------------------------


async def test_a_deaf_subscriber(own_redis, proxy):
    """A subscription that Redis has lost in silence is found by the proof alone, and mended."""
    async with running(proxy.port) as pair:
        for turn in range(1, 3):
            proxy.deafen()
            await eventually(lambda turn=turn: pair.reconnects == (0, turn), "it connects anew")
            await pair.proven()
            async with redis.asyncio.Redis(port=own_redis.port) as outside:
                assert await outside.publish(ROOM.decode(), b"%d" % turn) == 1
            await eventually(lambda turn=turn: len(pair.received) == turn, "messages arrive")
            assert pair.proof.failed >= turn
        assert pair.reconnects == (0, 2)


async def test_a_deaf_publisher(proxy):
    """A connection that swallows what is published, and answers pings, is found and mended."""
    async with running(proxy.port) as pair:
        proxy.misbehaviour = lambda command: b"" if command == "PUBLISH" else None
        try:
            await eventually(lambda: pair.reconnects[0] >= 2, "it connects anew, and again")
            assert not pair.proof.is_current
        finally:
            proxy.misbehaviour = behave
        await pair.proven()
        assert pair.reconnects[1] == 0
        assert pair.proof.failed >= 2


async def test_a_subscription_given_up_openly(own_redis, proxy):
    """When Redis says that a wanted subscription is over, nobody waits for a proof."""
    async with running(proxy.port, interval=30) as pair:
        for subscription in proxy._open.values():
            if subscription.channels:
                command = hiredis.pack_command(("UNSUBSCRIBE", ROOM))
                proxy._loop.call_soon_threadsafe(subscription.redis.write, command)
        await eventually(lambda: pair.reconnects == (0, 1), "it connects anew")
        await eventually(lambda: ROOM in pair.subscriber.confirmed, "it is subscribed again")


# -- nobody is deaf --------------------------------------------------------------------------


async def test_slow_is_not_deaf(own_redis):
    """A Redis that pauses costs readiness, and no connection: what it holds is still to come."""
    pause = 2.0
    async with (
        running(own_redis.port) as pair,
        redis.asyncio.Redis(port=own_redis.port) as outside,
    ):
        await outside.client_pause(int(pause * 1000))
        pair.publisher.publish(ROOM, b"kept")
        await eventually(lambda: not pair.proof.is_current, "the proof is overdue")
        await eventually(lambda: pair.received == [b"kept"], "the message arrives")
        await eventually(lambda: pair.proof.is_current, "there is a proof again")
        assert pair.reconnects == (0, 0)
        assert pair.proof.failed >= 1
        assert max(pair.round_trips) > pause / 2
        assert pair.publisher.published == 1


async def test_refused_is_not_deaf(proxy, caplog):
    """A Redis that forbids the proof is not reconnected to; the log says what it said, once."""
    caplog.set_level("INFO")
    async with running(proxy.port) as pair:
        proxy.misbehaviour = lambda command: b"-NOPERM no\r\n" if command == "PUBLISH" else None
        try:
            await eventually(lambda: not pair.proof.is_current, "the proof is overdue")
            await asyncio.sleep(5 * INTERVAL)
        finally:
            proxy.misbehaviour = behave
        await pair.proven()
        assert pair.reconnects == (0, 0)
        assert not pair.publisher.dropped
    lines = [record.getMessage() for record in caplog.records if "of deliv" in record.getMessage()]
    refusal, end = lines  # said once, however often it is refused
    assert refusal.endswith("refuses the proof of delivery: NOPERM no")
    assert end.endswith("no longer refuses the proof of delivery")


async def test_a_reconnect_is_not_deaf(own_redis, proxy):
    """A canary that goes down with a connection is not looked for on the next one."""
    async with running(proxy.port) as pair:
        for turn in range(1, 4):
            before = pair.proof._sent
            await eventually(lambda before=before: pair.proof._sent > before, "a canary leaves")
            proxy.cut()
            await eventually(lambda turn=turn: pair.reconnects == (turn, turn), "both are cut")
            await pair.proven()
        assert pair.proof.failed == 0
        assert pair.reconnects == (3, 3)


async def test_a_frozen_process_is_not_deaf(shared_redis):
    """Time in which this process did not run is not held against its connections."""
    async with running(shared_redis.port) as pair:
        loop = asyncio.get_running_loop()
        for _ in range(3):
            before = pair.proof._sent
            await eventually(lambda before=before: pair.proof._sent > before, "a canary leaves")
            end = loop.time() + 4 * INTERVAL
            while loop.time() < end:
                pass
            await pair.proven()
        assert pair.reconnects == (0, 0)
        assert pair.proof.failed == 0


async def test_what_others_publish_there_proves_nothing(shared_redis):
    """Only the canary that is out counts, however it is imitated."""
    pair = Pair(1)
    answered: list[Callable[..., None]] = []
    pair.publisher.link = StubLink()
    pair.subscriber.is_up = True
    pair.publisher.probe = lambda *probe: answered.append(probe[2])  # type: ignore[method-assign]
    assert pair.proof._send()
    for forged in (b"", b"canary-0", b"canary-2", b"CANARY-1", b"canary-1 "):
        assert not pair.proof.received(forged)
        assert pair.proof.age is None
    assert pair.proof.received(b"canary-1")
    assert pair.proof.is_current
