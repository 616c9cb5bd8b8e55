"""The examination of a deployment: every check, with what it is to look at.

    Subjects (settings, URL, files) ─→ machine, Redis, pods, site ─→ questions ─→ examine ─→ answers

May live here: which check looks at what, and what is opened for them all. Must not know what a
check measures.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import hiredis

from ..broker.endpoint import Endpoint
from ..config.settings import Config
from ..protocol.channels import RedisNames
from ..redis_url import RedisURL
from ..stats.report import PodReport
from ..stats.store import ReportStore
from . import certificates, cluster, machine, redis_access, redis_server, site
from .findings import Answer, Check, Question, Unanswerable, examine, shared
from .redis_probe import NAME, RedisProbe

NO_REDIS = "there is no REDIS_URL: a server here starts its own Redis"
NO_SITE = "no server was asked (--url)"
STORE_SECONDS = 3.0
"""The time in which the place of the reports must have been reached."""
ALL_CHECKS: tuple[Check[Any], ...] = (
    machine.SETTINGS,
    *machine.CHECKS,
    *certificates.CHECKS,
    *redis_server.CHECKS,
    *redis_access.CHECKS,
    *cluster.CHECKS,
    *site.CHECKS,
)
"""Every check there is, in the order in which their answers are told."""


@dataclass(frozen=True, slots=True)
class Subjects:
    """Everything that there is to look at."""

    settings: machine.Settings
    config: Config
    """The settings, or the defaults if the settings are wrong."""
    site: site.Site | None
    certificates: Sequence[str] = ()
    """Files with certificates of servers here."""
    no_site: str = NO_SITE
    """The reason why no server is asked, if none is."""


class Examination:
    """One look at everything, side by side. Made inside a running loop, and run once."""

    def __init__(self, subjects: Subjects) -> None:
        self._subjects = subjects
        self._config = subjects.config
        url = subjects.config.redis_url
        self._probe = None if url is None else RedisProbe(Endpoint(url))
        self._away = shared(self._connect)
        self._reports = shared(self._read_reports)
        self._machine = shared(self._look_at_the_machine)
        self._redis = shared(self._look_at_redis)
        self._cluster = shared(self._look_at_the_cluster)

    async def run(self, ignored: Sequence[str] = ()) -> list[Answer]:
        """Return the answers of all checks but those of the `ignored` codes. Raises nothing."""
        try:
            return await examine(one for one in self._questions() if one.code not in ignored)
        finally:
            if self._probe is not None:
                await self._probe.close()

    def _questions(self) -> Iterator[Question]:
        yield machine.SETTINGS.of(self._settings)
        yield from (check.of(self._machine) for check in machine.CHECKS)
        yield from (check.of(self._files) for check in certificates.CHECKS)
        yield from (check.of(self._redis) for check in redis_server.CHECKS)
        yield from (check.of(self._access) for check in redis_access.CHECKS)
        yield from (check.of(self._cluster) for check in cluster.CHECKS)
        held = 0.0 if self._subjects.site is None else self._subjects.site.idle
        yield from (check.of(self._site, seconds=held + 20) for check in site.CHECKS)

    # -- subjects --------------------------------------------------------------------------

    async def _settings(self) -> machine.Settings:
        return self._subjects.settings

    async def _files(self) -> certificates.Files:
        own, authorities = redis_server.tls_files(self._config.redis_url)
        return certificates.Files([*self._subjects.certificates, *own], authorities)

    async def _site(self) -> site.Site:
        if self._subjects.site is None:
            raise Unanswerable(self._subjects.no_site)
        return self._subjects.site

    async def _access(self) -> redis_access.Access:
        if self._probe is None:
            raise Unanswerable(NO_REDIS)
        return redis_access.Access(
            self._probe.endpoint, self._config.redis_prefix, bool(self._config.api_keys)
        )

    async def _connect(self) -> str:
        """Open the connection to Redis; return the reason why there is none, or nothing."""
        if self._probe is None:
            raise Unanswerable(NO_REDIS)
        try:
            await self._probe.open()
        except OSError as error:
            return str(error)
        return ""

    async def _look_at_redis(self) -> redis_server.Server:
        away = await self._away()
        assert self._probe is not None
        assert self._config.redis_url is not None
        try:
            pods = len((await self._reports())[0])
        except Unanswerable:
            pods = 0
        url = RedisURL.read(self._config.redis_url)
        return redis_server.Server(self._probe, url, self._config, away, pods)

    async def _look_at_the_machine(self) -> machine.Machine:
        try:
            pods, _, _ = await self._reports()
        except Unanswerable:
            pods = []
        here = [
            pod.pid for pod in pods if pod.host == socket.gethostname() and pod.draining is not True
        ]
        pids = [pid for pid in here if isinstance(pid, int)]
        # A worker that has died is told of for some seconds, beside the one that took its place.
        gone = len(pids) - len(machine.running(pids))
        return machine.Machine(self._config, len(here) - gone or None, pids)

    async def _look_at_the_cluster(self) -> cluster.Cluster:
        pods, unreadable, asked = await self._reports()
        away = NO_REDIS if self._probe is None else await self._away()
        return cluster.Cluster(
            pods=pods,
            unreadable=unreadable,
            read=self._read_pods,
            prefix=self._config.redis_prefix,
            probe=None if away else self._probe,
            unprobed=away if self._probe is None else f"Redis cannot be asked: {away}",
            asked=asked,
        )

    # -- reports ---------------------------------------------------------------------------

    async def _read_reports(self) -> tuple[Sequence[PodReport], int, PodReport | str]:
        """The reports of all pods, how many cannot be read, and who answers at the URL, or why not.

        They are those on Redis, or those that the server tells if there are none to be read.
        """
        asked: PodReport | str
        told: tuple[Sequence[PodReport], int] | None = None
        try:
            asked, pods, unreadable = await (await self._site()).reports()
            told = pods, unreadable
        except Unanswerable as reason:
            asked = why = str(reason)
        if self._probe is not None:
            try:
                told = await self._stored()
            except Unanswerable as reason:
                why = str(reason)
        if told is None:
            raise Unanswerable(why)
        return (*told, asked)

    async def _read_pods(self) -> tuple[Sequence[PodReport], int]:
        pods, unreadable, _ = await self._read_reports()
        return pods, unreadable

    async def _stored(self) -> tuple[Sequence[PodReport], int]:
        """The reports on Redis, and how many of them cannot be read."""
        config = self._config
        assert self._probe is not None
        if away := await self._away():
            raise Unanswerable(f"Redis cannot be asked: {away}")
        if self._probe.wrong:
            raise Unanswerable(f"no pod reports to this server: {self._probe.wrong}")
        if self._probe.hello.get("mode") == "cluster":
            raise Unanswerable("a node of a Cluster does not keep the reports of pods")
        store = ReportStore(
            Endpoint(config.redis_url or ""),
            RedisNames(config.redis_prefix),
            client_name=NAME,
            interval=config.stats_interval,
            timeout=config.redis_timeout,
            on_read_only=lambda _: None,
        )
        pods: list[PodReport] = []
        is_up = asyncio.Event()
        try:
            await store.start(is_up.set)
            async with asyncio.timeout(STORE_SECONDS):
                await is_up.wait()
            return pods, await store.read(pods.append)
        except (hiredis.ReplyError, OSError) as error:
            why = str(error) or f"not within {STORE_SECONDS:g} s"
            raise Unanswerable(f"the reports of pods cannot be read from Redis: {why}") from None
        finally:
            await store.close()
