"""Senders that a real server cannot follow are held, and nothing that they sent is lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection

from sanic_chat.session.inbound import FRAMES_PER_TURN

from ..support.clients import RawClient
from ..support.frames import client_frame
from ..support.harness import DEADLINE, RedisProcess, StartServer, eventually, receive
from ..support.sessions import A_TEXT


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
    server = start_server("--single-process", REDIS_URL=redis.url, CHAT_BACKPRESSURE_BYTES="65536")
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


async def test_many_who_speak_at_once(start_server: StartServer, redis: RedisProcess):
    """Many bursts in one loop turn are held up before the publish queue is full: all arrive."""
    senders, each = 150, 3 * FRAMES_PER_TURN
    server = start_server(
        "--single-process", REDIS_URL=redis.url, CHAT_PUBLISH_QUEUE_MESSAGES="1000"
    )
    messages = [json.dumps({"data": [number, "x" * 500]}).encode() for number in range(each)]
    burst = b"".join(client_frame(A_TEXT, message) for message in messages)
    missing = senders * each
    numbers: dict[str, int] = {}
    async with AsyncExitStack() as stack:
        outside = await stack.enter_async_context(Redis(port=redis.port))
        listener = await stack.enter_async_context(outside.pubsub())
        await listener.psubscribe("realtime:room:*")
        clients = [await stack.enter_async_context(RawClient(server)) for _ in range(senders)]
        for number, client in enumerate(clients):
            await client.request(f"/ws/many-{number}?echo=0")
        [worker] = server.worker_pids
        os.kill(worker, signal.SIGSTOP)  # so that it finds all bursts at once
        for client in clients:
            client.send(burst)
            await client.writer.drain()
        os.kill(worker, signal.SIGCONT)
        async with asyncio.timeout(2 * DEADLINE):
            while missing:
                published = await listener.get_message(timeout=None)
                if published is None or published["type"] != "pmessage":
                    continue
                message = json.loads(published["data"])
                assert message["data"][0] == numbers.setdefault(message["from"], 0)
                numbers[message["from"]] += 1
                missing -= 1
        pod = await asyncio.to_thread(server.pod)
    assert pod["messages_dropped"] == {}
    assert pod["backlog"]["holds"] > 0


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
