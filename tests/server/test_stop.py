"""SIGTERM and SIGINT: a drain, and nothing left behind, whenever they come."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from redis import Redis

from ..support.cases import FORMS, LOOPS, crossed, sampled
from ..support.clients import RawClient
from ..support.frames import client_frame, server_frames
from ..support.harness import (
    DEADLINE,
    SLOW,
    RedisProcess,
    ServerProcess,
    StartServer,
    close_code,
    is_alive,
    receive_event,
    wait_until,
)
from ..support.signals import Send, holds_signals, to_group, to_main

LOG_MARKS_OF_A_CRASH = ("Traceback", "💣", "Task was destroyed", "never retrieved")
GOING_AWAY = 1001
CLOSE = 8
TEXT = 1

either_signal = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
either_loop = pytest.mark.parametrize("uvloop", ["true", "false"], ids=["uvloop", "asyncio"])
either_target = pytest.mark.parametrize("send", [to_main, to_group])
SIGNALS = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}


def stop(server: ServerProcess, number: int, send: Send = to_main) -> float:
    """Signal a server that is ready; it must stop well. Returns the seconds it took."""
    server.descendants()
    began = time.monotonic()
    send(server, number)
    server.wait()
    took = time.monotonic() - began
    server.stop()  # has stopped: checks exit code, log and processes
    return took


def deaf_client(server: ServerProcess, room: str) -> socket.socket:
    """A client in a room that has its 101, takes little into its buffers, and does not read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(DEADLINE)
    client.connect(("127.0.0.1", server.port))
    client.sendall(RawClient.handshake(f"/api/chat-api/ws/{room}"))
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += client.recv(1)
    assert answer.startswith(b"HTTP/1.1 101 ")
    return client


def read_to_the_end(client: socket.socket) -> list[tuple[int, bytes]]:
    """All frames that arrive; answers the close frame."""
    received = bytearray()
    while part := client.recv(2**20):
        received += part
        if received.endswith(b"please reconnect"):
            client.sendall(client_frame(0x88, GOING_AWAY.to_bytes(2, "big")))
    return server_frames(received)


async def fill(server: ServerProcess, room: str) -> int:
    """Publish more to a room than the kernel holds for a client; returns how many messages."""
    kernel_bytes = int(Path("/proc/sys/net/ipv4/tcp_wmem").read_text().split()[2])
    messages = 2 * kernel_bytes // 60_000
    async with server.connect(room, echo="0") as sender:
        for index in range(messages):
            await sender.send(json.dumps({"data": [index, "x" * 60_000]}))
        await sender.send('{"type": "system", "data": {"action": "ping"}}')
        await receive_event(sender, "pong")  # all before it has been delivered
    return messages


ROOMY = {"CHAT_SEND_QUEUE_MESSAGES": "10000", "CHAT_SEND_QUEUE_BYTES": str(2**28)}
"""Limits that let a send queue hold what `fill` publishes."""


# -- what clients see --------------------------------------------------------------------------


@crossed(number=SIGNALS, send={"main process": to_main, "group": to_group})
async def test_clients_are_closed_with_1001(
    start_server: StartServer, shared_redis: RedisProcess, number: signal.Signals, send: Send
) -> None:
    """Each client of each worker gets one close frame, 1001 with a reason, and no pod stays."""
    server = start_server(workers=2, REDIS_URL=shared_redis.url)
    clients = await server.connect_to_pods(2, "stop-1001")
    with Redis.from_url(shared_redis.url) as keys:
        pod_keys = [f"realtime:pod:{pod_id}" for pod_id in clients]
        wait_until(lambda: keys.exists(*pod_keys) == 2, "both pods have reported")

        stopping = asyncio.create_task(asyncio.to_thread(stop, server, number, send))
        for client in clients.values():
            assert await close_code(client) == GOING_AWAY
            assert "reconnect" in client.close_reason
        await stopping

        assert keys.exists(*pod_keys) == 0
        members = {member.decode() for member in keys.smembers("realtime:pods")}
        assert members.isdisjoint(clients)
    for pod_id in clients:
        assert server.log.count(f"Pod {pod_id}: draining") == 1


@crossed(options=FORMS, number=SIGNALS)
def test_the_embedded_redis_ends_with_the_server(
    start_server: StartServer, options: tuple[str, ...], number: signal.Signals
) -> None:
    """A server without REDIS_URL takes its Redis with it, the directory included."""
    server = start_server(*options)
    found = re.search(r"unix://(\S+)/redis\.sock", server.log)
    assert found is not None
    directory = Path(found[1])
    assert directory.exists()
    assert any("valkey" in Path(f"/proc/{pid}/comm").read_text() for pid in server.descendants())
    stop(server, number)
    assert not directory.exists()


