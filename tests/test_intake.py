"""Back-pressure: senders that the pod cannot follow are not read from, and nothing is lost."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection

from sanic_chat.heartbeat import LOOKS, Heartbeat
from sanic_chat.intake import Intake
from sanic_chat.session import FRAMES_PER_TURN, Session, State

from .clients import RawClient
from .conftest import StartServer
from .frames import client_frame
from .harness import DEADLINE, RedisProcess, eventually, receive
from .sessions import RecordingOwner, on_both_loops
from .test_session import A_CLOSE, A_TEXT, connected


class RecordingSource:
    """Notes whether it is held."""

    held = False

    def hold(self) -> None:
        assert not self.held
        self.held = True

    def release(self) -> None:
        assert self.held
        self.held = False


class TestIntake:
    @on_both_loops
    async def test_held_until_relieved(self):
        """What is held stays so until the pod has caught up, and is let go by itself then."""
        relieved = False
        intake = Intake(asyncio.get_running_loop(), is_relieved=lambda: relieved)
        sources = [RecordingSource(), RecordingSource()]
        for source in sources:
            intake.hold(source)
            intake.hold(source)
        assert all(source.held for source in sources)
        assert intake.holds == 2
        await asyncio.sleep(0.05)
        assert all(source.held for source in sources)
        relieved = True
        await eventually(lambda: not any(source.held for source in sources), "both are released")
        assert not intake.held

    @on_both_loops
    async def test_one_is_let_go(self):
        """A source that closes is let go alone."""
        intake = Intake(asyncio.get_running_loop(), is_relieved=lambda: False)
        one, other = RecordingSource(), RecordingSource()
        intake.hold(one), intake.hold(other)
        intake.let_go(one)
        intake.let_go(one)
        assert (one.held, other.held) == (False, True)
        intake.close()
        assert not other.held


class Owner(RecordingOwner):
    """Holds a session once it has received so many messages."""

    hold_after = 10**9

    def message_received(self, session: Session, payload: bytes) -> None:
        super().message_received(session, payload)
        if len(self.received) == self.hold_after:
            session.hold()


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def frames_of(messages: list[bytes]) -> bytes:
    return b"".join(client_frame(A_TEXT, message) for message in messages)


class TestSession:
    @on_both_loops
    async def test_a_burst_leaves_turns_to_others(self):
        """Of many frames in one read only so many are handled in a turn of the loop; all are."""
        owner = Owner()
        async with connected(owner) as (session, peer):
            messages = numbered(FRAMES_PER_TURN * 3 + 5)
            session.data_received(frames_of(messages))
            assert owner.received == messages[:FRAMES_PER_TURN]
            session.data_received(frames_of([b"behind them"]))
            await eventually(lambda: len(owner.received) == len(messages) + 1, "all are handled")
            assert owner.received == [*messages, b"behind them"]
            await peer.send(frames_of([b"and it reads again"]))
            await eventually(lambda: owner.received[-1] == b"and it reads again", "it reads")

    @on_both_loops
    async def test_held(self):
        """While it is held nothing is read; afterwards everything is handled in its order."""
        owner = Owner()
        owner.hold_after = FRAMES_PER_TURN + 7
        messages = numbered(FRAMES_PER_TURN * 3)
        async with connected(owner) as (session, peer):
            session.data_received(frames_of(messages))
            await eventually(lambda: session.is_held, "it is held")
            handled = len(owner.received)
            await peer.send(frames_of([b"last"]))
            await asyncio.sleep(0.05)
            assert len(owner.received) == handled < len(messages)
            session.release()
            await eventually(lambda: len(owner.received) == len(messages) + 1, "all are handled")
            assert owner.received == [*messages, b"last"]

    @on_both_loops
    async def test_a_close_behind_a_burst(self):
        """The client's close frame counts after all that it sent before."""
        owner = Owner()
        messages = numbered(FRAMES_PER_TURN * 2 + 1)
        async with connected(owner) as (session, peer):
            await peer.send(frames_of(messages) + client_frame(A_CLOSE, b"\x03\xe8"))
            frames = await peer.until_close()
            assert [opcode for opcode, _ in frames] == [8]
            assert owner.received == messages
            assert session.state is not State.OPEN

    @on_both_loops
    async def test_a_violation_behind_a_burst(self):
        """What breaks the protocol ends the session after all that came before it."""
        owner = Owner()
        messages = numbered(FRAMES_PER_TURN * 2 + 1)
        async with connected(owner) as (_, peer):
            await peer.send(frames_of(messages) + client_frame(0x83))
            [(_, payload)] = await peer.until_close()
            assert int.from_bytes(payload[:2], "big") == 1002
            assert owner.received == messages

    @on_both_loops
    async def test_lost_behind_a_burst(self):
        """What came before the connection was lost is handled, though its turn had not come."""
        owner = Owner()
        messages = numbered(FRAMES_PER_TURN * 3)
        async with connected(owner) as (session, _):
            session.data_received(frames_of(messages))
            session.abort()
            await eventually(lambda: session.state is State.CLOSED, "it is closed")
            assert owner.received == messages

    @on_both_loops
    async def test_closed_while_held(self):
        """A session that we close while it is held reads the client's answer once it is let go."""
        owner = Owner()
        owner.hold_after = 1
        async with connected(owner) as (session, peer):
            await peer.send(frames_of([b"1"]))
            await eventually(lambda: session.is_held, "it is held")
            session.close(1001, "bye")
            session.release()
            await peer.until_close()
            await peer.send(client_frame(A_CLOSE, b"\x03\xe9"))
            await eventually(lambda: session.state is State.CLOSED, "it is closed")

    @on_both_loops
    async def test_the_heartbeat_waits(self):
        """A held session is not taken for silent: it is we who do not listen."""
        owner = Owner()
        async with connected(owner) as (session, _):
            heartbeat = Heartbeat(asyncio.get_running_loop(), timeout=60)
            session.hold()
            for _ in range(LOOKS * 2):
                heartbeat._look(session)
            assert session.state is State.OPEN
            session.release()
            for _ in range(LOOKS):
                heartbeat._look(session)
            await eventually(lambda: session.state is State.CLOSED, "the silent one is cut")


