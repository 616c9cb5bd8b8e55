"""An error reply of a real Redis is an answer: said once, and no reason to connect anew."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, suppress

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from sanic_chat.broker.endpoint import Endpoint
from sanic_chat.broker.publisher import Drop
from sanic_chat.broker.subscriber import Subscriber
from sanic_chat.errors import SubscribeRefused

from ..support.clients import RedisProxy, behave
from ..support.harness import DEADLINE, RedisProcess, eventually
from ..support.pairs import ROOM, Pair, running
from ..support.servers import PROGRAMS, program_name

LINK_TIMEOUT = 1.0
"""Of which each half brings a PING."""

PINGS_SECONDS = 1.8

Condition = Callable[[RedisProcess, redis.asyncio.Redis], AbstractAsyncContextManager[None]]


@pytest.fixture(scope="module", params=PROGRAMS, ids=program_name)
def own_redis(request: pytest.FixtureRequest) -> Iterator[RedisProcess]:
    with closing(RedisProcess(program=request.param)) as process:
        process.start()
        yield process


@pytest.fixture
async def admin(own_redis: RedisProcess) -> AsyncIterator[redis.asyncio.Redis]:
    async with redis.asyncio.Redis(port=own_redis.port) as admin:
        yield admin


async def says(admin: redis.asyncio.Redis, error: str, *command: str) -> None:
    """Wait until Redis answers a command with an error."""

    async def refused() -> bool:
        try:
            await admin.execute_command(*command)
        except redis.RedisError as answer:
            return error in f"{type(answer).__name__} {answer}"
        return False

    await eventually(refused, f"{command} is answered with {error}")


# -- Redis goes on to publish ----------------------------------------------------------------


@asynccontextmanager
async def full_disk(process: RedisProcess, admin: redis.asyncio.Redis) -> AsyncIterator[None]:
    """A snapshot fails, and MISCONF is the answer to writes and PINGs."""
    blocker = process.directory / "dump.rdb"
    blocker.mkdir()
    await admin.config_set("save", "3600 1")
    await admin.bgsave()
    await says(admin, "MISCONF", "PING")
    yield
    await admin.config_set("save", "")
    blocker.rmdir()


def no_writes(setting: str, error: str) -> Condition:
    """A setting is 1, which Redis cannot keep to: it answers writes with an error."""

    @asynccontextmanager
    async def condition(process: RedisProcess, admin: redis.asyncio.Redis) -> AsyncIterator[None]:
        await admin.config_set(setting, "1")
        await says(admin, error, "SET", "a", "b")
        yield
        await admin.config_set(setting, "0")

    return condition


CONDITIONS: dict[str, Condition] = {
    "full_disk": full_disk,
    "no_memory": no_writes("maxmemory", "OutOfMemory"),
    "no_replicas": no_writes("min-replicas-to-write", "NOREPLICAS"),
}


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
async def test_redis_publishes_all_the_same(own_redis, admin, caplog, condition):
    """Nothing is lost, nobody reconnects; what PINGs are told is logged once, and its end."""
    caplog.set_level("INFO")
    async with running(own_redis.port, timeout=LINK_TIMEOUT) as pair:
        sent = 0
        async with condition(own_redis, admin):
            end = asyncio.get_running_loop().time() + PINGS_SECONDS
            while asyncio.get_running_loop().time() < end:
                pair.publisher.publish(ROOM, b"%d" % sent, ())
                sent += 1
                await asyncio.sleep(0.05)
            await pair.proven()
            assert pair.reconnects == (0, 0)
            # Who connects now is let in as well.
            pair.publisher.link.rebuild("a test")
            pair.subscriber.link.rebuild("a test")
            await eventually(lambda: pair.reconnects == (1, 1), "both connect anew")
            await pair.proven()
        await asyncio.sleep(LINK_TIMEOUT)
        await pair.proven()
        assert pair.received == [b"%d" % number for number in range(sent)]
        assert pair.reconnects == (1, 1)
        assert not pair.dropped
    lines = [record.getMessage() for record in caplog.records if "PING" in record.getMessage()]
    if condition is full_disk:
        assert len([line for line in lines if "refuses PING: MISCONF" in line]) == 2
        assert len([line for line in lines if "no longer refuses PING" in line]) == 2
        assert len(lines) == 4
    else:
        assert not lines


async def test_loading(own_redis, caplog):
    """While Redis loads its dataset it publishes: nobody waits for the end, or reconnects."""
    with closing(RedisProcess("--save", "", program=own_redis.program)) as process:
        process.start()
        async with redis.asyncio.Redis(port=process.port) as outside:
            async with outside.pipeline() as pipeline:
                for number in range(200):
                    pipeline.set(f"key-{number}", os.urandom(1024))
                await pipeline.execute()
            await outside.save()
        async with running(process.port, timeout=LINK_TIMEOUT) as pair:
            process.kill()
            process.start(
                "--key-load-delay", "60000", "--loading-process-events-interval-bytes", "1024"
            )
            impatient = Retry(NoBackoff(), 0)  # by default it waits for what is loading
            async with redis.asyncio.Redis(port=process.port, retry=impatient) as admin:
                await pair.proven()
                before = pair.reconnects
                pair.publisher.publish(ROOM, b"while it loads", ())
                await eventually(lambda: pair.received == [b"while it loads"], "it arrives")
                await asyncio.sleep(PINGS_SECONDS)
                await says(admin, "BusyLoading", "GET", "key-1")
            assert pair.reconnects == before
            assert not pair.dropped
    lines = [record.getMessage() for record in caplog.records]
    assert len([line for line in lines if "refuses PING: LOADING" in line]) <= 2


# -- Redis refuses everything for a while ----------------------------------------------------


@asynccontextmanager
async def busy(port: int) -> AsyncIterator[None]:
    """A script runs, and BUSY is the answer to everything."""
    async with redis.asyncio.Redis(port=port) as admin, redis.asyncio.Redis(port=port) as other:
        await admin.config_set("lua-time-limit", "20")
        script = asyncio.create_task(other.execute_command("EVAL", "while true do end", "0"))
        try:
            await says(admin, "BUSY", "PING")
            yield
        finally:
            await admin.script_kill()
            with suppress(redis.RedisError):
                await script


async def test_a_busy_script(own_redis, caplog):
    """Who publishes meanwhile is told; what is subscribed to meanwhile is, afterwards."""
    caplog.set_level("INFO")
    async with running(own_redis.port, timeout=LINK_TIMEOUT) as pair:
        async with busy(own_redis.port):
            pair.publisher.publish(ROOM, b"refused", ())
            confirmed = pair.subscriber.subscribe(b"realtime:room:meanwhile")
            assert confirmed is not None
            await eventually(lambda: pair.dropped == [Drop.REFUSED], "it is told")
            await asyncio.sleep(PINGS_SECONDS)
            assert not confirmed.done()
            assert not pair.proof.is_current
            assert pair.proof.refusal.startswith("BUSY")
        await asyncio.wait_for(confirmed, DEADLINE)
        assert pair.subscriber.refusal == ""
        await pair.proven()
        pair.publisher.publish(b"realtime:room:meanwhile", b"allowed", ())
        await eventually(lambda: pair.received == [b"allowed"], "it arrives")
        assert pair.reconnects == (0, 0)
        assert not pair.refused
    lines = [record.getMessage() for record in caplog.records if "BUSY" in record.getMessage()]
    # PING on both, PUBLISH of the message and of the proof, SUBSCRIBE.
    assert len(lines) == 5


async def test_connecting_to_a_busy_redis(own_redis):
    """A pod that is not let in for the moment says so, and is in as soon as it may."""
    pair = Pair(own_redis.port)
    async with busy(own_redis.port):
        pair.subscriber.subscribe(ROOM)
        pair.subscriber.start(pair.on_message)
        try:
            # Redis refuses the name of the connection already, Valkey only SUBSCRIBE.
            await eventually(
                lambda: "BUSY" in pair.subscriber.link.last_error + pair.subscriber.refusal,
                "it is refused",
            )
        except BaseException:
            await pair.subscriber.close()
            raise
    await eventually(lambda: ROOM in pair.subscriber.confirmed, "it is subscribed")
    await pair.subscriber.close()


async def test_what_is_said_before_a_goodbye(own_redis, admin):
    """A Redis that takes no more clients says so in place of all answers, and is quoted."""
    before = (await admin.config_get("maxclients"))["maxclients"]
    clients = (await admin.info("clients"))["connected_clients"]
    await admin.config_set("maxclients", clients)
    pair = Pair(own_redis.port)
    link = pair.publisher.link
    link.start()
    try:
        await eventually(lambda: "max number of clients" in link.last_error, "it is told")
        await admin.config_set("maxclients", before)
        await eventually(lambda: link.is_up, "it is let in")
    finally:
        await admin.config_set("maxclients", before)
        await link.close()


@pytest.mark.parametrize("known", [True, False], ids=["NOPERM", "unsupported"])
async def test_what_a_connection_can_do_without(shared_redis, known):
    """Neither its name nor the server's role is needed, whatever the error is."""
    error = b"-NOPERM no\r\n" if known else b"-ERR this proxy does not support that\r\n"
    with RedisProxy(shared_redis.port) as proxy:
        proxy.misbehaviour = lambda name: error if name in ("CLIENT", "HELLO", "ROLE") else None
        async with running(proxy.port) as pair:
            pair.publisher.publish(ROOM, b"all the same", ())
            await eventually(lambda: pair.received == [b"all the same"], "it arrives")
            assert pair.reconnects == (0, 0)