async def test_queued_messages_come_before_the_close_frame(
    start_server: StartServer, shared_redis: RedisProcess
) -> None:
    """What waits in a send queue when the drain begins is sent, in order, and then 1001."""
    room = "stop-queued"
    server = start_server("--single-process", REDIS_URL=shared_redis.url, **ROOMY)
    with closing(deaf_client(server, room)) as client:
        messages = await fill(server, room)
        server.signal(signal.SIGTERM)
        wait_until(lambda: "draining" in server.log, "the drain begins")
        *texts, (opcode, last) = await asyncio.to_thread(read_to_the_end, client)
        assert {text for text, _ in texts} == {TEXT}
        assert [json.loads(text)["data"][0] for _, text in texts] == list(range(messages))
        assert (opcode, int.from_bytes(last[:2])) == (CLOSE, GOING_AWAY)
    assert server.wait() == 0


async def test_upgrades_during_a_drain_get_503(
    start_server: StartServer, shared_redis: RedisProcess
) -> None:
    """While a drain lasts, upgrades are answered with 503, a Retry-After and a code in JSON."""
    server = start_server("--single-process", REDIS_URL=shared_redis.url, CHAT_RETRY_AFTER="7")
    async with RawClient(server) as silent, RawClient(server) as late:
        assert (await silent.request())[0] == 101
        server.signal(signal.SIGTERM)
        assert await silent.close_code() == GOING_AWAY  # and does not answer it
        status, headers, body = await late.request()
        assert (status, headers["retry-after"]) == (503, "7")
        assert json.loads(body)["code"] == "draining"
    assert server.wait() == 0


# -- who cannot delay it -----------------------------------------------------------------------


@either_loop
async def test_clients_that_do_not_answer_are_dropped(
    start_server: StartServer, shared_redis: RedisProcess, uvloop: str
) -> None:
    """A client that never answers the close frame delays the stop by two seconds, no more."""
    server = start_server(
        "--single-process",
        REDIS_URL=shared_redis.url,
        SANIC_USE_UVLOOP=uvloop,
        CHAT_DRAIN_TIMEOUT="8",
    )
    async with RawClient(server) as silent:
        assert (await silent.request())[0] == 101
        took = await asyncio.to_thread(stop, server, signal.SIGTERM)
        assert await silent.close_code() == GOING_AWAY
    assert 1.5 < took < SLOW * 2.5


@crossed(options=FORMS, uvloop=LOOPS)
async def test_clients_that_do_not_read_are_dropped(
    start_server: StartServer, shared_redis: RedisProcess, options: tuple[str, ...], uvloop: str
) -> None:
    """A client that never reads what is queued for it gets the drain's time, no more."""
    room = f"stop-deaf-{uvloop}-{len(options)}"
    server = start_server(
        *options,
        REDIS_URL=shared_redis.url,
        SANIC_USE_UVLOOP=uvloop,
        CHAT_DRAIN_TIMEOUT="1.5",
        **ROOMY,
    )
    with closing(deaf_client(server, room)):
        await fill(server, room)
        took = await asyncio.to_thread(stop, server, signal.SIGTERM)
    assert 1.4 < took < SLOW * 2


@crossed(options=FORMS, uvloop=LOOPS)
async def test_http_connections_do_not_hang_the_stop(
    start_server: StartServer, shared_redis: RedisProcess, options: tuple[str, ...], uvloop: str
) -> None:
    """An idle keep-alive connection, half a request and a silent connection do not hang a stop."""
    server = start_server(*options, REDIS_URL=shared_redis.url, SANIC_USE_UVLOOP=uvloop)
    async with RawClient(server) as idle, RawClient(server) as half, RawClient(server) as silent:
        idle.send(b"GET /api/chat-api/ws/stats HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await idle.answer())[0] == 200
        half.send(b"GET /api/chat-api/ws HTTP/1.1\r\nHost: loc")
        took = await asyncio.to_thread(stop, server, signal.SIGTERM)
        for client in (idle, half, silent):
            with suppress(ConnectionError):
                await asyncio.wait_for(client.reader.read(), DEADLINE)
    assert took < SLOW * 2


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "frozen"])
async def test_a_redis_that_is_away_does_not_hang_the_stop(
    start_server: StartServer, redis: RedisProcess, fault: signal.Signals
) -> None:
    """With Redis dead, or silent, clients get their 1001 and the server stops all the same."""
    server = start_server(REDIS_URL=redis.url, CHAT_REDIS_TIMEOUT="1")
    client = await server.connect("stop-without-redis", events="system")
    redis.signal(fault)
    await receive_event(client, "degraded")
    stopping = asyncio.create_task(asyncio.to_thread(stop, server, signal.SIGTERM))
    assert await close_code(client) == GOING_AWAY
    assert await stopping < SLOW * 4


