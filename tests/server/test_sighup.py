"""SIGHUP: new workers with settings, program and certificate as they are now, and no downtime."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from websockets.asyncio.client import ClientConnection

from ..support.cases import LOOPS, crossed
from ..support.clients import RawClient, running_server
from ..support.harness import (
    ROOT,
    RedisProcess,
    ServerProcess,
    StartServer,
    close_code,
    eventually,
    is_alive,
    receive,
    wait_until,
)
from ..support.metrics import scrape
from ..support.signals import holds_signals, to_group
from ..support.tls import Certificate, self_signed_certificate

GOING_AWAY = 1001
TRIES = 100

PROGRAM = """
import os
from pathlib import Path
from sanic_chat import create_app

app = create_app()


@app.before_server_start
def start(app):
    if Path(__file__).with_name("fault").exists():
        os._exit(3)
"""


class Place(NamedTuple):
    """Where a server has its program, its settings and its certificate."""

    directory: Path

    @property
    def env_file(self) -> Path:
        return self.directory / "chat.env"

    @property
    def program(self) -> Path:
        return self.directory / "reloaded.py"

    @property
    def fault(self) -> Path:
        """As long as it exists, no worker starts."""
        return self.directory / "fault"

    def settings(self, redis: RedisProcess, **settings: str) -> None:
        """Write the environment file."""
        settings = {"REDIS_URL": redis.url, "CHAT_HANDSHAKE_TIMEOUT": "0.5", **settings}
        self.env_file.write_text("".join(f"{name}={settings[name]}\n" for name in settings))

    def command(self) -> dict:
        """How to start a server here."""
        self.program.write_text(PROGRAM)
        return {
            "command": (sys.executable, "-m", "sanic", "reloaded:app"),
            "PYTHONPATH": f"{self.directory}{os.pathsep}{ROOT}",
            "PYTHONDONTWRITEBYTECODE": "1",  # programs change within the second
            "CHAT_ENV_FILE": str(self.env_file),
        }


def living(server: ServerProcess) -> list[int]:
    """The PIDs of the workers that live, oldest first."""
    return [pid for pid in server.worker_pids if is_alive(pid)]


def begin(server: ServerProcess) -> None:
    server.descendants()
    server.signal(signal.SIGHUP)


OVER, REFUSED = "The reload is over", "The reload is refused"


def outcome(server: ServerProcess, before: str) -> str:
    """What the log says behind `before`, once a reload is at its end."""

    def new() -> str:
        log = server.log[len(before) :]
        return log if OVER in log or REFUSED in log else ""

    return str(wait_until(new, "the reload is over"))


def reload(server: ServerProcess) -> str:
    """Reload; what the log says of it."""
    before = server.log
    begin(server)
    log = outcome(server, before)
    server.descendants()
    return log


async def heartbeat_of(server: ServerProcess) -> int:
    """The setting, as a new client hears it."""
    async with server.connect(events="system") as client:
        welcome = await receive(client)
    return int(welcome["data"]["heartbeat_seconds"])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


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
    await asyncio.to_thread(server.wait_ready, len(server.worker_pids) + 1)
    await eventually(lambda: len(living(server)) == 2, "there are two again")


# -- no downtime -------------------------------------------------------------------------------


async def connects(server: ServerProcess, is_over: asyncio.Event) -> int:
    """Connect again and again, in 5 rooms and of 5 tasks; how often that worked."""
    count = 0

    async def connect_on(room: str) -> None:
        nonlocal count
        while not is_over.is_set() or count < TRIES:
            async with server.connect(room):
                count += 1
            await asyncio.sleep(0.05)

    await asyncio.gather(*(connect_on(f"tries-{index}") for index in range(5)))
    return count


async def nobody_is_refused(server: ServerProcess) -> None:
    """Reload while clients connect: each of them gets in, and is in a room by that."""
    is_over = asyncio.Event()
    trying = asyncio.create_task(connects(server, is_over))
    await asyncio.to_thread(reload, server)
    is_over.set()
    assert await trying >= TRIES


async def test_nobody_is_refused_by_two_workers(
    server: ServerProcess, shared_place: Place, shared_redis: RedisProcess
) -> None:
    shared_place.settings(shared_redis)
    await nobody_is_refused(server)


@crossed(uvloop=LOOPS, secure={"TLS": True, "plain": False})
async def test_nobody_is_refused_by_one_worker(
    start_server: StartServer, place: Place, shared_redis: RedisProcess, uvloop: str, secure: bool
) -> None:
    place.settings(shared_redis)
    server = start_server(
        certificate=self_signed_certificate(place.directory) if secure else None,
        SANIC_USE_UVLOOP=uvloop,
        **place.command(),
    )
    await nobody_is_refused(server)


async def test_requests_that_are_under_way(
    start_server: StartServer, place: Place, shared_redis: RedisProcess
) -> None:
    """A connection that an old worker has accepted is served by it; none is kept alive there."""
    place.settings(shared_redis, CHAT_HANDSHAKE_TIMEOUT="60")
    server = start_server(**place.command())
    async with RawClient(server) as late, RawClient(server) as idle, RawClient(server) as busy:
        for client in (late, idle, busy):
            client.send(b"GET /api/chat-api/health HTTP/1.1\r\nHost: localhost\r\n")
        for client in (idle, busy):
            client.send(b"\r\n")
            assert (await client.answer())[1]["connection"] == "keep-alive"
        begin(server)
        await eventually(lambda: "All new workers serve" in server.log, "they do")
        await asyncio.sleep(0.2)  # and the old one knows
        busy.send(b"GET /api/chat-api/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
        status, headers, _ = await busy.answer()
        assert (status, headers["connection"]) == (200, "close")
        late.send(b"\r\n")
        assert (await late.answer())[0] == 200
        assert await idle.reader.read() == b""
        assert len(living(server)) == 2
    server.stop()  # which does not wait for the old one to leave


async def test_a_unix_socket(
    start_server: StartServer, place: Place, shared_redis: RedisProcess
) -> None:
    """The path is that of the newest worker; who waits in an older one's queue is served."""
    place.settings(shared_redis)
    with tempfile.TemporaryDirectory() as directory:  # pytest's own has too long a name
        path = Path(directory, "chat.sock")
        server = start_server("--unix", str(path), **place.command())
        assert await connects_by(server, path) >= TRIES
        server.stop()


async def connects_by(server: ServerProcess, path: Path) -> int:
    """Reload while clients connect to a Unix socket; how often that worked."""
    is_over, count = asyncio.Event(), 0

    async def connect_on() -> None:
        nonlocal count
        while not is_over.is_set() or count < TRIES:
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(RawClient.handshake("/ws/unix"))
            assert (await reader.readline()).startswith(b"HTTP/1.1 101 ")
            writer.transport.abort()
            count += 1
            await asyncio.sleep(0.05)

    trying = [asyncio.create_task(connect_on()) for _ in range(5)]
    await asyncio.to_thread(reload, server)
    is_over.set()
    await asyncio.gather(*trying)
    return count


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
