"""Python calls: of a message, of each delivery that it adds, and of a client that comes and goes.

A call is what `sys.setprofile` reports: `python` are functions written in Python, `c` functions
written in C. Those count that code of sanic_chat makes, or is called by: uvloop calls it. A message
is measured whole: from its bytes on the socket to the write to every member, the PUBLISH, Redis'
answer, and the echo that is dropped. It is sent again and again, and a low count is taken: timers
add some now and then, and so does the clock, whose text is made anew once a millisecond.

The bounds are what it takes. They may fall, and whoever lets them fall lowers them here; what a
client does not use must not cost it a call.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest
import uvloop

import sanic_chat
from sanic_chat.broker.connection import pack
from sanic_chat.config.settings import Config
from sanic_chat.pod.pod import Pod
from sanic_chat.pod.rooms import Wanted
from sanic_chat.session.session import Session
from sanic_chat.upgrade.fast_path import FastPathProtocol
from sanic_chat.worker import Worker

from ..support.clients import RawClient
from ..support.frames import client_frame
from ..support.harness import DEADLINE, RedisProcess
from ..support.serving import chat

PACKAGE = str(Path(sanic_chat.__file__).parent)
ROOM = "calls"
TRIES = 25
MESSAGE = client_frame(0x81, b'{"data": "hello"}')
A_CLOSE = client_frame(0x88, b"\x03\xe8")
ENVELOPE_MEMBERS = (
    b'"id":"019c2b0e-0000-7000-8000-000000000000","type":"chat","room":"calls","from":"anna",'
    b'"data":"hello","timestamp":"2026-02-05T00:00:00.000Z"}'
)


class Calls(NamedTuple):
    """How many functions were called."""

    python: float
    c: float

    def __sub__(self, other: Calls) -> Calls:
        return Calls(self.python - other.python, self.c - other.c)

    def __truediv__(self, number: int) -> Calls:
        return Calls(self.python / number, self.c / number)


RECEIVING = Calls(python=10, c=19)
"""A message up to where the hub and the publisher have it."""
MESSAGE_ALONE = Calls(python=23, c=44)
"""A message whose sender is alone in its room: one delivery is in it."""
MESSAGE_WITHOUT_ECHO = Calls(python=29, c=51)
"""A message whose sender has its echo off, to one other member."""
FURTHER_MESSAGE = Calls(python=8, c=22)
"""Each message more that comes in the same packet."""
MESSAGE_OF_ANOTHER_POD = Calls(python=15, c=35)
"""A message from Redis, to one member."""
DELIVERY = Calls(python=1, c=2)
"""Each member more, in a room that is written to at once."""
LONG_DELIVERY = Calls(python=1, c=3)
"""Each member more, in a room that is written to slice by slice."""
CONNECT = Calls(python=64, c=76)
"""A client from its accepted socket to its session in a room, with no header but those it needs."""
CLOSE = Calls(python=41, c=21)
"""The end of one that sends a close frame."""
LOSS = Calls(python=22, c=4)
"""The end of one that is gone without a word."""

ROUNDING = 0.3
"""Of a call, where it is a mean: slices, and what Redis says in more than one packet."""


@contextmanager
def counted(result: list[Calls]) -> Iterator[None]:
    """Count the calls of this thread, and append them to `result`."""
    python = c = 0

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal python, c
        if event == "call":
            caller = frame.f_back
            if _is_ours(frame) or (caller is not None and _is_ours(caller)):
                python += 1
        elif event == "c_call" and _is_ours(frame):
            c += 1

    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)
    result.append(Calls(python, c))


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(PACKAGE)


class Clients:
    """Sessions of a pod in one room, each with the client's end of its socket."""

    def __init__(self, pod: Pod) -> None:
        self.pod = pod
        self.sessions: list[Session] = []
        self.sockets: list[socket.socket] = []

    async def add(self, count: int, *, echo: bool = True) -> None:
        """So many more members."""
        await self.pod.rooms.subscribe([Wanted(ROOM, presence=False)])
        for _ in range(count):
            ours, theirs = socket.socketpair()
            session = Session(self.pod, client_id="anna", echo=echo)
            await asyncio.get_running_loop().create_connection(lambda s=session: s, sock=ours)
            self.pod.open(session, [Wanted(ROOM, presence=False)], default=ROOM, confirmed=True)
            theirs.setblocking(False)
            self.sessions.append(session)
            self.sockets.append(theirs)

    def close(self) -> None:
        for session, client in zip(self.sessions, self.sockets, strict=True):
            session.abort()
            client.close()

    async def cost(
        self, cause: Callable[[], None], messages: int = 1, *, is_own: bool = True
    ) -> Calls:
        """The calls from `cause` until everybody has so many messages, and Redis has them too."""
        tries: list[Calls] = []
        for _ in range(TRIES):
            await self.cause(cause, messages, is_own=is_own, tries=tries)
        return _typical(tries)

    async def cause(
        self,
        cause: Callable[[], None],
        messages: int = 1,
        *,
        is_own: bool = True,
        tries: list[Calls] | None = None,
    ) -> None:
        """Do it, and wait until everybody has so many messages, and Redis too if they are own."""
        is_over = self._will_have(messages, own=messages * is_own)
        self.pod._stamper.stamp()  # a new millisecond is not the message's affair
        async with asyncio.timeout(DEADLINE):
            with nullcontext() if tries is None else counted(tries):
                cause()
                while not is_over():
                    await asyncio.sleep(0.0002)
        for client in self.sockets:
            with suppress(BlockingIOError):
                client.recv(2**20)

    def _will_have(self, messages: int, *, own: int) -> Callable[[], bool]:
        """Whether so many more were delivered, and of its own confirmed and heard again."""
        receivers = len(self.sessions) - (not self.sessions[0].echo and own > 0)
        hub, publisher, subscriber = (
            self.pod.hub,
            self.pod.broker.publisher,
            self.pod.broker.subscriber,
        )
        deliveries = hub.deliveries + messages * receivers
        published, echoes = publisher.published + own, subscriber.echoes + own
        return lambda: (
            hub.deliveries >= deliveries
            and publisher.published >= published
            and subscriber.echoes >= echoes
        )

    def send(self, data: bytes) -> Callable[[], None]:
        """The first client sends, as one packet."""
        return lambda: self.sockets[0].sendall(data)


