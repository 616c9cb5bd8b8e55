"""Checks of a server at its URL, through whatever stands before it.

    GET /ready, GET /ws/stats ─→ answers
    WebSocket handshakes: plain, as a web page, held in silence ─→ what arrived of them

May live here: requests as a client makes them. Must not know which proxy stands there.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Origin

from ..errors import BadReport
from ..stats.report import PodReport, parse_report
from ..websocket.origin import ANY
from .certificates import certificate_shown
from .findings import Check, Finding, Status, Unanswerable, in_thread, judge

REQUEST_SECONDS = 7.0
"""The time for an answer. A server may take five seconds for its stats."""
MAX_BODY_BYTES = 64 * 1024 * 1024
HEARTBEAT = 60.0
"""The seconds of a heartbeat, if the server does not tell."""
SHOWN_CHARACTERS = 200

UPGRADE_MEND = (
    "nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
    "proxy_set_header Connection upgrade; (docs/proxies.md has the others)"
)
BAD_GATEWAY = (502, 503, 504)
"""The statuses with which proxies answer if they find no server."""
GATEWAY_MEND = (
    "start the server, or tell the proxy where it listens (nginx: the servers in upstream)"
)
TRUST_MEND = "SSL_CERT_FILE=ca.pem sanic-chat doctor …, if an authority of your own has signed it"
HOST_MEND = "nginx: proxy_set_header Host $http_host; Apache: ProxyPreserveHost On"


class Refusal(NamedTuple):
    """An answer to a handshake that is no 101."""

    status: int
    code: str
    """The code in the JSON of our own errors; empty in an answer of somebody else's."""
    text: str

    def __str__(self) -> str:
        return f"{self.status} {self.text}"[:SHOWN_CHARACTERS]