# -- refused for good ------------------------------------------------------------------------


@pytest.mark.parametrize("forbidden", [[], [0], [777], [1, 2, 600, 1299], range(1300)], ids=str)
async def test_forbidden_channels_are_found(own_redis, admin, forbidden):
    """Whichever of many channels Redis forbids: those are refused, all others subscribed."""
    many = [b"realtime:room:%s-%d" % (b"no" if n in forbidden else b"yes", n) for n in range(1300)]
    await admin.acl_setuser(
        "picky", enabled=True, nopass=True, commands=["+@all"], channels=["realtime:room:yes-*"]
    )
    refused: list[bytes] = []
    subscriber = Subscriber(
        Endpoint(f"redis://picky:x@127.0.0.1:{own_redis.port}"),
        name="picky",
        timeout=5,
        unsubscribe_delay=60,
        is_needed=lambda channel: True,
        echo_prefix=b"own",
        on_refused=lambda channel, error: refused.append(channel),
        on_down=lambda good_until: None,
    )
    waiters = {channel: subscriber.subscribe(channel) for channel in many}
    subscriber.start(lambda channel, payload: None)
    try:
        await asyncio.wait_for(asyncio.wait([w for w in waiters.values() if w]), DEADLINE)
        for channel, waiter in waiters.items():
            assert waiter is not None
            is_forbidden = b":no-" in channel
            assert isinstance(waiter.exception(), SubscribeRefused) == is_forbidden
            assert (channel in subscriber.confirmed) != is_forbidden
            assert (channel in subscriber.wanted) != is_forbidden
        assert sorted(refused) == sorted(c for c in many if b":no-" in c)
        assert subscriber.is_up
        assert subscriber.link.reconnects == 0
        # The same once more, now that the link is up.
        again = subscriber.subscribe(b"realtime:room:no-again")
        fine = subscriber.subscribe(b"realtime:room:yes-again")
        assert again is not None
        assert fine is not None
        await asyncio.wait_for(asyncio.wait([again, fine]), DEADLINE)
        assert isinstance(again.exception(), SubscribeRefused)
        assert fine.exception() is None
        assert subscriber.link.reconnects == 0
    finally:
        await subscriber.close()


