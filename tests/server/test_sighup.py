"""SIGHUP: new workers with settings, program and certificate as they are now."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from websockets.asyncio.client import ClientConnection

from ..support.clients import running_server
from ..support.harness import (
    RedisProcess,
    ServerProcess,
    StartServer,
    close_code,
    eventually,
    receive,
    wait_until,
)
from ..support.metrics import scrape
from ..support.reloading import OVER, PROGRAM, REFUSED, Place, begin, living, outcome, reload
from ..support.signals import holds_signals, to_group
from ..support.tls import Certificate, self_signed_certificate

GOING_AWAY = 1001


async def heartbeat_of(server: ServerProcess) -> int:
    """The setting, as a new client hears it."""
    async with server.connect(events="system") as client:
        welcome = await receive(client)
    return int(welcome["data"]["heartbeat_seconds"])


@pytest.fixture(scope="module")
def shared_place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("reloads"))


@pytest.fixture(scope="module")
def server(shared_place: Place, shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    """A server of two workers that is reloaded again and again."""
    shared_place.settings(shared_redis)
    with running_server(workers=2, **shared_place.command()) as server:
        yield server


# -- what is new -------------------------------------------------------------------------------


async def test_settings(
    server: ServerProcess, shared_place: Place, shared_redis: RedisProcess
) -> None:
    """New workers have what the file says now. What needs a restart, or looks wrong, is told."""
    shared_place.settings(
        shared_redis, CHAT_HEARTBEAT_TIMEOUT="41", CHAT_HANG_TIMEOUT="7", CHAT_BACKLOGS="1"
    )
    before = living(server)
    assert server.log.splitlines()[0].endswith(f"[{server.pid}]")  # whom to signal
    log = reload(server)
    assert "All new workers serve; the old ones leave" in log
    assert "CHAT_HANG_TIMEOUT has changed, which needs a restart: it stays as it was" in log
    assert "CHAT_BACKLOGS is no setting, and does nothing: do you mean CHAT_BACKLOG?" in log
    assert len(living(server)) == 2
    assert not set(before) & set(living(server))
    assert await heartbeat_of(server) == 41
    await eventually(lambda: scrape(server).value("last_reload_refused") == 0, "metrics tell it")


async def test_every_client_moves_once(
    server: ServerProcess, shared_place: Place, shared_redis: RedisProcess
) -> None:
    """Who is sent away, with 1001, comes back to a new worker, and stays there."""
    shared_place.settings(shared_redis)
    clients = [await server.connect("moves") for _ in range(20)]
    before = server.log
    begin(server)

    async def moves(client: ClientConnection) -> ClientConnection:
        assert await close_code(client) == GOING_AWAY
        return await server.connect("moves")

    moved = await asyncio.gather(*map(moves, clients))
    await asyncio.to_thread(outcome, server, before)
    await moved[0].send('{"data": "all here?"}')
    for client in moved:
        assert (await receive(client))["data"] == "all here?"
        await client.close()


# -- what is wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ("CHAT_RETRY_AFTER=soon\n", "CHAT_RETRY_AFTER is 'soon'; allowed is a whole number"),
        ("CHAT_RETRY_AFTER\n", "line 1: this is no variable"),
        ("AUTH_ENABLED=1\nAUTH_PUBLIC_KEY=x\n", "AUTH_PUBLIC_KEY"),
        ("REDIS_URL=rediss://h?ssl_ca_certs=/nowhere\n", "REDIS_URL cannot be used: "),
        (None, "No such file or directory"),
    ],
    ids=["value", "line", "key", "file of a setting", "no file"],
)
def test_settings_that_are_refused(
    server: ServerProcess,
    shared_place: Place,
    shared_redis: RedisProcess,
    settings: str | None,
    why: str,
) -> None:
    """The workers go on, and one line says why."""
    shared_place.settings(shared_redis)
    before = living(server)
    if settings is None:
        shared_place.env_file.unlink()
    else:
        shared_place.env_file.write_text(settings)
    log = reload(server)
    shared_place.settings(shared_redis)
    [line] = (line for line in log.splitlines() if "ERROR" in line)
    assert "The reload is refused, and the workers go on as before: " in line
    assert why in line
    assert "Starting worker" not in log
    assert living(server) == before


def test_a_program_that_is_refused(server: ServerProcess, shared_place: Place) -> None:
    """One that cannot be loaded harms nobody, and one line says why."""
    before = living(server)
    shared_place.program.write_text("import sanic_cat")
    log = reload(server)
    shared_place.program.write_text(PROGRAM)
    why = r"ModuleNotFoundError: No module named 'sanic_cat' \(\S+/reloaded.py, line 1\)"
    assert re.search(rf"{REFUSED}, and the workers go on as before: .*{why}", log), log
    assert "Traceback" not in log
    assert living(server) == before


async def test_workers_that_do_not_start(
    server: ServerProcess, shared_place: Place, shared_redis: RedisProcess
) -> None:
    """If a new one dies, the old one is put back, with its settings; that is no death."""
    before, old = living(server), await heartbeat_of(server)
    ready = len(server.worker_pids)
    shared_place.fault.touch()
    shared_place.settings(shared_redis, CHAT_HEARTBEAT_TIMEOUT="43")
    log = reload(server)
    shared_place.fault.unlink()
    assert re.search(rf"{REFUSED}.*worker \S+ \(PID \d+\) died with exit code 3 while it", log)
    await eventually(lambda: scrape(server).value("last_reload_refused") == 1, "metrics tell it")
    assert "Restarting" not in log
    assert living(server) == before
    for pid in before:
        os.kill(pid, signal.SIGKILL)  # who takes their place has the old settings
    assert await heartbeat_of(server) == old
    await asyncio.to_thread(server.wait_ready, ready + 2)
    assert len(living(server)) == 2


# -- certificates ------------------------------------------------------------------------------


def serial_of(server: ServerProcess) -> int:
    """The number of the certificate that it shows."""
    pem = ssl.get_server_certificate(("127.0.0.1", server.port), timeout=30)
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


def test_certificates(start_server: StartServer, place: Place, shared_redis: RedisProcess) -> None:
    """A renewed one is shown after SIGHUP; one that does not parse, or fit its key, is not."""
    certificate = self_signed_certificate(place.directory)
    place.settings(shared_redis)
    server = start_server(certificate=certificate, **place.command())
    first = serial_of(server)
    old: Certificate = certificate
    key, pem = old.key.read_bytes(), old.pem.read_bytes()

    def refused(why: str) -> None:
        log = reload(server)
        assert re.search(f"{REFUSED}, and the workers go on as before: .*{why}", log), log
        assert serial_of(server) == first

    self_signed_certificate(place.directory)
    renewed = old.key.read_bytes(), old.pem.read_bytes()
    old.key.write_bytes(key)
    refused(r"The key \S+key.pem is not the key of the certificate \S+certificate.pem")
    old.pem.write_text("no certificate")
    refused(r"certificate.pem holds no certificate in PEM")
    old.pem.unlink()
    refused(r"The certificate \S+certificate.pem cannot be read: No such file")
    old.key.write_bytes(renewed[0])
    old.pem.write_bytes(renewed[1])
    reload(server)
    assert serial_of(server) == x509.load_pem_x509_certificate(renewed[1]).serial_number != first
    assert pem != renewed[1]


# -- at bad moments ----------------------------------------------------------------------------


def test_two_at_a_time(
    server: ServerProcess, shared_place: Place, shared_redis: RedisProcess
) -> None:
    """A second one, and a third, while the first is under way are one more, behind it."""
    shared_place.settings(shared_redis)
    before, log = living(server), server.log
    begin(server)
    wait_until(lambda: "Received SIGHUP: reloading" in server.log[len(log) :], "it begins")
    time.sleep(0.2)
    for _ in range(2):
        begin(server)
    wait_until(lambda: server.log[len(log) :].count(OVER) == 2, "both are over")
    assert "Received SIGHUP: reloading, after this reload" in server.log[len(log) :]
    assert len(living(server)) == 2
    assert not set(before) & set(living(server))
    assert living(server) == server.worker_pids[-2:]


@pytest.mark.parametrize("victim", ["old", "new"])
async def test_a_worker_that_is_killed_meanwhile(
    server: ServerProcess, shared_place: Place, shared_redis: RedisProcess, victim: str
) -> None:
    """It is replaced as always, and in the end all have the new settings."""
    value = {"old": 51, "new": 52}[victim]
    shared_place.settings(shared_redis, CHAT_HEARTBEAT_TIMEOUT=str(value))
    before, log = living(server), server.log
    ready = len(server.worker_pids)
    begin(server)
    await asyncio.to_thread(server.wait_ready, ready + 1)
    os.kill(before[-1] if victim == "old" else server.worker_pids[-1], signal.SIGKILL)
    await asyncio.to_thread(outcome, server, log)
    await eventually(lambda: len(living(server)) == 2, "there are two again")
    assert not set(before) & set(living(server))
    for _ in range(10):
        assert await heartbeat_of(server) == value


@pytest.mark.parametrize("moment", ["Received SIGHUP", "Starting worker"])
def test_a_stop_meanwhile(
    start_server: StartServer, place: Place, shared_redis: RedisProcess, moment: str
) -> None:
    """SIGTERM at each step stops all, old and new, with nothing left; SIGHUP does nothing then."""
    place.settings(shared_redis, CHAT_HANDSHAKE_TIMEOUT="10")
    server = start_server(**place.command())
    log = server.log
    begin(server)
    wait_until(lambda: moment in server.log[len(log) :], moment)
    server.descendants()
    server.signal(signal.SIGTERM)
    server.signal(signal.SIGHUP)
    server.wait()
    server.stop()
    assert OVER not in server.log
    assert "died" not in server.log


async def test_redis_is_away(start_server: StartServer, place: Place, redis: RedisProcess) -> None:
    """A reload waits for no Redis: the new workers serve, and are well once it is back."""
    place.settings(redis, CHAT_HEARTBEAT_TIMEOUT="45", CHAT_REDIS_TIMEOUT="1")
    server = start_server(**place.command())
    redis.signal(signal.SIGSTOP)
    await asyncio.to_thread(reload, server)
    redis.signal(signal.SIGCONT)
    assert await heartbeat_of(server) == 45
    await eventually(lambda: server.stats()["complete"], "it is well")
    assert len(living(server)) == 1


async def test_the_embedded_redis_stays(start_server: StartServer, place: Place) -> None:
    """It is not started anew, whatever REDIS_URL is set to meanwhile."""
    place.env_file.write_text("CHAT_HANDSHAKE_TIMEOUT=0.5\n")
    server = start_server(**place.command())

    def redis_pids() -> list[int]:
        return [
            pid for pid in server.descendants() if "valkey" in Path(f"/proc/{pid}/comm").read_text()
        ]

    before = redis_pids()
    place.env_file.write_text(
        "CHAT_HANDSHAKE_TIMEOUT=0.5\nREDIS_URL=redis://127.0.0.1:1\nCHAT_HEARTBEAT_TIMEOUT=46\n"
    )
    log = reload(server)
    assert "REDIS_URL is set now, which needs a restart: the embedded Redis goes on" in log
    assert redis_pids() == before
    assert await heartbeat_of(server) == 46
    assert server.stats()["complete"]


async def test_while_it_starts_by_the_command_line(
    start_server: StartServer, place: Place, shared_redis: RedisProcess
) -> None:
    """SIGHUP before the workers are up, to the whole group, reloads once they are.

    `sanic-chat serve --env-file` names the file; options and the environment precede, which is
    told unless they say the same.
    """
    place.settings(shared_redis, CHAT_RETRY_AFTER="7", CHAT_HEARTBEAT_TIMEOUT="11")
    server = start_server(
        "--env-file", str(place.env_file), "--heartbeat-timeout", "47",
        command=(sys.executable, "-m", "sanic_chat", "serve"),
        CHAT_RETRY_AFTER="7",
        wait=False,
    )  # fmt: skip
    wait_until(lambda: holds_signals(server), "it holds signals")
    to_group(server, signal.SIGHUP)
    wait_until(lambda: OVER in server.log, "the reload is over")
    assert len(server.worker_pids) == 2
    hidden = f"stands in {place.env_file}, line 4, which does nothing"
    assert server.log.count(f"CHAT_HEARTBEAT_TIMEOUT {hidden}") == 2
    assert "CHAT_RETRY_AFTER stands" not in server.log
    assert await heartbeat_of(server) == 47
    server.stop()
