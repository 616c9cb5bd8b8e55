"""Where keys are read from: files that are none, servers that hang, lie or lead elsewhere."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import ClassVar

import pytest

from sanic_chat.auth import key_sources
from sanic_chat.auth.key_sources import KeyFile, KeyURL, Unreadable
from sanic_chat.auth.keys import MAX_SET_BYTES

from ..support.harness import DEADLINE, wait_until
from ..support.keys import KeyServer, hang, running_key_server, trickle
from ..support.tls import self_signed_certificate


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """None but what a test names."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with running_key_server() as server:
        yield server


def why_not(source: KeyFile | KeyURL) -> str:
    with pytest.raises(Unreadable) as raised:
        source.read()
    assert raised.value.__cause__ is None
    return str(raised.value)


class TestFile:
    def test_as_it_is_now(self, tmp_path: Path):
        path = tmp_path / "keys"
        for text in (b"one", b"", b"another"):
            path.write_bytes(text)
            assert KeyFile(str(path)).read() == text

    def test_by_a_link(self, tmp_path: Path):
        """As Kubernetes mounts them: the name is a link that is changed at once."""
        for text in (b"one", b"another"):
            (tmp_path / text.decode()).write_bytes(text)
            (tmp_path / "new").symlink_to(text.decode())
            os.replace(tmp_path / "new", tmp_path / "keys")
            assert KeyFile(str(tmp_path / "keys")).read() == text

    def test_no_more_than_is_allowed(self, tmp_path: Path):
        (tmp_path / "keys").write_bytes(b"x" * 10 * MAX_SET_BYTES)
        assert len(KeyFile(str(tmp_path / "keys")).read()) == MAX_SET_BYTES + 1

    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("none", "No such file"),
            ("", "Is a directory|no regular file"),
            ("pipe", "it is no regular file"),
            ("a\0b", "null"),
            ("x" * 999, "too long"),
        ],
    )
    def test_no_file(self, tmp_path: Path, name: str, why: str):
        """It is told why; a pipe, into which nobody writes, is not waited for."""
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(Unreadable, match=why):
            KeyFile(f"{tmp_path}/{name}").read()

    def test_no_descriptor_is_left(self, tmp_path: Path):
        (tmp_path / "keys").write_bytes(b"x")
        os.mkfifo(tmp_path / "pipe")
        before = len(os.listdir("/proc/self/fd"))
        KeyFile(str(tmp_path / "keys")).read()
        for name in ("none", "", "pipe"):
            why_not(KeyFile(f"{tmp_path}/{name}"))
        assert len(os.listdir("/proc/self/fd")) == before