class CountingClient(asyncio.Protocol):
    """A member that counts the bytes behind its handshake, and does nothing else."""

    def __init__(self, handshake: bytes) -> None:
        self.open = asyncio.get_running_loop().create_future()
        self.received = 0
        self._handshake = handshake
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._handshake)

    def data_received(self, data: bytes) -> None:
        if self.open.done():
            self.received += len(data)
            return
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if end:
            assert head.startswith(b"HTTP/1.1 101 ")
            self.open.set_result(None)
            self.received = len(rest)


async def test_a_sender_faster_than_the_fan_out(start_server: StartServer, redis: RedisProcess):
    """A client that sends faster than a large room can be written to is held; all is delivered."""
    server = start_server(REDIS_URL=redis.url, CHAT_BACKPRESSURE_BYTES="65536")
    handshake = RawClient.handshake("/ws/large")
    loop = asyncio.get_running_loop()
    members = []
    for _ in range(300):
        _, member = await loop.create_connection(
            lambda: CountingClient(handshake), "127.0.0.1", server.port
        )
        members.append(member)
    messages, size = 200, 4096
    try:
        async with asyncio.timeout(DEADLINE), server.connect("large") as sender:
            await asyncio.gather(*(member.open for member in members))
            text = '{"data":"%s"}' % ("x" * size)
            received = []

            async def read() -> None:
                for _ in range(messages):
                    received.append(await sender.recv())

            reading = asyncio.create_task(read())
            for _ in range(messages):
                await sender.send(text)
            await reading
            expected = sum(len(message) + 4 for message in received)
            await eventually(
                lambda: all(member.received == expected for member in members), "all have it all"
            )
        backlog = (await asyncio.to_thread(server.stats))["pods"][0]["backlog"]
        assert backlog["holds"] > 0
        assert backlog["held"] == backlog["bytes"] == 0
    finally:
        for member in members:
            member.transport.abort()


async def test_a_redis_that_does_not_follow(start_server: StartServer, redis: RedisProcess):
    """While Redis takes nothing senders are held, and nothing that they sent is lost for others."""
    server = start_server(
        workers=2,
        REDIS_URL=redis.url,
        CHAT_REDIS_TIMEOUT="60",
        CHAT_PUBLISH_QUEUE_BYTES="8388608",
        CHAT_PUBLISH_QUEUE_SECONDS="60",
        CHAT_SEND_QUEUE_BYTES=str(2**30),
        CHAT_SEND_QUEUE_MESSAGES="1000000",
    )
    clients = await server.connect_to_pods(2, "room")
    sender, listener = clients.values()
    messages = 1500
    sent = 0

    async def send() -> None:
        nonlocal sent
        for number in range(messages):
            await sender.send(json.dumps({"data": {"n": number, "text": "x" * 30_000}}))
            sent += 1

    async def read(client: ClientConnection) -> list[int]:
        return [await next_number(client) for _ in range(messages)]

    redis.signal(signal.SIGSTOP)
    sending = asyncio.create_task(send())
    reading = [asyncio.create_task(read(client)) for client in (sender, listener)]
    try:
        await until_stalled(lambda: sent)
        assert sent < messages, "the sender was never held"
        redis.signal(signal.SIGCONT)
        async with asyncio.timeout(DEADLINE * 2):
            await sending
            assert await reading[0] == list(range(messages))
            assert await reading[1] == list(range(messages))
    finally:
        redis.signal(signal.SIGCONT)
        for task in (sending, *reading):
            task.cancel()
        for client in clients.values():
            client.transport.abort()
            await client.wait_closed()


async def next_number(client: ClientConnection) -> int:
    """The number in the next chat message."""
    while (message := await receive(client))["type"] != "chat":
        pass
    return int(message["data"]["n"])


async def until_stalled(count: Callable[[], int]) -> None:
    """Return once a counter has not moved for half a second."""
    deadline = time.monotonic() + DEADLINE
    before, since = count(), time.monotonic()
    while time.monotonic() - since < 0.5:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
        if count() != before:
            before, since = count(), time.monotonic()
