"""`CHAT_ADMIN_LISTEN`: what is not for clients has a port of its own, and every worker is there."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import httpx
import pytest

from ..support.backend import API_KEYS, SECRETS, backend, bearer
from ..support.clients import RawClient, running_server
from ..support.command import run
from ..support.harness import (
    NO_TLS,
    RedisProcess,
    ServerProcess,
    free_port,
    wait_until,
)

PREFIX = "/api/chat-api"
BOTH = [f"{prefix}/{probe}" for prefix in ("", PREFIX) for probe in ("ready", "health")]
CLIENTS = ["/", *(f"{prefix}/ws{room}" for prefix in ("", PREFIX) for room in ("", "/a"))]
OPERATORS = [f"{prefix}/{name}" for prefix in ("", PREFIX) for name in ("ws/stats", "metrics")]
BACKENDS = [f"{PREFIX}/{name}" for name in ("rooms", "room?name=a", "user?id=a")]


class TwoPorts:
    """A server with two ports."""

    def __init__(self, server: ServerProcess, port: int) -> None:
        self.server = server
        self.port = port
        self.http = f"http://127.0.0.1:{port}{PREFIX}"

    def status(self, path: str, *, admin: bool, secret: str | None = SECRETS["read"]) -> int:
        port = self.port if admin else self.server.port
        headers = {} if secret is None else bearer(secret)
        return httpx.get(
            f"http://127.0.0.1:{port}{path}", headers=headers, verify=NO_TLS
        ).status_code

    def pods(self) -> set[str]:
        """The pods that answer at the second port, to many connections."""
        anew = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(verify=NO_TLS, limits=anew) as client:
            return {client.get(f"{self.http}/health").json()["pod_id"] for _ in range(50)}


@pytest.fixture(scope="module")
def two_ports(shared_redis: RedisProcess) -> Iterator[TwoPorts]:
    port = free_port()
    with running_server(
        workers=2,
        REDIS_URL=shared_redis.url,
        CHAT_API_KEYS=API_KEYS,
        CHAT_ADMIN_LISTEN=f"127.0.0.1:{port}",
    ) as server:
        yield TwoPorts(server, port)


async def test_what_is_where(two_ports, room):
    """Each route is on the port it is for, the probes are on both, and nothing else is anywhere."""
    for path in BOTH:
        assert [two_ports.status(path, admin=admin) for admin in (True, False)] == [200, 200]
    for path in CLIENTS:
        assert two_ports.status(path, admin=True) == 404
        assert two_ports.status(path, admin=False) in (200, 426)
    for path in OPERATORS + BACKENDS:
        assert two_ports.status(path, admin=True) == 200
        assert two_ports.status(path, admin=True, secret=None) == 401
        assert two_ports.status(path, admin=False) == 404
    async with two_ports.server.connect(room), backend(two_ports.http) as program:
        assert (await program.publish(1, room=room)).json()["subscribers"] == 1


async def test_no_client_comes_that_way(two_ports):
    """A handshake that would be accepted is 404 there."""

    class Server:
        port = two_ports.port
        tls = None

    async with RawClient(Server()) as client:  # type: ignore[arg-type]
        status, _, _ = await client.request(f"{PREFIX}/ws/lobby")
    assert status == 404


def test_all_workers_answer(two_ports):
    """Both, also one that has taken the place of one that was killed, or after a reload."""
    wait_until(lambda: len(two_ports.pods()) == 2, "both workers answer")
    before = two_ports.pods()
    [*_, victim, _] = two_ports.server.worker_pids
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(two_ports.pods() | before) == 3, "the new worker answers")
    known = two_ports.pods() | before
    two_ports.server.signal(signal.SIGHUP)
    wait_until(lambda: not two_ports.pods() & known, "the workers after the reload answer")
    assert two_ports.status("/metrics", admin=True) == 200


def test_a_key_takes_the_place_of_another(start_server, shared_redis, tmp_path):
    """First both are good, then the new one alone; each takes a reload, and no restart."""
    old, new = "o" * 32, "n" * 32
    file = tmp_path / "keys"
    file.write_text(f"web:read:{old}\n")
    server = start_server(REDIS_URL=shared_redis.url, CHAT_API_KEYS_FILE=str(file))

    def are_good() -> list[bool]:
        return [server.get("/rooms", headers=bearer(key)).is_success for key in (old, new)]

    assert are_good() == [True, False]
    for text, good in (
        (f"web:read:{old}\nweb:read:{new}\n", [True, True]),
        (f"web:read:{new}\n", [False, True]),
    ):
        file.write_text(text)
        server.signal(signal.SIGHUP)
        wait_until(lambda good=good: are_good() == good, "the keys of the file are good")


def test_a_single_process(start_server, shared_redis):
    """Without a main process the worker listens itself. The stats are open without keys."""
    port = free_port()
    server = start_server(
        "--single-process",
        REDIS_URL=shared_redis.url,
        CHAT_ADMIN_LISTEN=f"localhost:{port}",
    )
    two = TwoPorts(server, port)
    assert two.status("/ws/stats", admin=True, secret=None) == 200
    assert two.status("/ws/stats", admin=False, secret=None) == 404
    assert httpx.get(f"{two.http}/rooms", verify=NO_TLS).json()["code"] == "no_api_keys"
    assert server.get("/rooms").json()["code"] == "not_found"


@pytest.mark.parametrize("mode", ["--workers=2", "--single-process"])
def test_a_port_that_is_taken(start_server, shared_redis, mode):
    """It ends the start with a sentence."""
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        server = start_server(
            mode, wait=False, REDIS_URL=shared_redis.url, CHAT_ADMIN_LISTEN=address
        )
        assert server.wait() == 1
    assert (
        f"sanic_chat does not start: CHAT_ADMIN_LISTEN is '{address}', where nobody can listen"
        in server.log
    )
    assert "Traceback" not in server.log


def test_the_command_line_has_a_key(two_ports):
    """`stats` and `doctor` take CHAT_API_KEY, and say so if it is missing."""
    server = {"CHAT_URL": f"http://127.0.0.1:{two_ports.port}"}
    code, _, errors = run("stats", "--json", **server)
    assert code == 1
    assert "answers 401" in errors
    code, output, _ = run("stats", "--json", CHAT_API_KEY=SECRETS["read"], **server)
    assert code == 0
    assert '"totals"' in output
