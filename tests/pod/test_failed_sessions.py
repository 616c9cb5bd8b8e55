"""What a pod makes of a session that ends because of an error of ours."""

from __future__ import annotations

import asyncio
import socket

import pytest

from sanic_chat.config.settings import Config
from sanic_chat.pod.snapshot import build_report
from sanic_chat.session.session import Session
from sanic_chat.websocket.frames import CloseCode, close_frame
from sanic_chat.worker import Worker

from ..support.frames import client_frame
from ..support.harness import RedisProcess, eventually


async def test_it_is_told(
    shared_redis: RedisProcess,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log has the traceback, the stats a count, and the client 1011; the pod goes on."""

    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("a test")

    pod = Worker(Config.from_environment({}), redis_url=shared_redis.url, name="test").pod
    monkeypatch.setattr(pod.commands, "execute", broken)
    clients: list[socket.socket] = []
    for _ in range(2):
        ours, theirs = socket.socketpair()
        session = Session(pod, client_id="anna")
        await asyncio.get_running_loop().create_connection(lambda s=session: s, sock=ours)  # type: ignore[misc]
        pod.open(session, (), default=None, confirmed=True)
        theirs.setblocking(False)
        clients.append(theirs)
    clients[0].sendall(client_frame(0x81, b'{"type": "system", "data": {"action": "ping"}}'))
    await eventually(lambda: pod.sessions_failed, "it has failed")

    assert build_report(pod, worker="test", crowded_out=0).sessions_failed == 1
    assert caplog.text.count("ZeroDivisionError: a test") == 1
    end = clients[0].recv(1024)
    assert end[:2] == close_frame(CloseCode.INTERNAL_ERROR)[:1] + bytes([len(end) - 2])
    assert end[2:4] == CloseCode.INTERNAL_ERROR.to_bytes(2, "big")
    clients[1].sendall(client_frame(0x81, b'{"data": "hello"}'))
    await eventually(lambda: pod.hub.deliveries == 1, "the other one is served")
    for client in clients:
        client.close()
    await pod.closed_sessions.wait()
