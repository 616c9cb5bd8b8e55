"""Checks of the Redis server: whether it is one for us, and set so that pods can live with it.

May live here: what Redis tells of itself. Must not know what its user may do, nor who listens.
"""

from __future__ import annotations

import math
import re
import time
from typing import NamedTuple

from ..broker.role import HELLO
from ..config.settings import Config
from ..errors import ConfigError
from ..redis_url import RedisURL
from .certificates import certificate_shown
from .findings import Check, Finding, Status, Unanswerable, judge
from .redis_probe import RedisProbe, text_of

CLI = 'redis-cli -u "$REDIS_URL"'
OLDEST = (6, 0)
LINKS_PER_POD = 3
PATIENT_SECONDS = 10
"""A lag of that many seconds is one that a pod does not cause itself: it holds for two at most."""
ROUND_TRIPS = 5
ROUND_TRIP_LIMIT_MS = 20


class Server(NamedTuple):
    """A Redis server, and what is expected of it."""

    probe: RedisProbe
    url: RedisURL
    config: Config
    away: str
    """The reason why it cannot be reached; empty if it can."""
    pods: int
    """The pods that report there, as far as that is known."""


async def reachable(server: Server) -> Finding:
    """Whether Redis lets us in, over the network, with TLS and password."""
    address = str(server.url)
    if server.away:
        measured = f"{address}: {server.away}"
        return Finding(Status.FAILURE, measured, "a connection that Redis accepts", f"{CLI} PING")
    return Finding(Status.WELL, f"{address} lets us in", "a connection that Redis accepts")


async def version(server: Server) -> Finding:
    """The version that Redis says it is."""
    told = server.probe.hello
    if not told:  # before 6.0, or the command is renamed
        info = await server.probe.info("server")
        told = {"version": info.get("redis_version", "")}
    name = info_name(told)
    found = re.match(r"(\d+)\.(\d+)", told.get("version", ""))
    if found is None:
        raise Unanswerable(f"Redis does not tell its version, but {told.get('version')!r}")
    return judge(
        (int(found[1]), int(found[2])) >= OLDEST,
        name,
        "6.0",
        "apt-get install redis-server",
        otherwise=Status.FAILURE,
    )


def info_name(hello: dict[str, str]) -> str:
    """The name and version of a server, in its own words."""
    return f"{hello.get('server', 'redis')} {hello.get('version', '')}"


async def role(server: Server) -> Finding:
    """Whether it is a primary, the only one where a publish reaches everybody."""
    hello = server.probe.hello
    limit = "a primary"
    if hello.get("mode") == "sentinel":
        masters = await _sentinel_masters(server.probe)
        return Finding(Status.FAILURE, f"a Sentinel{masters}", limit, f"{CLI} SENTINEL MASTERS")
    found = hello.get("role")
    if found is None:
        reply = await server.probe.value("ROLE")
        found = text_of(reply[0]) if isinstance(reply, list) and reply else ""
    if found in ("slave", "replica") and hello.get("mode") != "cluster":
        primary = await _primary(server.probe)
        return Finding(
            Status.FAILURE,
            f"a replica{' of ' + primary if primary else ''}",
            limit,
            f"export REDIS_URL=redis://{primary}" if primary else f"{CLI} ROLE",
        )
    return Finding(Status.WELL, found, limit)


async def _primary(probe: RedisProbe) -> str:
    try:
        told = await probe.info("replication")
    except Unanswerable:
        return ""
    host, port = told.get("master_host", ""), told.get("master_port", "")
    return f"{f'[{host}]' if ':' in host else host}:{port}" if host else ""


async def _sentinel_masters(probe: RedisProbe) -> str:
    try:
        told = await probe.info("sentinel")
    except Unanswerable:
        return ""
    found = re.search(r"name=([^,]+),.*?address=([^,]+)", told.get("master0", ""))
    return f", whose primary {found[1]} is at {found[2]}" if found else ""


async def cluster(server: Server) -> Finding:
    """Whether it is a node of a Cluster."""
    mode = server.probe.hello.get("mode")
    if mode is None:
        mode = (await server.probe.info("server")).get("redis_mode", "standalone")
    return judge(
        mode != "cluster",
        mode,
        "standalone",
        "export REDIS_URL=redis://HOST:6379, of a server without cluster-enabled",
    )