# -- what is no answer -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "answer", "reason"),
    [
        ("PING", b"+GNOP\r\n", "answered a PING with"),
        ("PUBLISH", b"+OK\r\n", "answered a PUBLISH with"),
        ("SUBSCRIBE", b"+OK\r\n", "answered the subscriber"),
        ("SUBSCRIBE", b"*3\r\n$7\r\nmessage\r\n*0\r\n$1\r\nx\r\n", "[b'message', [], b'x']"),
        ("SUBSCRIBE", b"*3\r\n$9\r\nsubscribe\r\n$5\r\nother\r\n:1\r\n", "out of turn"),
        ("PUBLISH", b"-NOAUTH Authentication required.\r\n", "NOAUTH"),
    ],
)
async def test_nonsense_rebuilds_the_link(shared_redis, caplog, command, answer, reason):
    """What is no answer to the command costs the connection; the log says what it was."""
    caplog.set_level("INFO")
    with RedisProxy(shared_redis.port) as proxy:
        async with running(proxy.port, timeout=LINK_TIMEOUT) as pair:
            proxy.misbehaviour = lambda name: answer if name == command else None
            try:
                pair.subscriber.subscribe(b"realtime:room:nonsense")
                pair.publisher.publish(ROOM, b"x", ())
                await eventually(lambda: sum(pair.reconnects) > 0, "a link is built anew")
                await eventually(lambda: reason in caplog.text, "the log says why")
            finally:
                proxy.misbehaviour = behave
            await pair.proven()


async def test_nonsense_is_no_storm(shared_redis):
    """Who is answered a PING, and nothing that matters, tries again more and more slowly."""
    with RedisProxy(shared_redis.port) as proxy:
        async with running(proxy.port) as pair:
            proxy.misbehaviour = lambda name: (
                b"-NOAUTH Authentication required.\r\n" if name == "PUBLISH" else None
            )
            try:
                began, before = time.monotonic(), proxy.connections
                await eventually(lambda: pair.publisher.link.reconnects >= 6, "it tries again")
                attempts = proxy.connections - before
                # 0.05 s, 0.1, 0.2, 0.4, 0.8, and then once a second, or half of that.
                assert attempts < 6 + 2 * (time.monotonic() - began)
                assert time.monotonic() - began > (0.05 + 0.1 + 0.2 + 0.4 + 0.8) / 2
            finally:
                proxy.misbehaviour = behave
            await pair.proven()


async def test_the_first_reason_is_kept(shared_redis, caplog):
    """What comes after the reason to give up a connection does not take its place."""
    with RedisProxy(shared_redis.port) as proxy:
        async with running(proxy.port) as pair:
            link = pair.publisher.link
            link.rebuild("the first reason")
            link.rebuild("the second")
            await eventually(lambda: link.reconnects == 1, "it is built anew")
    told = [one.getMessage() for one in caplog.records if "cannot be used" in one.getMessage()]
    assert len(told) == 1
    assert told[0].endswith("cannot be used: the first reason")
