"""The proxies of docs/proxies.md, with the files in conf/, and two servers to stand before.

Each runs as a child of the test, in the foreground, with all that it writes in a directory of its
own. Those that are not installed are skipped.
"""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from websockets.asyncio.client import connect

from sanic_chat.websocket.handshake import SUBPROTOCOL

from .harness import DEADLINE, NO_TLS, ROOT, ServerProcess, free_port, receive, wait_until
from .tls import Certificate, self_signed_certificate

NGINX_FRAME = """\
daemon off;
pid nginx.pid;
error_log stderr;
events { }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    {configuration}
}
"""

APACHE_FRAME = """\
LoadModule mpm_event_module MODULES/mod_mpm_event.so
LoadModule authz_core_module MODULES/mod_authz_core.so
LoadModule proxy_module MODULES/mod_proxy.so
LoadModule proxy_http_module MODULES/mod_proxy_http.so
LoadModule proxy_wstunnel_module MODULES/mod_proxy_wstunnel.so
LoadModule proxy_balancer_module MODULES/mod_proxy_balancer.so
LoadModule proxy_hcheck_module MODULES/mod_proxy_hcheck.so
LoadModule lbmethod_byrequests_module MODULES/mod_lbmethod_byrequests.so
LoadModule slotmem_shm_module MODULES/mod_slotmem_shm.so
ServerName 127.0.0.1
User nobody
PidFile apache.pid
# Of this and a member's timeout the longer one counts.
Timeout 2
Mutex pthread
ErrorLog /dev/stderr
{configuration}
""".replace("MODULES", "/usr/lib/apache2/modules")


Change = tuple[str, str]
"""What stands in a file, and what a test puts in its place, with {} for a value."""


