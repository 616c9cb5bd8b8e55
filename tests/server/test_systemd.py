"""The unit of conf/systemd, run by a systemd."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from ..support.deployment import CONF
from ..support.harness import (
    DEADLINE,
    NO_TLS,
    RedisProcess,
    close_code,
    free_port,
    receive,
    wait_until,
)
from ..support.systemd import Systemd, need_systemd

NOTHING = "0000000000000000"
GOING_AWAY = 1001


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def systemd(tmp_path: Path, port: int, shared_redis: RedisProcess) -> Iterator[Systemd]:
    """One with the unit, on a port of the test's, and with settings in a file of the test's."""
    need_systemd()
    unit = (CONF / "systemd/sanic-chat.service").read_text()
    assert "--port 8001 --workers 2" in unit
    unit = unit.replace("--port 8001 --workers 2", f"--port {port} --workers 1")
    systemd = Systemd(unit, tmp_path)
    systemd.set(REDIS_URL=shared_redis.url, CHAT_HANDSHAKE_TIMEOUT="0.5")
    try:
        yield systemd
    finally:
        systemd.close()


@pytest.mark.timeout(300)  # three starts, a reload and a stop, whatever else runs
async def test_the_unit(systemd: Systemd, port: int) -> None:
    """The server has all it needs, and none of the rights; every end of it drains. A reload takes
    settings as they are then.

    With a wrong setting nothing starts, and the sentence stands where `systemctl status` shows it.
    """
    url = f"127.0.0.1:{port}/api/chat-api"

    def start() -> None:
        assert systemd.ask("start", "sanic-chat") == ""
        wait_until(is_ready, "it is ready")

    def is_ready() -> bool:
        try:
            return httpx.get(f"http://{url}/ready", verify=NO_TLS).status_code == 200
        except httpx.TransportError:
            assert systemd.show("ActiveState") == "active", systemd.log
            return False

    await asyncio.to_thread(start)
    status = systemd.process_status()
    assert "0" not in status["Uid"].split()
    assert (status["CapEff"], status["CapBnd"]) == (NOTHING, NOTHING)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert "sanic_chat_workers 1\n" in httpx.get(f"http://{url}/metrics").text
    async with connect(f"ws://{url}/ws/lobby", proxy=None, open_timeout=DEADLINE) as client:
        await client.send('{"data": "hello"}')
        assert (await receive(client))["data"] == "hello"
        systemd.ask("kill", "--signal=KILL", "--kill-who=main", "sanic-chat")
        assert await close_code(client) == GOING_AWAY
    assert systemd.show("Result") == "signal"

    await asyncio.to_thread(start)
    async with connect(f"ws://{url}/ws/lobby", proxy=None, open_timeout=DEADLINE) as client:
        systemd.set(CHAT_HEARTBEAT_TIMEOUT="47")
        assert await asyncio.to_thread(systemd.ask, "reload", "sanic-chat") == ""
        assert await close_code(client) == GOING_AWAY
    async with connect(f"ws://{url}/ws?events=system", proxy=None) as client:
        assert (await receive(client))["data"]["heartbeat_seconds"] == 47
        stopping = asyncio.create_task(asyncio.to_thread(systemd.ask, "stop", "sanic-chat"))
        assert await close_code(client) == GOING_AWAY
        assert await stopping == ""
    ended = {name: systemd.show(name) for name in ("ActiveState", "Result", "ExecMainStatus")}
    assert ended == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}
    assert "Traceback" not in systemd.log

    systemd.set(CHAT_BACKLOG="many")
    assert "failed" in systemd.ask("start", "sanic-chat")
    assert "CHAT_BACKLOG is 'many'; allowed is" in systemd.log
    assert (systemd.show("Result"), systemd.show("ExecMainPID")) == ("exit-code", "0")
