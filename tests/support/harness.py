"""Real processes for tests: the sanic command and a Redis server, each ended by its PID."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from sanic_chat.process.embedded_redis import find_server_program

from .tls import Certificate

ROOT = Path(__file__).resolve().parents[2]
ABSENT = Path(__file__).with_name("absent")
"""The folder of modules that a server does not have, though the tests do."""
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For requests in plain HTTP: httpx reads the certificates of the whole web for each one, in 40 ms,
if it is not told to do without."""
DEADLINE = 30.0
"""Seconds after which an awaited event counts as missing: generous, for slow machines."""
SLOW = 3.0
"""How many times longer than promised a busy machine may take."""


def _ports() -> Iterator[int]:
    """Ports that the kernel gives to no client, each once before any comes again.

    Processes of one run have their own; those of two runs side by side begin at different ones.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    share = int(worker[2:]) if worker[2:].isdigit() else os.getpid()
    ports = range(10_000 + share % 16 * 1400, 10_000 + (share % 16 + 1) * 1400)
    first = os.getpid() * 97 % len(ports)
    return cycle([*ports[first:], *ports[:first]])


_PORTS = _ports()


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago, and that no client will be given."""
    for port in _PORTS:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("there are always more ports")


def _pause(began: float) -> float:
    """The time until a condition is looked at again: a tenth of that it has been waited for.

    What costs something to look at, as the stats do, is thus asked for seldom if it takes long.
    """
    return min(max(0.02, (time.monotonic() - began) / 10), 0.1)


def wait_until(condition: Callable[[], Any], what: str, timeout: float = DEADLINE) -> Any:
    """Poll until `condition()` is true, and return it; fail with `what` after `timeout` s."""
    began = time.monotonic()
    while not (result := condition()):
        if time.monotonic() > began + timeout:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        time.sleep(_pause(began))
    return result


async def eventually(condition: Callable[[], Any], what: str, timeout: float = DEADLINE) -> Any:
    """`wait_until` for conditions that are plain functions or coroutine functions."""
    began = time.monotonic()
    while True:
        result = condition()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return result
        if time.monotonic() > began + timeout:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        await asyncio.sleep(_pause(began))


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def children(pid: int) -> set[int]:
    """PIDs of the processes that the threads of a process have made, and that are not waited for.

    All others' parents are not looked at: tests ask again and again.
    """
    found: set[int] = set()
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                found.update(map(int, (task / "children").read_text().split()))
    return found


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match
    return int(match[1]) * 1024


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what would set a server, or a command, differently.

    Nor with what would have each of hundreds of processes compile all modules.
    """
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(("CHAT_", "AUTH_", "REDIS_", "POD_", "SANIC_"))
        and name != "PYTHONDONTWRITEBYTECODE"
    }


def without_httpx(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which the sanic command finds no httpx, as where it is deployed."""
    path = os.pathsep.join(filter(None, (str(ABSENT), environment.get("PYTHONPATH"))))
    return {**environment, "PYTHONPATH": path}