async def maxclients(server: Server) -> Finding:
    """The connections that Redis still takes, beside those that all pods make anew at once."""
    info = await server.probe.info("clients")
    most = int(info.get("maxclients") or await server.probe.config("maxclients"))
    connected = int(info["connected_clients"])
    more = LINKS_PER_POD * max(1, server.pods)
    needed = connected + more
    return judge(
        most >= needed,
        f"{connected} of {most} connections are taken",
        f"{needed}: {more} more, as in a restart of all pods",
        f"{CLI} CONFIG SET maxclients {max(10_000, 2 * needed)}",
    )


async def pubsub_buffer(server: Server) -> Finding:
    """The bound of what waits in Redis for a pod, beside what a pod lets wait on purpose."""
    words = (await server.probe.config("client-output-buffer-limit")).split()
    try:
        place = words.index("pubsub")
        hard, soft, seconds = (int(word) for word in words[place + 1 : place + 4])
    except ValueError:
        raise Unanswerable(f"client-output-buffer-limit is {' '.join(words)!r}") from None
    needed = 2 * server.config.backpressure_bytes
    is_patient = not soft or soft >= needed or seconds >= PATIENT_SECONDS
    return judge(
        (not hard or hard >= needed) and is_patient,
        f"pubsub {hard} {soft} {seconds}",
        f"0 or {needed} bytes (twice CHAT_BACKPRESSURE_BYTES), and {PATIENT_SECONDS} s",
        f"{CLI} CONFIG SET client-output-buffer-limit 'pubsub {4 * needed} {needed} 60'",
    )


async def timeout(server: Server) -> Finding:
    """The time after which Redis ends idle connections, beside that between two pings."""
    seconds = int(await server.probe.config("timeout"))
    needed = math.ceil(server.config.redis_timeout)
    return judge(
        seconds == 0 or seconds >= needed,
        f"timeout {seconds}",
        f"0 or {needed} s (CHAT_REDIS_TIMEOUT)",
        f"{CLI} CONFIG SET timeout 0",
    )


async def eviction(server: Server) -> Finding:
    """Whether Redis throws keys away when its memory is full."""
    policy = await server.probe.config("maxmemory-policy")
    most = int(await server.probe.config("maxmemory"))
    return judge(
        most == 0 or policy == "noeviction",
        f"maxmemory {most}, {policy}",
        "noeviction, or no maxmemory",
        f"{CLI} CONFIG SET maxmemory-policy noeviction",
    )


async def round_trip(server: Server) -> Finding:
    """The shortest of a few round trips to Redis."""
    times: list[float] = []
    for _ in range(ROUND_TRIPS):
        began = time.monotonic()
        await server.probe.ask(HELLO)  # which no ACL forbids
        times.append(time.monotonic() - began)
    best_ms = min(times) * 1000
    return judge(
        best_ms <= ROUND_TRIP_LIMIT_MS,
        f"{best_ms:.2f} ms",
        f"{ROUND_TRIP_LIMIT_MS} ms",
        f"{CLI} --latency",
    )


async def certificate(server: Server) -> Finding:
    """The end of the certificate that Redis shows."""
    if server.url.tls is None:
        raise Unanswerable("REDIS_URL does not begin with rediss://")
    return await certificate_shown(server.url.host, server.url.port)


def tls_files(url: str | None) -> tuple[list[str], list[str]]:
    """The files that a URL names: own certificates, and authorities."""
    try:
        tls = None if url is None else RedisURL.read(url).tls
    except ConfigError:
        tls = None
    if tls is None:
        return [], []
    return ([tls.certfile] if tls.certfile else []), ([tls.ca_certs] if tls.ca_certs else [])


CHECKS = (
    Check(
        "redis_reachable",
        "each pod serves only its own clients, and is not ready",
        reachable,
    ),
    Check("redis_version", "nothing older is tested, and it knows no ACL", version),
    Check(
        "redis_role",
        "what is published on a replica reaches no other pod, and a Sentinel passes nothing on",
        role,
    ),
    Check(
        "redis_cluster",
        "messages cross, but the stats of all pods are not kept",
        cluster,
    ),
    Check(
        "redis_maxclients",
        "a pod that Redis has no place for is deaf and mute",
        maxclients,
    ),
    Check(
        "redis_pubsub_buffer",
        "Redis cuts off a pod that is behind, and what it had for it is lost",
        pubsub_buffer,
    ),
    Check(
        "redis_timeout",
        "Redis ends connections between two pings, and pods connect anew again and again",
        timeout,
    ),
    Check(
        "redis_eviction",
        "pods' reports are keys with an expiry: those evicted are missing in the stats",
        eviction,
    ),
    Check(
        "redis_round_trip",
        "each message between pods takes at least as long",
        round_trip,
    ),
    Check(
        "redis_certificate",
        "from that moment on pods do not connect to Redis",
        certificate,
    ),
)