@dataclass(frozen=True, slots=True)
class Site:
    """A server as clients reach it."""

    http: str
    """Its URL with the prefix of its routes, without a slash at the end."""
    headers: dict[str, str] = field(default_factory=dict)
    """The headers that say who we are."""
    stats_headers: dict[str, str] = field(default_factory=dict)
    """The same for the stats."""
    origins: tuple[str, ...] = ()
    """The setting CHAT_ALLOWED_ORIGINS here."""
    idle: float = 0.0
    """The seconds for which an idle connection is held."""

    @property
    def ws(self) -> str:
        """A URL for a WebSocket in a room of our own, with events."""
        room = f"doctor-{secrets.token_hex(4)}"
        return f"ws{self.http.removeprefix('http')}/ws/{room}?events=system&echo=0"

    def is_listening(self) -> bool:
        """Whether somebody listens there, or at least nobody refuses a connection."""
        parts = urlsplit(self.http)
        where = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
        try:
            socket.create_connection(where, REQUEST_SECONDS).close()
        except ConnectionRefusedError:
            return False
        except OSError:
            pass  # which the checks tell of
        return True

    async def get(self, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        """Status and body of an answer. Raises OSError if there is none."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                return await in_thread(lambda: self._get(path, headers))
        except TimeoutError:
            raise TimeoutError(f"no whole answer within {REQUEST_SECONDS:g} s") from None

    def _get(self, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        request = Request(f"{self.http}{path}", headers=headers)
        try:
            opener = build_opener(ProxyHandler({}))
            with opener.open(request, timeout=REQUEST_SECONDS) as answer:
                return answer.status, _body(answer)
        except HTTPError as error:
            with error:
                return error.code, _body(error)
        except ValueError as error:  # an answer that is no HTTP
            raise OSError(str(error)) from None

    async def connect(self, origin: str | None = None) -> ClientConnection:
        """Open a WebSocket, as a page of `origin` if there is one. Raises OSError or Refused."""
        try:
            return await _Connect(
                self.ws,
                origin=None if origin is None else Origin(origin),
                additional_headers=self.headers,
                open_timeout=REQUEST_SECONDS,
                close_timeout=1,
                ping_interval=None,
                max_size=None,
                proxy=None,
            )
        except InvalidStatus as error:
            raise Refused(_refusal(error)) from None
        except InvalidHandshake as error:
            raise OSError(f"no WebSocket handshake: {error}") from None

    async def reports(self) -> tuple[PodReport, list[PodReport], int]:
        """The pod that answers, all pods that it knows of, and how many it cannot read.

        Raises Unanswerable.
        """
        where = f"{self.http}/ws/stats"
        try:
            status, body = await self.get("/ws/stats", self.stats_headers)
            if status in (401, 403):
                raise Unanswerable(f"{where} answers {status}: it takes a CHAT_API_KEY for read")
            stats = json.loads(body)
            pods = [
                parse_report(json.dumps({**pod, "largest_rooms": {}}).encode())
                for pod in stats["pods"]
            ]
            [own] = [pod for pod in pods if pod.pod_id == stats["answered_by"]]
            return own, pods, int(stats["unreadable_pods"])
        except OSError as error:
            cause = error.reason if isinstance(error, URLError) else error
            raise Unanswerable(f"{where} is not there: {cause}") from None
        except (ValueError, KeyError, TypeError, BadReport) as error:
            raise Unanswerable(f"{where} answers {status} and no stats: {error}") from None


class _Connect(connect):
    """A connection that follows no redirect, as those of browsers do not."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Refused(Exception):
    """A handshake was answered, and not with 101."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


def _body(answer: Any) -> bytes:
    """The body of an answer, which must not be too long, nor take too long."""
    deadline, body = time.monotonic() + REQUEST_SECONDS, bytearray()
    while part := answer.read1(65536):
        body += part
        if len(body) > MAX_BODY_BYTES or time.monotonic() > deadline:
            raise OSError(f"an answer of over {len(body)} bytes, or {REQUEST_SECONDS:g} s")
    return bytes(body)


def _refusal(error: InvalidStatus) -> Refusal:
    body, target = bytes(error.response.body or b""), error.response.headers.get("Location")
    code, message = _own_error(body)
    text = f"{code}: {message}" if code else body.decode(errors="replace").strip()
    if target is not None:
        text = f"leads to {target}, and no browser follows"
    return Refusal(error.response.status_code, code, text)


def _own_error(body: bytes) -> tuple[str, str]:
    """Code and sentence of an error of the server's own; empty if it is somebody else's."""
    with suppress(ValueError, KeyError, TypeError):
        found: dict[str, Any] = json.loads(body)
        return str(found["code"]), str(found["message"])
    return "", ""


def _nobody(site: Site, error: OSError, limit: str) -> Finding:
    """Why nothing that is sent to the URL is answered: no server, or one that is not trusted."""
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        told = f"the certificate at {site.http} is not trusted here: {cause.verify_message}"
        return Finding(Status.FAILURE, told, limit, TRUST_MEND)
    told = f"{site.http} is not there: {cause or 'no answer'}"
    return Finding(Status.FAILURE, told, limit, f"curl -i {site.http}/ready")


async def reachable(site: Site) -> Finding:
    """Whether a server of ours answers at the URL, and is ready."""
    limit, mend = "200 from /ready", f"curl -i {site.http}/ready"
    try:
        status, body = await site.get("/ready", site.headers)
    except OSError as error:
        return _nobody(site, error, limit)
    code, message = _own_error(body)
    if status == 503 and code:
        return Finding(Status.WARNING, f"503 {code}: {message}", limit, mend)
    with suppress(ValueError, KeyError, TypeError):
        if status == 200 and json.loads(body)["status"] == "ready":
            return Finding(Status.WELL, "200", limit)
    text = body.decode(errors="replace")[:SHOWN_CHARACTERS]
    mend = GATEWAY_MEND if status in BAD_GATEWAY else mend
    return Finding(Status.FAILURE, f"{status} {text}", limit, mend)


async def upgrade(site: Site) -> Finding:
    """Whether a WebSocket handshake arrives as one."""
    limit = "101"
    try:
        async with await site.connect():
            return Finding(Status.WELL, "101", limit)
    except Refused as refused:
        told = refused.refusal
        if told.code and told.status in (401, 403):
            return Finding(Status.WELL, f"it arrives, and is refused: {told}", limit)
        if told.code and told.status == 503:
            return Finding(Status.WARNING, str(told), limit, f"curl -i {site.http}/ready")
        mend = GATEWAY_MEND if told.status in BAD_GATEWAY else UPGRADE_MEND
        return Finding(Status.FAILURE, str(told), limit, mend)
    except OSError as error:
        return _nobody(site, error, limit)


async def host(site: Site) -> Finding:
    """Whether a web page may connect: one of an allowed origin, or of the URL's own host."""
    parts = urlsplit(site.http)
    named = [origin for origin in site.origins if origin != ANY]
    origin = named[0] if named else f"{parts.scheme}://{parts.netloc}"
    limit = f"101 for a page of {origin}"
    try:
        async with await site.connect(origin):
            return Finding(Status.WELL, "101", limit)
    except Refused as refused:
        told = refused.refusal
        if told.code == "forbidden_origin":
            return Finding(Status.FAILURE, str(told), limit, HOST_MEND)
        if told.code and told.status == 401:  # which is looked at after the origin
            return Finding(Status.WELL, f"it may, and is asked for a token: {told}", limit)
        raise Unanswerable(f"no handshake succeeds: {told}") from None
    except OSError as error:
        raise Unanswerable(f"no handshake succeeds: {error}") from None


async def idle(site: Site) -> Finding:
    """Whether a silent connection outlives the time between two of the server's pings."""
    try:
        client = await site.connect()
    except (Refused, OSError) as error:
        raise Unanswerable(f"no connection could be held: {error}") from None
    async with client:
        ping = await _ping_seconds(client)
        limit = f"{ping:g} s (half of CHAT_HEARTBEAT_TIMEOUT)"
        if not site.idle:
            raise Unanswerable(
                f"not tried: it takes longer than {ping:g} s; --idle {ping + 5:g} does"
            )
        began, messages = time.monotonic(), 0
        with suppress(TimeoutError, ConnectionClosed):
            async with asyncio.timeout(site.idle):
                while True:
                    await client.recv()
                    messages += 1
        held = time.monotonic() - began
        is_open = client.close_code is None
    beside = f", with {messages} messages meanwhile" if messages else ""
    if is_open and held <= ping:
        raise Unanswerable(f"held for {held:.1f} s{beside}, which is less than {limit}")
    return judge(
        is_open,
        f"held for {held:.1f} s{beside}" if is_open else f"cut off after {held:.1f} s{beside}",
        limit,
        f"nginx: proxy_read_timeout {max(75, ping * 1.25):.0f}s; or CHAT_HEARTBEAT_TIMEOUT="
        f"{max(1, held):.0f}",
    )


async def _ping_seconds(client: ClientConnection) -> float:
    """The silence after which the server sends a ping, as its welcome tells."""
    seconds = HEARTBEAT
    with suppress(TimeoutError, ConnectionClosed, ValueError, KeyError, TypeError):
        async with asyncio.timeout(REQUEST_SECONDS):
            seconds = float(json.loads(await client.recv())["data"]["heartbeat_seconds"])
    return seconds / 2


async def certificate(site: Site) -> Finding:
    """The end of the certificate that is shown at the URL."""
    parts = urlsplit(site.http)
    if parts.scheme != "https":
        raise Unanswerable("the URL does not begin with https")
    assert parts.hostname is not None  # who made the site has seen to it
    return await certificate_shown(parts.hostname, parts.port or 443)


CHECKS = (
    Check("url_reachable", "no client is served there, or only by other pods", reachable),
    Check("url_upgrade", "no WebSocket can be opened there", upgrade),
    Check("url_host", "web pages of the site's own host are refused", host),
    Check("url_idle", "silent clients are cut off, with 1006", idle),
    Check("url_certificate", "from that moment on nobody connects there", certificate),
)