class TestURL:
    def test_as_it_is_now(self, server: KeyServer):
        source = KeyURL(f"{server.url}?secret=1")
        for body in (b"one", b"", b"another"):
            server.body = body
            assert source.read() == body
        assert server.requests[-1]["path"] == "/keys?secret=1"
        assert "json" in server.requests[-1]["Accept"]
        assert source.name == f"AUTH_JWKS_URL {server.url}"

    def test_no_more_than_is_allowed(self, server: KeyServer):
        server.body = b"x" * 10 * MAX_SET_BYTES
        assert len(KeyURL(server.url).read()) == MAX_SET_BYTES + 1

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 404, 500, 503])
    def test_another_answer(self, server: KeyServer, status: int):
        """It is told, and a redirect is not followed."""
        server.status = status
        server.headers = {"Location": f"{server.url}/elsewhere"}
        why = why_not(KeyURL(server.url))
        assert str(status) in why
        assert ("redirects are not followed" in why) == (status < 400)
        assert len(server.requests) == 1

    def test_nobody_there(self, server: KeyServer):
        with running_key_server() as other:
            pass
        assert "refused" in why_not(KeyURL(other.url))
        assert re.search("not known|name resolution", why_not(KeyURL("http://nobody.invalid/")))

    def test_no_http(self, server: KeyServer):
        server.misbehave = lambda request: _say(request, b"Hello\r\n")
        assert why_not(KeyURL(server.url)) == "the answer is no HTTP (BadStatusLine)"
        server.misbehave = lambda request: None
        assert "closed connection" in why_not(KeyURL(server.url))

    def test_silence(self, server: KeyServer, monkeypatch: pytest.MonkeyPatch):
        """Each step of an answer has its time."""
        monkeypatch.setattr(key_sources, "READ_SECONDS", 0.2)
        server.misbehave = hang
        assert why_not(KeyURL(server.url)) == "no answer within 0.2 s"

    @pytest.mark.parametrize("misbehave", [hang, trickle])
    def test_abandoned(
        self, server: KeyServer, misbehave: Callable[[BaseHTTPRequestHandler], None]
    ):
        """A reading ends when it is abandoned, whatever it waits for, and its connection."""
        server.misbehave = misbehave
        source = KeyURL(server.url)
        with ThreadPoolExecutor() as pool:
            reading = pool.submit(why_not, source)
            wait_until(lambda: server.requests, "it has asked")
            began = time.monotonic()
            source.abandon()
            reading.result(DEADLINE)
            assert server.ended.wait(DEADLINE)
        assert time.monotonic() - began < key_sources.READ_SECONDS

    def test_abandoned_while_it_looks_up_a_name(
        self, server: KeyServer, monkeypatch: pytest.MonkeyPatch
    ):
        """A reading that was abandoned reads nothing later either."""
        source = KeyURL(server.url)
        answered = threading.Event()
        connect = key_sources.socket.create_connection

        def slow_connect(*arguments: object) -> object:
            assert answered.wait(DEADLINE)
            return connect(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(key_sources.socket, "create_connection", slow_connect)
        with ThreadPoolExecutor() as pool:
            reading = pool.submit(why_not, source)
            source.abandon()
            answered.set()
            reading.result(DEADLINE)
        assert not server.requests


class TestTLS:
    def test_who_is_trusted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """A certificate of the system's authorities is taken, and no other."""
        certificate = self_signed_certificate(tmp_path)
        with running_key_server(tls=certificate.server_context()) as server:
            server.body = b"keys"
            assert "CERTIFICATE_VERIFY_FAILED" in why_not(KeyURL(server.url))
            assert not server.requests
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate.pem))
            assert KeyURL(server.url).read() == b"keys"
            assert "CERTIFICATE_VERIFY_FAILED" in why_not(
                KeyURL(server.url.replace("127.0.0.1", "localhost"))
            )

    @pytest.mark.parametrize("misbehave", [hang, trickle])
    def test_abandoned(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        misbehave: Callable[[BaseHTTPRequestHandler], None],
    ):
        """So does one behind TLS."""
        certificate = self_signed_certificate(tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.pem))
        with running_key_server(tls=certificate.server_context()) as server:
            server.misbehave = misbehave
            source = KeyURL(server.url)
            with ThreadPoolExecutor() as pool:
                reading = pool.submit(why_not, source)
                wait_until(lambda: server.requests, "it has asked")
                source.abandon()
                reading.result(DEADLINE)
                assert server.ended.wait(DEADLINE)


class TunnelHandler(StreamRequestHandler):
    """A proxy that opens tunnels, one way after the other: enough for one answer."""

    asked: ClassVar[list[str]] = []

    def handle(self) -> None:
        head = b"".join(iter(self.rfile.readline, b"\r\n")).decode()
        self.asked.append(head)
        host, _, port = head.split()[1].partition(":")
        with socket.create_connection((host, int(port)), DEADLINE) as target:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            pump = threading.Thread(target=self.pump, args=(self.connection, target))
            pump.start()
            self.pump(target, self.connection)
            pump.join()

    @staticmethod
    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


class TestProxy:
    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
        with ThreadingTCPServer(("127.0.0.1", 0), TunnelHandler) as proxy:
            url = f"http://user:geheim@127.0.0.1:{proxy.server_address[1]}"
            for name in ("https_proxy", "http_proxy"):
                monkeypatch.setenv(name, url)
            thread = threading.Thread(target=proxy.serve_forever, args=(0.05,))
            thread.start()
            TunnelHandler.asked.clear()
            yield TunnelHandler.asked
            proxy.shutdown()
            thread.join()

    def test_https_goes_by_a_tunnel(
        self, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """The proxy of the environment sees where to, and nothing else."""
        certificate = self_signed_certificate(tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.pem))
        with running_key_server(tls=certificate.server_context()) as server:
            server.body = b"keys"
            assert KeyURL(server.url).read() == b"keys"
            [head] = asked
            assert head.startswith(f"CONNECT {server.url[8:].partition('/')[0]} ")
            monkeypatch.setenv("no_proxy", "127.0.0.1")
            assert KeyURL(server.url).read() == b"keys"
        assert len(asked) == 1
        assert "Proxy-Authorization" not in server.requests[0]

    def test_http_goes_by_none(self, asked: list[str], server: KeyServer):
        """Nobody else gets to answer for this machine."""
        server.body = b"keys"
        assert KeyURL(server.url).read() == b"keys"
        assert not asked

    @pytest.mark.parametrize("url", ["http://u:geheim@", "u:geheim@h:port", "http://u:geheim@[::1"])
    def test_no_proxy_at_all(self, monkeypatch: pytest.MonkeyPatch, url: str):
        """What is wrong with it is told without its password."""
        monkeypatch.setenv("https_proxy", url)
        assert "geheim" not in why_not(KeyURL("https://127.0.0.1:1/"))


def _say(request: BaseHTTPRequestHandler, data: bytes) -> None:
    request.wfile.write(data)