class RedisProcess:
    """A Valkey or Redis server on a TCP port of loopback."""

    def __init__(
        self,
        *options: str,
        port: int | None = None,
        program: str | None = None,
        file: Path | None = None,
    ) -> None:
        self.port = free_port() if port is None else port
        self.url = f"redis://127.0.0.1:{self.port}"
        self.directory = Path(tempfile.mkdtemp(prefix="test-redis-"))
        """Where it runs."""
        self.program = program or find_server_program()
        usual = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
        self._options = (*(usual if file is None else ()), *options)
        self._file = () if file is None else (str(file),)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *options: str) -> None:
        """Start it, with `options` for this time besides, and wait until it answers."""
        self._process = subprocess.Popen(
            [self.program, *self._file, "--port", str(self.port), *self._options, *options],
            cwd=self.directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(self._answers, "Redis answers")

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as client:
                client.sendall(b"PING\r\n")
                return bool(client.recv(64))
        except OSError:
            return False

    def signal(self, number: int) -> None:
        """Send a signal (SIGSTOP and SIGCONT make it half-open and back)."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def close(self) -> None:
        """End it and remove its directory."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class ServerProcess:
    """A sanic_chat server, started with the real command in a session of its own."""

    def __init__(
        self,
        *arguments: str,
        environment: dict[str, str],
        command: tuple[str, ...] = (),
        cwd: Path = ROOT,
        certificate: Certificate | None = None,
        port: int | None = None,
    ) -> None:
        self.port = free_port() if port is None else port
        self.tls = None if certificate is None else certificate.client_context()
        """For clients, if it speaks TLS."""
        if certificate is not None:
            arguments += ("--cert", str(certificate.pem), "--key", str(certificate.key))
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        command = command or (sys.executable, "-m", "sanic", "server.py")
        inherited = without_settings(os.environ)
        if os.environ.get("SANIC_CHAT_TEST_LOOP") == "asyncio":
            inherited["SANIC_USE_UVLOOP"] = "false"
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port), *arguments],
            cwd=cwd,
            env=without_httpx({**inherited, "PYTHONUNBUFFERED": "1", **environment}),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._seen: set[int] = set()

    # -- looking ---------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def http(self) -> str:
        """The base of HTTP URLs."""
        return f"http{'s' * bool(self.tls)}://127.0.0.1:{self.port}/api/chat-api"

    @property
    def log(self) -> str:
        """Everything the server has printed so far."""
        # The server writes at the offset that this descriptor shares with it: a seek() here would
        # make it write over what it wrote before.
        file = self._log.fileno()
        return os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")

    @property
    def worker_pids(self) -> list[int]:
        """PIDs of the workers that have become ready, living or not, oldest first."""
        # The last line of a start, and Sanic's own: nothing else is logged unasked.
        ready = re.findall(r"Worker ready \[(\d+)\]", self.log)
        return self.by_age({*map(int, ready)})

    def by_age(self, pids: Iterable[int]) -> list[int]:
        """PIDs of processes of this server, oldest first: who is made first may be ready last.

        Each PID is larger than the one before, until they begin anew.
        """
        return sorted(pids, key=lambda pid: (pid < self.pid, pid))

    def wait_ready(self, workers: int = 1) -> None:
        """Wait until that many workers have become ready in all."""

        def ready() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended:\n{self.log}")
            return len(self.worker_pids) >= workers

        wait_until(ready, f"{workers} workers are ready")

    def get(self, path: str, **options: Any) -> httpx.Response:
        """The answer to a GET below the prefix."""
        return httpx.get(self.http + path, timeout=DEADLINE, verify=self.tls or NO_TLS, **options)

    def stats(self) -> dict[str, Any]:
        """The answer of /ws/stats."""
        answer = self.get("/ws/stats")
        answer.raise_for_status()
        stats: dict[str, Any] = answer.json()
        return stats

    def pod(self) -> dict[str, Any]:
        """The entry in the stats of the one pod of this server, whoever else is on its Redis."""
        [pod] = [pod for pod in self.stats()["pods"] if pod["pid"] in self.worker_pids]
        return dict(pod)

    def descendants(self) -> set[int]:
        """PIDs of all living processes that this server started, at any time so far asked."""
        queue = [self.pid]
        while queue:
            found = children(queue.pop())
            self._seen |= found
            queue += found
        return {pid for pid in self._seen if is_alive(pid)}

    # -- connecting ------------------------------------------------------------------------

    def url(self, path: str = "/api/chat-api/ws", **query: str) -> str:
        """A WebSocket URL on this server."""
        text = "&".join(f"{name}={quote(value)}" for name, value in query.items())
        scheme = "wss" if self.tls else "ws"
        return f"{scheme}://127.0.0.1:{self.port}{path}" + (f"?{text}" if text else "")

    def connect(
        self, room: str | None = None, *, headers: dict[str, str] | None = None, **query: str
    ) -> connect:
        """A client of the `websockets` package; use with `async with`, or `await`."""
        path = "/api/chat-api/ws" + ("" if room is None else "/" + quote(room, safe=""))
        return connect(
            self.url(path, **query),
            additional_headers=headers,
            ssl=self.tls,
            proxy=None,
            ping_interval=None,
            max_size=2**26,
            open_timeout=DEADLINE,
        )

    async def connect_to_pods(
        self, pods: int, room: str | None = None, **query: str
    ) -> dict[str, ClientConnection]:
        """One client on each of that many pods, by pod ID."""
        clients: dict[str, ClientConnection] = {}
        query["events"] = f"system,{query.get('events', '')}"
        for _ in range(200):
            client = await self.connect(room, **query)
            welcome = await receive(client)
            pod_id = welcome["data"]["pod_id"]
            if pod_id in clients:
                await client.close()
            else:
                clients[pod_id] = client
                if len(clients) == pods:
                    return clients
        raise AssertionError(f"200 connections reached only {sorted(clients)}")

    # -- ending ----------------------------------------------------------------------------

    def signal(self, number: int) -> None:
        """Send a signal to the main process."""
        self.process.send_signal(number)

    def wait(self, timeout: float = DEADLINE) -> int:
        """Wait for the exit code."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {timeout:g} s:\n{self.log}") from None

    def stop(self) -> None:
        """SIGTERM, and everything a good stop promises."""
        descendants = self.descendants()
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        code = self.wait()
        assert code == 0, f"exit code {code}:\n{self.log}"
        for complaint in ("Traceback", "Task was destroyed", "never retrieved", "💣"):
            assert complaint not in self.log, self.log
        wait_until(
            lambda: not any(map(is_alive, descendants)), f"the processes {descendants} are gone"
        )

    def close(self) -> None:
        """Leave nothing behind, whatever happened."""
        left = self.descendants()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._log.close()


StartServer = Callable[..., ServerProcess]
"""What the fixture `start_server` is; its arguments are those of its function in conftest."""


async def receive(client: ClientConnection, timeout: float = DEADLINE) -> dict[str, Any]:
    """The next message, decoded."""
    message: dict[str, Any] = json.loads(await asyncio.wait_for(client.recv(), timeout))
    return message


async def receive_event(
    client: ClientConnection, event: str, timeout: float = DEADLINE
) -> dict[str, Any]:
    """Skip messages until one of the server's own with that event; returns its data."""
    async with asyncio.timeout(timeout):
        while True:
            message = await receive(client)
            if message["from"] == "server" and message["data"]["event"] == event:
                data: dict[str, Any] = message["data"]
                return data


async def close_code(client: ClientConnection, timeout: float = DEADLINE) -> int | None:
    """Read until the connection is closed and return the code the server sent."""
    async with asyncio.timeout(timeout):
        with suppress(ConnectionClosed):
            async for _ in client:
                pass
        await client.wait_closed()
    return client.close_code
