"""Signals that are not to stop the server, and what a server inherits from who starts it.

What SIGHUP does to a server with workers is tried in server/test_sighup.
"""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection

from sanic_chat.process import os_signals
from sanic_chat.process.os_signals import LEAVE, LEVEL_SIGNALS, SignalWaiter

from ..support.cases import FORMS, LOOPS, crossed
from ..support.harness import RedisProcess, StartServer, eventually, wait_until
from ..support.signals import holds_signals, to_group

SANIC = ("-m", "sanic", "server.py")
DEBUG, AS_SET = LEVEL_SIGNALS


def after(code: str, *arguments: str) -> tuple[str, ...]:
    """A command that runs some Python with these arguments, and then becomes the server."""
    become = (
        f"os.execv(sys.executable, [sys.executable, *{SANIC}, *sys.argv[{len(arguments)} + 1:]])"
    )
    return (sys.executable, "-c", f"import os, signal, sys; {code}; {become}", *arguments)


def command_of(pid: int) -> str:
    """A process' command line."""
    return Path(f"/proc/{pid}/cmdline").read_text()


# -- the log level -----------------------------------------------------------------------------


def lines(log: str) -> list[dict[str, Any]]:
    """The log's lines, which are JSON."""
    return [json.loads(line) for line in log.splitlines()]


def said_by(log: str, message: str) -> set[int]:
    """The PIDs of the processes that have logged a message, which begins so."""
    return {line["pid"] for line in lines(log) if line["message"].startswith(message)}


async def test_debug_for_a_while(start_server: StartServer, shared_redis: RedisProcess) -> None:
    """SIGUSR1 shows everything, of all workers and of those that are made later, until SIGUSR2.

    No client notices, and nothing that one has sent is in the log. The rest of it is as before.
    """
    server = start_server(
        workers=2,
        REDIS_URL=shared_redis.url,
        CHAT_LOG_LEVEL="warning",
        CHAT_LOG_FORMAT="json",
        CHAT_LOG_CLIENTS="1",
        wait=False,
    )

    async def is_ready() -> bool:
        with suppress(httpx.TransportError):
            pods = server.stats()["pods"]
            return len(pods) == 2 and all(pod["uptime_seconds"] > 2 for pod in pods)
        return False

    await eventually(is_ready, "both workers have been ready for a while, and say no more of it")
    pids = {server.pid, *(pod["pid"] for pod in server.stats()["pods"])}
    assert server.log == ""
    async with server.connect("levels") as client:
        server.signal(DEBUG)
        on = "The log level is debug"
        await eventually(lambda: said_by(server.log, on) == pids, "all of them say so")
        async with server.connect("other-levels", token="geheim-123456") as other:
            await other.send('{"data": "geheim-data"}')
            await other.recv()
        assert (await client_answers(client)) == "still there"

        [victim] = list(pids - {server.pid})[:1]
        os.kill(victim, signal.SIGKILL)
        await eventually(
            lambda: said_by(server.log, "Worker ready [") - pids, "another has begun with debug"
        )
        await eventually(lambda: "SUBSCRIBE of" in server.log, "subscriptions are seen")

        server.signal(AS_SET)
        off = "The log level is warning again"
        await eventually(lambda: len(said_by(server.log, off)) == 3, "all of them say so")
        before = server.log
        async with server.connect("levels-again"):
            pass
        assert server.log == before
    assert "geheim" not in server.log
    events = {line.get("event") for line in lines(server.log)}
    assert {"client_opened", "client_closed"} <= events
    levels = {line["level"] for line in lines(server.log)}
    assert {"DEBUG", "INFO", "WARNING"} <= levels


async def client_answers(client: ClientConnection) -> str:
    """What it gets back of what it sends."""
    await client.send('{"data": "still there"}')
    return str(json.loads(await client.recv())["data"])


async def test_a_single_process(start_server: StartServer, shared_redis: RedisProcess) -> None:
    """It has a log level too. It cannot reload, and says so; neither can a worker."""
    server = start_server("--single-process", REDIS_URL=shared_redis.url)
    async with server.connect("signals") as client:
        server.signal(DEBUG)
        await eventually(lambda: "The log level is debug" in server.log, "debug")
        server.signal(AS_SET)
        await eventually(lambda: "The log level is info again" in server.log, "info")
        server.signal(signal.SIGHUP)
        line = "Received SIGHUP, and ignored it: it is for a main process with workers"
        await eventually(lambda: line in server.log, "it says so")
        server.signal(LEAVE)  # to whom?
        assert (await client_answers(client)) == "still there"
        async with server.connect("signals"):
            pass