@crossed(pause=sampled({f"{pause} s": pause for pause in (0, 0.01, 0.03, 0.1)}))
def test_a_stop_right_after_the_start(
    start_server: StartServer, shared_redis: RedisProcess, pause: float
) -> None:
    """A pod that has only just connected to Redis stops like any other."""
    server = start_server("--single-process", REDIS_URL=shared_redis.url)
    time.sleep(pause)
    assert stop(server, signal.SIGTERM) < SLOW * 2


# -- several signals ---------------------------------------------------------------------------


@either_target
async def test_a_second_signal_at_once_says_the_same(
    start_server: StartServer, shared_redis: RedisProcess, send: Send
) -> None:
    """SIGTERM and SIGINT right after each other drain once, and the server stops well."""
    server = start_server(workers=2, REDIS_URL=shared_redis.url)
    clients = await server.connect_to_pods(2)

    def twice(server: ServerProcess, number: int) -> None:
        send(server, number)
        send(server, signal.SIGINT)

    stopping = asyncio.create_task(asyncio.to_thread(stop, server, signal.SIGTERM, twice))
    for client in clients.values():
        assert await close_code(client) == GOING_AWAY
    await stopping
    assert server.log.count("draining") == 2
    assert server.log.count("Received SIG") == 1
    assert "second signal" not in server.log


@either_signal
async def test_a_later_signal_kills(
    start_server: StartServer, shared_redis: RedisProcess, number: signal.Signals
) -> None:
    """A second signal, two seconds into a slow drain, ends the server at once."""
    room = f"stop-kill-{number.name}"
    server = start_server(workers=1, REDIS_URL=shared_redis.url, CHAT_DRAIN_TIMEOUT="60", **ROOMY)
    with closing(deaf_client(server, room)):
        await fill(server, room)
        descendants = server.descendants()
        server.signal(number)
        wait_until(lambda: "Received SIG" in server.log, "the signal is noticed")
        received = time.monotonic()
        await asyncio.sleep(2.2)  # signals within two seconds say the same
        assert server.process.poll() is None, "the drain was to be slow"
        server.signal(number)
        server.wait()
        wait_until(lambda: not any(map(is_alive, descendants)), "its processes are gone")
        assert time.monotonic() - received < SLOW * 8
    assert "Received a second signal" in server.log


# -- signals while it starts -------------------------------------------------------------------


def stops_while_starting(server: ServerProcess, number: int, send: Send) -> None:
    """Signal a server that is not ready: it ends, and nothing is left.

    If it has held the signal, it stops well. Else Python ends it in the middle of an import, with
    all that Python has to say, or even swallows the KeyboardInterrupt there, and is told again.
    """
    held = again = holds_signals(server)
    send(server, number)

    def has_ended() -> bool:
        nonlocal again
        server.descendants()
        if not again and holds_signals(server):
            again = True
            send(server, number)
        return server.process.poll() is not None

    try:
        wait_until(has_ended, "the server ends", 30)  # its workers start first
    except AssertionError:
        pytest.fail(f"the server still runs; its log:\n{server.log}")
    wait_until(lambda: not server.descendants(), "its processes are gone")
    if held:
        assert server.process.returncode == 0, server.log
        for mark in LOG_MARKS_OF_A_CRASH:
            assert mark not in server.log, server.log


@crossed(
    delay=sampled({f"{delay} s": delay for delay in (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5)}),
    number=SIGNALS,
)
def test_a_signal_while_it_starts(
    start_server: StartServer, delay: float, number: signal.Signals
) -> None:
    """A signal at any moment of the start ends the server, without hang, traceback or remains."""
    server = start_server(workers=2, wait=False)
    time.sleep(delay)
    stops_while_starting(server, number, to_main)


def redis_is_up(server: ServerProcess) -> bool:
    return "No REDIS_URL" in server.log


def a_worker_starts(server: ServerProcess) -> bool:
    return "Starting worker" in server.log


def a_worker_is_ready(server: ServerProcess) -> bool:
    return bool(server.worker_pids)


MOMENTS = (holds_signals, redis_is_up, a_worker_starts, a_worker_is_ready)


@crossed(moment={moment.__name__: moment for moment in MOMENTS}, number=SIGNALS)
@pytest.mark.parametrize(
    ("options", "send"),
    [((), to_group), (("--single-process",), to_main)],
    ids=["workers, group", "single process"],
)
def test_a_signal_at_a_moment_of_the_start(
    start_server: StartServer,
    options: tuple[str, ...],
    send: Send,
    moment: Callable[[ServerProcess], bool],
    number: signal.Signals,
) -> None:
    """A signal at each step of the start is not lost: the server ends with exit code 0."""
    server = start_server(*options, workers=2, wait=False)
    wait_until(lambda: moment(server), moment.__name__)
    stops_while_starting(server, number, send)