@dataclass(frozen=True)
class Kind:
    """One of the proxies: its program, its file in conf/, and what tests change in that."""

    name: str
    program: str
    file: str
    command: tuple[str, ...]
    """Its arguments, with {directory} and {file} to be filled in."""
    changes: Mapping[str, Change]
    """`port` and `tls_port`: where it listens; `certificate`, `key`; `idle`: the seconds after
    which it cuts off silent clients; `check`: the seconds between two looks at whether servers are
    ready; `clients`, `rate`, `burst`: its limits of one address."""
    asks_another: bool = True
    """Whether it asks the other server when one answers 503."""
    frame: str = "{configuration}"
    """What stands around the file."""

    def __str__(self) -> str:
        return self.name

    @property
    def checks(self) -> bool:
        """Whether it asks servers if they are ready."""
        return "check" in self.changes

    @property
    def package(self) -> str:
        """What it is called in Debian."""
        return {"nginx": "nginx-light"}.get(self.program, self.program)

    @property
    def path(self) -> str | None:
        """The program, if it is installed: in a directory for administrators."""
        return shutil.which(self.program, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


KINDS = (
    Kind(
        "nginx",
        "nginx",
        "conf/nginx/sanic_chat.conf",
        ("-p", "{directory}", "-c", "{file}"),
        {
            "port": ("listen 80;", "listen 127.0.0.1:{};"),
            "tls_port": ("listen 443 ssl", "listen 127.0.0.1:{} ssl"),
            "certificate": ("/etc/nginx/tls/fullchain.pem", "{}"),
            "key": ("/etc/nginx/tls/privkey.pem", "{}"),
            "idle": ("proxy_read_timeout 75s;", "proxy_read_timeout {}s;"),
            "clients": ("limit_conn sanic_chat_clients 500;", "limit_conn sanic_chat_clients {};"),
            "rate": ("rate=20r/s", "rate={}"),
            "burst": ("burst=500", "burst={}"),
        },
        frame=NGINX_FRAME,
    ),
    Kind(
        "HAProxy",
        "haproxy",
        "conf/haproxy/haproxy.cfg",
        ("-db", "-f", "{file}"),
        {
            "port": ("bind :80", "bind 127.0.0.1:{}"),
            "tls_port": ("bind :443", "bind 127.0.0.1:{}"),
            "certificate": ("/etc/haproxy/tls/chat.pem", "{}"),
            "idle": ("timeout tunnel 75s", "timeout tunnel {}s"),
            "check": ("check inter 1s", "check inter {}s"),
            "clients": ("sc_conn_cur(0) gt 500", "sc_conn_cur(0) gt {}"),
            "burst": ("sc_http_req_rate(0) gt 700", "sc_http_req_rate(0) gt {}"),
        },
    ),
    Kind(
        "Apache",
        "apache2",
        "conf/apache/sanic_chat.conf",
        ("-D", "FOREGROUND", "-d", "{directory}", "-f", "{file}"),
        {
            "port": ("<VirtualHost *:80>", "Listen 127.0.0.1:{0}\n<VirtualHost *:{0}>"),
            "idle": ("timeout=75", "timeout={}"),
            "check": ("hcinterval=1", "hcinterval={}"),
        },
        asks_another=False,
        frame=APACHE_FRAME,
    ),
)


def with_change(change: str) -> list[Kind]:
    """Those whose files have what that changes."""
    return [kind for kind in KINDS if change in kind.changes]


UNLIMITED = {"clients": "65535", "rate": "100000r/s", "burst": "1000000"}
"""All tests come from one address, and some of them often."""


class Proxy:
    """A proxy that runs, in front of two servers."""

    def __init__(
        self,
        kind: Kind,
        servers: list[ServerProcess],
        directory: Path,
        certificate: Certificate,
        changes: Mapping[str, object],
    ) -> None:
        self.kind = kind
        self.port, self.tls_port = free_port(), free_port()
        self.tls = None
        both = directory / "both.pem"
        both.write_bytes(certificate.pem.read_bytes() + certificate.key.read_bytes())
        values = {"port": self.port, "tls_port": self.tls_port, **UNLIMITED, **changes}
        values |= {"certificate": both, "key": both}
        edits = {
            text: replacement.format(values[change])
            for change, (text, replacement) in kind.changes.items()
            if change in values
        }
        edits |= {f"127.0.0.1:{8001 + i}": f"127.0.0.1:{s.port}" for i, s in enumerate(servers)}
        configuration = (ROOT / kind.file).read_text()
        for text, replacement in edits.items():
            assert text in configuration, f"{kind.file} has no {text!r}"
            configuration = configuration.replace(text, replacement)
        file = directory / "proxy.conf"
        file.write_text(kind.frame.replace("{configuration}", configuration))
        self._log = (directory / "log").open("w+")
        assert kind.path is not None
        self._process = subprocess.Popen(
            [kind.path, *(part.format(directory=directory, file=file) for part in kind.command)],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_until(self._serves, f"{kind.name} serves")
        except AssertionError as error:
            self.close()
            raise AssertionError(f"{error}\n{(directory / 'log').read_text()}") from None

    def _serves(self) -> bool:
        assert self._process.poll() is None, f"{self.kind.name} ended"
        try:
            return httpx.get(f"{self.http}/health", verify=NO_TLS).status_code == 200
        except httpx.TransportError:
            return False

    @property
    def http(self) -> str:
        """The base of HTTP URLs."""
        return f"http://127.0.0.1:{self.port}/api/chat-api"

    @property
    def https(self) -> str:
        """The same with TLS."""
        return f"https://127.0.0.1:{self.tls_port}/api/chat-api"

    def connect(
        self, room: str, query: str = "", *, tls: ssl.SSLContext | None = None, **headers: str
    ) -> connect:
        """A client of the `websockets` package, which offers our subprotocol as a page does."""
        base = self.http if tls is None else self.https
        return connect(
            f"ws{base.removeprefix('http')}/ws/{room}{query}",
            additional_headers=headers,
            subprotocols=[SUBPROTOCOL],
            ssl=tls,
            proxy=None,
            ping_interval=None,
            open_timeout=DEADLINE,
        )

    async def pod_of_a_new_client(self, room: str) -> str:
        """Which pod the next client gets."""
        async with self.connect(room, "?events=system") as client:
            pod: str = (await receive(client))["data"]["pod_id"]
            return pod

    def close(self) -> None:
        """End it, and what it has started."""
        self._process.terminate()
        try:
            self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


@contextmanager
def proxy(
    kind: Kind,
    servers: TwoServers,
    directory: Path,
    *,
    certificate: Certificate | None = None,
    **changes: object,
) -> Iterator[Proxy]:
    """A proxy in front of two servers, with a certificate of its own unless one is given."""
    certificate = certificate or self_signed_certificate(directory)
    running = Proxy(kind, servers.running, directory, certificate, changes)
    try:
        yield running
    finally:
        running.close()


class TwoServers:
    """Two servers of one cluster, each with its port for as long as the test runs."""

    def __init__(self, urls: list[str], **environment: str) -> None:
        self._urls = urls
        self._environment = environment
        self.running: list[ServerProcess] = []
        for url in urls:
            self.running.append(self._start(url, free_port()))
        for server in self.running:
            server.wait_ready()

    def _start(self, url: str, port: int) -> ServerProcess:
        return ServerProcess(environment={"REDIS_URL": url, **self._environment}, port=port)

    def restart(self, index: int) -> None:
        """Stop one as a service manager does, and start it anew."""
        server = self.running[index]
        server.stop()
        server.close()
        self.running[index] = self._start(self._urls[index], server.port)
        self.running[index].wait_ready()

    def pod_ids(self) -> list[str]:
        """Of each server."""
        return [server.pod()["pod_id"] for server in self.running]

    def close(self) -> None:
        for server in self.running:
            server.close()
