"""Checks of all pods beside each other: whether they are one deployment, and who else is there.

    reports of all pods ─→ alike, but for the odd one
    subscribers on Redis ─→ less those pods ─→ foreign ones

May live here: comparisons of pods. Must not know how their reports were got.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from msgspec import UNSET

from ..protocol.channels import RedisNames
from ..stats.report import PodReport
from .findings import Check, Finding, Status, Unanswerable, judge
from .redis_probe import RedisProbe, text_of

NAMED = 3
"""The pods of a kind, or the listeners, that are named."""
SETTLE_SECONDS = 1.5
"""The time in which a pod that has just come has reported, and one that goes has left."""

_SUBSCRIBER = re.compile(r"sanic_chat:(.+):subscriber")


@dataclass(frozen=True, slots=True)
class Cluster:
    """The pods of a deployment, as they report."""

    pods: Sequence[PodReport]
    unreadable: int
    """The pods whose reports cannot be read."""
    read: Callable[[], Awaitable[tuple[Sequence[PodReport], int]]]
    """Reads `pods` and `unreadable` anew."""
    prefix: str
    probe: RedisProbe | None
    """A connection to the Redis that they share, if there is one."""
    asked: PodReport | str
    """The pod that has answered at the URL of a server, or the reason why there is none."""
    unprobed: str = ""
    """The reason why there is no `probe`."""


# -- alike? --------------------------------------------------------------------------------------


async def ready(cluster: Cluster) -> Finding:
    """Whether all pods that do not drain are ready, and can be read; also a little later."""
    finding = _ready(_some(cluster), cluster.unreadable)
    if finding.status is not Status.WELL:
        await asyncio.sleep(SETTLE_SECONDS)
        finding = _ready(*await cluster.read())
    return finding


def _ready(pods: Sequence[PodReport], unreadable: int) -> Finding:
    unready = [pod for pod in pods if pod.ready is False and pod.draining is not True]
    draining = sum(pod.draining is True for pod in pods)
    told = [f"{len(pods) - len(unready) - draining} of {len(pods)} ready"]
    if draining:
        told.append(f"{draining} draining")
    if unready:
        told.append(f"not ready: {_names(unready)}")
    if unreadable:
        told.append(f"{unreadable} unreadable")
    return judge(
        not unready and not unreadable,
        ", ".join(told),
        "all that do not drain",
        "sanic-chat stats --json",
    )


def versions(cluster: Cluster) -> Finding:
    """Whether all pods are of one version."""
    return _alike(
        cluster,
        lambda pod: "a version before 0.1.0" if pod.version is UNSET else pod.version,
        "one version",
        "pip install -U sanic_chat, and restart the odd one",
    )


def settings(cluster: Cluster) -> Finding:
    """Whether all pods have the same settings, but for secrets and POD_ID."""
    return _alike(
        cluster,
        lambda pod: "settings that are not told" if pod.settings is UNSET else pod.settings,
        "one fingerprint",
        "sanic-chat config --changed, on both hosts; and CHAT_REDIS_PREFIX for another deployment",
    )


def auth(cluster: Cluster) -> Finding:
    """Whether all pods ask for tokens, or none does."""
    return _alike(
        cluster,
        lambda pod: "not told" if pod.auth is UNSET else "tokens" if pod.auth else "no tokens",
        "the same on all",
        "AUTH_ENABLED=1, and restart those that ask for none",
    )


def _alike(cluster: Cluster, tell: Callable[[PodReport], str], limit: str, mend: str) -> Finding:
    kinds: dict[str, list[PodReport]] = {}
    for pod in _some(cluster):
        kinds.setdefault(tell(pod), []).append(pod)
    if len(kinds) == 1:
        [(kind, pods)] = kinds.items()
        where = f"all {len(pods)} pods" if len(pods) > 1 else "the only pod"
        return Finding(Status.WELL, f"{kind} on {where}", limit)
    rarest_first = sorted(kinds.items(), key=lambda kind: len(kind[1]))
    measured = "; ".join(f"{kind} on {_names(pods)}" for kind, pods in rarest_first[: NAMED + 1])
    return Finding(Status.WARNING, measured, limit, mend)


def _some(cluster: Cluster) -> Sequence[PodReport]:
    if not cluster.pods and not cluster.unreadable:
        raise Unanswerable("no pod reports")
    return cluster.pods


def _names(pods: Sequence[PodReport]) -> str:
    return _few(
        pod.pod_id if pod.host is UNSET else f"{pod.pod_id} ({pod.host}, PID {pod.pid})"
        for pod in pods
    )


def same_redis(cluster: Cluster) -> Finding:
    """Whether the server at the URL is one of those that report to REDIS_URL."""
    if isinstance(cluster.asked, str):
        raise Unanswerable(cluster.asked)
    if cluster.probe is None:
        raise Unanswerable(cluster.unprobed)
    own = cluster.asked.pod_id
    return judge(
        any(pod.pod_id == own for pod in cluster.pods),
        f"pod {own} answers there, and {len(cluster.pods)} report to {cluster.prefix}:pods",
        "it is one of them",
        "sanic-chat config: REDIS_URL and CHAT_REDIS_PREFIX as that server has them",
    )


# -- who else? -----------------------------------------------------------------------------------


class _Subscriber(NamedTuple):
    """A connection that subscribes, as CLIENT LIST tells of it."""

    name: str
    address: str
    database: str
    patterns: int

    @property
    def pod_id(self) -> str | None:
        found = _SUBSCRIBER.fullmatch(self.name)
        return found[1] if found else None

    def __str__(self) -> str:
        return f"{self.name or 'without a name'} ({self.address}, database {self.database})"


async def deployments(cluster: Cluster) -> Finding:
    """Pods that hear the channels of this deployment, and do not report where its pods do.

    So does another deployment of the same prefix with another database number.
    """
    probe, names = _redis(cluster), RedisNames(cluster.prefix)

    async def measure(pods: Sequence[PodReport]) -> list[str]:
        known = {pod.pod_id for pod in pods}
        others = [one for one in await _subscribers(probe) if one.pod_id not in (None, *known)]
        heard = await _heard(probe, [names.pod_channel(one.pod_id or "") for one in others])
        return [str(one) for one, count in zip(others, heard, strict=True) if count]

    found = await _settled(cluster, measure)
    return judge(
        not found,
        f"{len(cluster.pods)} pods, all of which report"
        if not found
        else f"{len(found)} pods listen there and report elsewhere: {_few(found)}",
        f"all that listen to {cluster.prefix}:… report to {cluster.prefix}:pods",
        "CHAT_REDIS_PREFIX=another for the other deployment",
    )


async def listeners(cluster: Cluster) -> Finding:
    """Listeners that are no pods: to global messages, or to everything by a pattern."""
    probe, names = _redis(cluster), RedisNames(cluster.prefix)
    own_channel = names.pod_channel(f"doctor-{secrets.token_hex(4)}")

    async def measure(pods: Sequence[PodReport]) -> list[str]:
        found: list[str] = []
        # Who hears a channel that nobody can know subscribes to a pattern of everything.
        everything = int(await probe.value("PUBLISH", own_channel, ""))
        if everything:
            found.append(f"{everything} hear everything, by PSUBSCRIBE")
        [on_global] = await _heard(probe, [names.global_channel])
        try:
            subscribers = await _subscribers(probe)
        except Unanswerable:
            subscribers = []
        known = {pod.pod_id for pod in pods}
        silent = {one.pod_id for one in subscribers} - {None, *known}
        if on_global > len(known) + len(silent):
            found.append(f"{on_global - len(known)} hear {cluster.prefix}:global and are no pods")
        if found:
            others = [str(one) for one in subscribers if one.pod_id is None]
            found.append(f"of these listeners: {_few(others)}" if others else "nobody is named")
        return found

    found = await _settled(cluster, measure)
    patterns = int(await probe.value("PUBSUB", "NUMPAT"))
    return judge(
        not found,
        "; ".join(found) if found else f"pods only; {patterns} patterns of other channels",
        "pods only",
        'redis-cli -u "$REDIS_URL" CLIENT LIST TYPE pubsub',
    )


def _redis(cluster: Cluster) -> RedisProbe:
    if cluster.probe is None:
        raise Unanswerable(cluster.unprobed)
    if cluster.probe.hello.get("mode") == "cluster":
        raise Unanswerable("Redis is a node of a Cluster, and knows its own subscribers only")
    return cluster.probe


async def _settled(
    cluster: Cluster, measure: Callable[[Sequence[PodReport]], Awaitable[list[str]]]
) -> list[str]:
    """Measure; and once more a little later if anything is found, since pods come and go."""
    if await measure(cluster.pods):
        await asyncio.sleep(SETTLE_SECONDS)
        return await measure((await cluster.read())[0])
    return []


async def _heard(probe: RedisProbe, channels: Sequence[bytes]) -> list[int]:
    """The number of those who subscribe to each of these channels, by name."""
    if not channels:
        return []
    told = await probe.value("PUBSUB", "NUMSUB", *channels)
    return [int(count) for count in told[1::2]]


async def _subscribers(probe: RedisProbe) -> list[_Subscriber]:
    lines = text_of(await probe.value("CLIENT", "LIST", "TYPE", "pubsub")).splitlines()
    found: list[_Subscriber] = []
    for line in lines:
        fields = dict(field.partition("=")[::2] for field in line.split(" "))
        if fields.get("sub") != "0" or fields.get("psub") != "0":
            found.append(
                _Subscriber(
                    fields.get("name", ""),
                    fields.get("addr", ""),
                    fields.get("db", ""),
                    int(fields.get("psub", "0")),
                )
            )
    return found


def _few(names: Iterable[str]) -> str:
    named = list(names)
    more = len(named) - NAMED
    return ", ".join(named[:NAMED]) + (f" and {more} more" if more > 0 else "")


CHECKS = (
    Check(
        "pods_ready",
        "such a pod does not reach the others, or is not sent clients",
        ready,
    ),
    Check(
        "pods_version",
        "clients are served differently by the pod that they happen to reach",
        versions,
    ),
    Check(
        "pods_settings",
        "a pod was started with other settings, or another deployment uses the same prefix",
        settings,
    ),
    Check(
        "pods_auth",
        "who needs a token at one pod gets in without one at another",
        auth,
    ),
    Check(
        "same_redis",
        "what is found of Redis and pods is not about that server",
        same_redis,
    ),
    Check(
        "deployments",
        "its clients get our messages and ours get theirs, since pub/sub knows no database numbers",
        deployments,
    ),
    Check(
        "listeners",
        "it hears what clients say, and counts as a subscriber in what PUBLISH answers",
        listeners,
    ),
)