@crossed(number={number.name: number for number in LEVEL_SIGNALS})
async def test_a_level_while_it_starts(
    start_server: StartServer, shared_redis: RedisProcess, number: signal.Signals
) -> None:
    """Neither stops a server that has come as far as holding signals, and none is lost."""
    server = start_server(wait=False, REDIS_URL=shared_redis.url)
    wait_until(lambda: holds_signals(server), "it holds signals")
    to_group(server, number)
    said = "The log level is " + ("debug" if number is DEBUG else "info again")
    await eventually(lambda: said in server.log, "it says so")
    server.wait_ready()
    async with server.connect(f"while-it-starts-{number}"):
        pass
    assert ("SUBSCRIBE of 1 channels" in server.log) == (number is DEBUG)


# -- a terminal that is closed -----------------------------------------------------------------


@crossed(ignored={"plain": False, "nohup": True}, options=FORMS)
def test_its_terminal_is_closed(
    start_server: StartServer,
    shared_redis: RedisProcess,
    options: tuple[str, ...],
    ignored: bool,
) -> None:
    """A server ends with its terminal, as after SIGTERM; under `nohup` it goes on, and reloads."""
    master, slave = pty.openpty()
    take = "os.open(sys.argv[1], os.O_RDWR)"  # a session's first terminal becomes its own
    # Whatever the tests themselves were started with.
    take += f"; signal.signal(signal.SIGHUP, signal.{'SIG_IGN' if ignored else 'SIG_DFL'})"
    try:
        server = start_server(
            *options, command=after(take, os.ttyname(slave)), REDIS_URL=shared_redis.url
        )
        server.descendants()
        if options:
            server.signal(signal.SIGHUP)
            wait_until(lambda: "Received SIGHUP, and ignored it" in server.log, "it is still open")
    finally:
        os.close(slave)
        os.close(master)
    if ignored:
        wait_until(lambda: "the server goes on, as nohup says" in server.log, "it goes on")
        assert "reloading" not in server.log
        server.signal(signal.SIGHUP)
        what = "and ignored it" if options else "The reload is over"
        wait_until(lambda: what in server.log, "SIGHUP has its other meaning again")
        assert server.get("/health").status_code == 200
    else:
        server.wait()
        assert "Received SIGHUP: stopping" in server.log or options
    server.stop()


@pytest.mark.parametrize(
    ("sender", "had", "has", "is_hangup"),
    [
        (0, True, False, True),
        (os.getppid(), True, False, True),
        (None, True, False, True),
        (0, True, True, False),
        (0, False, False, False),
        (1, True, False, False),
    ],
    ids=[
        "kernel", "shell", "nobody knows", "terminal is there", "never had one", "somebody else"
    ],
)  # fmt: skip
def test_which_sighup_is_of_a_terminal(
    monkeypatch: pytest.MonkeyPatch, sender: int | None, had: bool, has: bool, is_hangup: bool
) -> None:
    """Of one that is gone, and sent by the kernel or by the shell there."""
    monkeypatch.setattr(os_signals, "_has_terminal", lambda: had)
    waiter = SignalWaiter()
    monkeypatch.setattr(os_signals, "_has_terminal", lambda: has)
    assert waiter._is_hangup(sender) == is_hangup


# -- what a server is made of --------------------------------------------------------------------


def test_a_resource_tracker_that_dies(start_server: StartServer) -> None:
    """Python starts its resource tracker anew with the next worker; a stop is orderly after it."""
    server = start_server()
    [tracker] = [pid for pid in server.descendants() if "resource_tracker" in command_of(pid)]
    os.kill(tracker, signal.SIGKILL)
    os.kill(server.worker_pids[0], signal.SIGKILL)
    server.wait_ready(2)
    server.descendants()
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert "Received SIGTERM: stopping" in server.log
    server.stop()


# -- what a server inherits --------------------------------------------------------------------


def test_children_that_nobody_waits_for(start_server: StartServer) -> None:
    """A server whose parent ignored SIGCHLD hears of a worker's end all the same."""
    ignore = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
    server = start_server(command=after(ignore))
    server.descendants()
    os.kill(server.worker_pids[0], signal.SIGKILL)
    server.wait_ready(2)
    assert "died with exit code -9" in server.log


@crossed(options=FORMS, uvloop=LOOPS)
@pytest.mark.parametrize("closed", [(0,), (0, 1, 2)], ids=["input", "all"])
async def test_closed_standard_streams(
    start_server: StartServer,
    options: tuple[str, ...],
    closed: tuple[int, ...],
    uvloop: str,
) -> None:
    """With standard input closed, or all three, the server starts, serves, and leaves nothing."""
    close = "; ".join(f"os.close({number})" for number in closed)
    server = start_server(*options, wait=False, command=after(close), SANIC_USE_UVLOOP=uvloop)

    async def answers() -> bool:
        server.descendants()
        assert server.process.poll() is None, server.log
        with suppress(httpx.TransportError):
            return server.get("/ready").status_code == 200
        return False

    await eventually(answers, "it is ready")
    async with server.connect("closed") as client:
        await client.send('{"data": "hello"}')
        await client.recv()
    await asyncio.to_thread(server.stop)