@asynccontextmanager
async def clients(redis: RedisProcess, count: int, **options: Any) -> AsyncIterator[Clients]:
    """A pod with so many members in a room, and nothing that a timer does meanwhile."""
    config = Config.from_environment(
        {"CHAT_PROOF_INTERVAL": "30", "CHAT_HEARTBEAT_TIMEOUT": "3600", "CHAT_REDIS_TIMEOUT": "60"}
    )
    worker = Worker(config, redis_url=redis.url, name="test")
    worker.sampler.start()  # between its ticks it is to cost nothing
    pod = worker.pod
    await pod.start()
    result = Clients(pod)
    try:
        await result.add(count, **options)
        await result.cause(result.send(MESSAGE))  # what joining caused is over as well
        yield result
    finally:
        result.close()
        worker.sampler.stop()
        await pod.closed_sessions.wait()
        await pod.close(1.0)


def _typical(tries: list[Calls]) -> Calls:
    """One of the lowest; those below it may have shared their loop turn with something else."""
    return sorted(tries)[TRIES // 8]


def assert_at_most(calls: Calls, bound: Calls) -> None:
    """Neither kind has grown."""
    print(f"{calls}, {bound=}")
    assert calls.python <= bound.python + ROUNDING
    assert calls.c <= bound.c + ROUNDING


@pytest.fixture
def run() -> Iterator[Callable[[Any], Any]]:
    """Run a coroutine on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner.run


@pytest.fixture
def descriptors() -> Iterator[None]:
    """As many as this process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_message(run, shared_redis: RedisProcess) -> None:
    """What a message costs while nothing is used that could be asked for."""

    async def measure() -> tuple[Calls, Calls]:
        async with clients(shared_redis, 1) as one:
            tries: list[Calls] = []

            def receive() -> None:
                with counted(tries):
                    one.sessions[0].data_received(MESSAGE)

            for _ in range(TRIES):
                await one.cause(receive)
            return _typical(tries), await one.cost(one.send(MESSAGE))

    first_half, whole = run(measure())
    assert_at_most(first_half, RECEIVING)
    assert_at_most(whole, MESSAGE_ALONE)


def test_a_sender_without_echo(run, shared_redis: RedisProcess) -> None:
    """Who does not want its own messages makes a fan-out of its own of each."""

    async def measure() -> Calls:
        async with clients(shared_redis, 2, echo=False) as two:
            return await two.cost(two.send(MESSAGE))

    assert_at_most(run(measure()), MESSAGE_WITHOUT_ECHO)


def test_messages_in_one_packet(run, shared_redis: RedisProcess) -> None:
    """What comes in one packet is written, published and confirmed together."""

    async def measure() -> Calls:
        async with clients(shared_redis, 1) as one:
            few, many = [
                await one.cost(one.send(MESSAGE * count), messages=count) for count in (20, 60)
            ]
            return (many - few) / 40

    assert_at_most(run(measure()), FURTHER_MESSAGE)


def test_a_message_of_another_pod(run, shared_redis: RedisProcess) -> None:
    """What arrives on Redis is read, and delivered."""
    command = pack(("PUBLISH", f"realtime:room:{ROOM}", b'{"pod_id":"other",%b' % ENVELOPE_MEMBERS))

    async def measure() -> Calls:
        with closing(socket.create_connection(("127.0.0.1", shared_redis.port))) as other:
            async with clients(shared_redis, 1) as one:
                return await one.cost(lambda: other.sendall(command), is_own=False)

    assert_at_most(run(measure()), MESSAGE_OF_ANOTHER_POD)


def test_a_delivery(run, shared_redis: RedisProcess, descriptors: None) -> None:
    """What each member more adds to a message."""

    async def measure() -> tuple[Calls, Calls]:
        costs = []
        for count in (20, 220, 600, 1000):
            async with clients(shared_redis, count) as members:
                costs.append(await members.cost(members.send(MESSAGE)))
        few, more, long, longer = costs
        return (more - few) / 200, (longer - long) / 400

    short, long = run(measure())
    assert_at_most(short, DELIVERY)
    assert_at_most(long, LONG_DELIVERY)


@pytest.mark.usefixtures("in_process")
def test_a_client_that_comes_and_goes(run, shared_redis: RedisProcess) -> None:
    """What a client costs that asks for nothing but a room, in which there is another one."""

    async def measure() -> tuple[Calls, ...]:
        connects: list[Calls] = []
        closes: list[Calls] = []
        losses: list[Calls] = []
        async with chat(
            shared_redis, FastPathProtocol, proof_interval=30, heartbeat_timeout=3600
        ) as app:
            pod = app.ctx.worker.pod

            async def until(connected: int, tries: list[Calls]) -> None:
                pod._stamper.stamp()  # a new millisecond is not the client's affair
                async with asyncio.timeout(DEADLINE):
                    with counted(tries):
                        while pod.connected != connected:
                            await asyncio.sleep(0.0002)

            async def come(connected: int, tries: list[Calls]) -> socket.socket:
                client = socket.create_connection(("127.0.0.1", app.ctx.port))
                client.sendall(RawClient.handshake(f"/ws/{ROOM}"))
                await until(connected, tries)
                return client

            with await come(1, []):
                for _ in range(TRIES):
                    with await come(2, connects) as client:
                        client.sendall(A_CLOSE)
                        await until(1, closes)
                    with await come(2, connects):
                        pass
                    await until(1, losses)
            return _typical(connects), _typical(closes), _typical(losses)

    connect, close, loss = run(measure())
    assert_at_most(connect, CONNECT)
    assert_at_most(close, CLOSE)
    assert_at_most(loss, LOSS)
