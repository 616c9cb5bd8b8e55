"""The alerts: each one fires for its fault, and for no other; and what they name is told."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from jwt import encode

from sanic_chat.stats.prometheus import FAMILIES
from sanic_chat.stats.worker_families import DROP_REASONS

from ..support import promtool
from ..support.clients import running_server
from ..support.harness import DEADLINE, ROOT, RedisProcess, ServerProcess, eventually
from ..support.metrics import Labels, Scrape, scrape
from ..support.promtool import RULES, Change, Fault, Series, assert_alerts, series_of

ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load(RULES.read_text())["groups"]
    for rule in group["rules"]
}
DROPPED, REFUSED, ENDS = "messages_dropped_total", "upgrades_refused_total", "worker_ends_total"
LOST = (
    "publish_queue_full", "publish_expired", "publish_unconfirmed", "publish_refused",
    "pod_behind", "bad_envelope",
)  # fmt: skip
SECRET = "s" * 32
NOT_READ = ("slow_consumer", "overload")


def token() -> dict[str, str]:
    text = encode({"sub": "anna", "exp": time.time() + 600}, SECRET)
    return {"Authorization": f"Bearer {text}"}


@pytest.fixture(scope="module")
def server(own_redis: RedisProcess) -> Iterator[ServerProcess]:
    """A server with two workers, and with bounds that a test can reach."""
    with running_server(
        workers=2,
        REDIS_URL=own_redis.url,
        CHAT_PUBLISH_QUEUE_SECONDS="0.5",
        AUTH_ENABLED="1",
        AUTH_SECRET=SECRET,
    ) as server:
        yield server


@pytest.fixture(scope="module")
def healthy(server: ServerProcess) -> Series:
    """What it tells when all is well."""

    async def find() -> Scrape:
        return await eventually(
            lambda: found if (found := scrape(server)).sum("ready") == 2 else None, "all is well"
        )

    return series_of(asyncio.run(find()))


Changes = dict[tuple[str, Labels], Change]


class Situation:
    """What is changed of what a healthy server tells."""

    def __init__(self, healthy: Series) -> None:
        self.healthy = healthy
        self.changes: Changes = {}

    def __call__(
        self,
        metric: str,
        *,
        to: float | None = None,
        by: float = 0,
        grows: float = 0,
        **labels: str,
    ) -> Situation:
        """Change the series of a metric with these labels: to a value, by so much, growing."""
        name = metric if metric == "up" else f"sanic_chat_{metric}"
        found = {
            key: Change(value + by if to is None else to, grows)
            for key, value in self.healthy.items()
            if key[0] == name and labels.items() <= key[1]
        }
        assert found, (metric, labels)
        self.changes |= found
        return self

    def takes(self, metric: str, seconds: float) -> Situation:
        """Have all new values of a histogram be that large."""
        self.changes |= {
            key: Change(value, 60.0)
            for key, value in self.healthy.items()
            if key[0] == f"sanic_chat_{metric}_count"
            or (key[0] == f"sanic_chat_{metric}_bucket" and float(dict(key[1])["le"]) >= seconds)
        }
        return self

    def vanishes(self) -> Situation:
        """Have it tell nothing any more."""
        self.changes = dict.fromkeys(self.healthy, Change(None))
        return self

    def fault(self, name: str, *alerts: str) -> Fault:
        """Name it, with the alerts that there are to be."""
        return Fault(name, set(alerts), self.changes)


Well = Callable[[], Situation]


def of_the_server(well: Well) -> Iterator[Fault]:
    yield well()("up", to=0).fault("no answer", "SanicChatDown")
    yield well().vanishes().fault("not asked", "SanicChatDown")
    yield well()("workers", to=1).fault("one of two", "SanicChatWorkersMissing")
    for reason in ("died", "hung", "not_made"):
        yield well()(ENDS, reason=reason, by=1).fault(reason, "SanicChatWorkersDie")
    reload = well()(ENDS, reason="replaced", by=2)(ENDS, reason="stopped", by=2)("workers", to=4)
    reload("draining", worker="0", to=1)("unready", worker="0", reason="draining", to=1)
    yield reload(REFUSED, code="draining", worker="0", grows=12).fault("a reload")
    hang = well()("snapshot_age_seconds", worker="1", grows=60)
    yield hang.fault("a hang", "SanicChatWorkerHangs")
    refused = well()("last_reload_refused", to=1)
    yield refused.fault("a refused reload", "SanicChatReloadRefused")
    lag = well().takes("event_loop_lag_seconds", 0.5)
    yield lag.fault("lag", "SanicChatLoopLags")
    failed = well()("sessions_failed_total", worker="0", by=1)
    yield failed.fault("an error of ours", "SanicChatSessionsFail")


def of_redis(well: Well) -> Iterator[Fault]:
    for reason in ("no_redis", "redis_refuses", "wrong_redis"):
        alone = well()("unready", reason=reason, to=1)("ready", to=0)("redis_outage", to=1)
        yield alone("proof_age_seconds", grows=60).fault(reason, "SanicChatRedisDown")
    deaf = well()("unready", worker="0", reason="proof_overdue", to=1)
    yield deaf("proof_age_seconds", worker="0", grows=60).fault("deaf", "SanicChatProofOverdue")
    slow = well().takes("proof_round_trip_seconds", 0.5)
    yield slow.fault("a slow Redis", "SanicChatRedisSlow")


def of_messages(well: Well) -> Iterator[Fault]:
    for reason in LOST:
        lost = well()(DROPPED, reason=reason, worker="0", by=1)
        yield lost.fault(reason, "SanicChatMessagesLost")
    for reason in NOT_READ:
        few, many = (
            well()("deliveries_total", grows=6000)(DROPPED, reason=reason, grows=drops)
            for drops in (40, 80)
        )
        yield few.fault(f"few {reason}")
        yield many.fault(f"many {reason}", "SanicChatClientsSlow")
    closed = well()("closes_total", code="1013", reason="server", worker="0", by=20)
    yield closed.fault("closed as slow", "SanicChatClientsSlow")
    held = well()("backpressure_held", worker="0", to=3)
    yield held.fault("held", "SanicChatSendersHeld")
    mistakes = well()
    for reason in set(DROP_REASONS).difference(LOST, NOT_READ):
        mistakes(DROPPED, reason=reason, grows=100)
    yield mistakes.fault("mistakes of clients")


def of_clients(well: Well) -> Iterator[Fault]:
    full = well()("max_connections", to=1000)
    yield full("connections", worker="0", to=950).fault("nearly full", "SanicChatNearlyFull")
    half = well()("max_connections", to=1000)
    yield half("connections", to=500).fault("half full")
    files = well()("process_max_fds", to=1000)("process_open_fds", worker="1", to=850)
    yield files.fault("files", "SanicChatDescriptorsNearlyGone")
    for code in ("too_many_connections", "no_descriptors"):
        yield well()(REFUSED, code=code, worker="0", by=1).fault(code, "SanicChatNoPlace")
    for code in ("unauthorized", "token_expired", "forbidden_origin", "bad_room"):
        few, many = (
            well()(REFUSED, code=code, grows=60)("handshake_seconds_count", grows=accepted)
            for accepted in (200, 20)
        )
        yield few.fault(f"few {code}")
        yield many.fault(f"many {code}", "SanicChatRefusesMany")


def of_keys(well: Well) -> Iterator[Fault]:
    none = well()("unready", worker="0", reason="no_keys", to=1)("ready", worker="0", to=0)
    yield none.fault("no keys", "SanicChatNoKeys")
    for grows, alerts in ((0.5, ()), (1, ("SanicChatKeysStale",))):
        stale = well()("keys_failures_total", worker="0", grows=grows)
        yield stale.fault(f"{grows} failures a minute", *alerts)


def a_busy_day(well: Well) -> Iterator[Fault]:
    day = well()("deliveries_total", grows=6000)("messages_received_total", grows=600)
    day("handshake_seconds_count", grows=60)("connections", to=10_000)
    day("closes_total", code="1000", reason="client", grows=60)
    day("process_open_fds", to=10_100)("process_max_fds", to=20_000)
    day.takes("event_loop_lag_seconds", 0.01).takes("proof_round_trip_seconds", 0.05)
    yield day.fault("a busy day")


def test_each_alert_has_its_fault(healthy: Series, tmp_path: Path) -> None:
    """It fires for it, and for no other; and none fires while all is well."""
    kinds = (of_the_server, of_redis, of_messages, of_clients, of_keys, a_busy_day)
    faults = [fault for kind in kinds for fault in kind(lambda: Situation(healthy))]
    assert set().union(*(fault.alerts for fault in faults)) == ALERTS.keys()
    assert_alerts(healthy, faults, tmp_path)


def test_the_check_finds_what_it_looks_for(healthy: Series, tmp_path: Path) -> None:
    """An alert too many, and one too few, is a failure."""
    down = Situation(healthy)("up", to=0).changes
    for alerts in (set(), {"SanicChatDown", "SanicChatNoPlace"}):
        with pytest.raises(AssertionError, match="SanicChatDown"):
            assert_alerts(healthy, [Fault("wrong", alerts, down)], tmp_path)


# -- real faults -----------------------------------------------------------------------------------


def fault_between(name: str, before: Series, after: Series, alerts: set[str]) -> Fault:
    """What a server told after a fault, as a fault; what it told before stays as it was."""
    now = {key: Change(after.get(key)) for key in before}
    return Fault(name, alerts, now)


async def when(server: ServerProcess, condition: Callable[[Scrape], bool], what: str) -> Series:
    """What it tells once that is so."""
    return series_of(
        await eventually(lambda: found if condition(found := scrape(server)) else None, what)
    )


async def test_a_worker_is_killed_and_then_redis(
    server: ServerProcess, own_redis: RedisProcess, healthy: Series, tmp_path: Path
) -> None:
    """A ticket for the one; for the other a page, and a ticket for what was said meanwhile."""
    os.kill(server.worker_pids[0], signal.SIGKILL)
    replaced = await when(
        server,
        lambda it: it.sum("ready") == 2 and it.sum("worker_ends_total") == 1,
        "it is replaced",
    )
    died = fault_between("a worker is killed", healthy, replaced, {"SanicChatWorkersDie"})
    own_redis.kill()
    try:
        async with server.connect("alone", headers=token()) as client:
            await client.send(json.dumps({"data": "to nobody"}))
            alone = await when(
                server,
                lambda it: (
                    it.sum("messages_dropped_total", reason="publish_expired") > 0
                    and it.sum("unready", reason="no_redis") == 2
                ),
                "what was said has waited for too long",
            )
    finally:
        own_redis.start()
    alerts = {"SanicChatRedisDown", "SanicChatMessagesLost"}
    assert_alerts(healthy, [died], tmp_path)
    assert_alerts(replaced, [fault_between("Redis is killed", replaced, alone, alerts)], tmp_path)
    await eventually(lambda: scrape(server).sum("ready") == 2, "all is well again")


async def test_clients_are_refused(shared_redis: RedisProcess, tmp_path: Path) -> None:
    """A page where there is no place for them; a ticket where their tokens are wrong."""
    settings = {"AUTH_ENABLED": "1", "AUTH_SECRET": SECRET, "CHAT_MAX_CONNECTIONS": "2"}
    with running_server(REDIS_URL=shared_redis.url, **settings) as server:
        before = await when(server, lambda it: it.sum("ready") == 1, "all is well")
        request = {
            "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }  # fmt: skip
        async with httpx.AsyncClient(headers=request, timeout=DEADLINE) as client:
            for _ in range(120):
                assert (await client.get(f"{server.http}/ws")).status_code == 401
            strangers = await when(
                server, lambda it: it.sum("upgrades_refused_total") == 120, "all are counted"
            )
            async with server.connect(headers=token()), server.connect(headers=token()):
                assert (await client.get(f"{server.http}/ws", headers=token())).status_code == 503
                full = await when(
                    server,
                    lambda it: it.sum("upgrades_refused_total", code="too_many_connections") == 1,
                    "it is counted",
                )
    assert_alerts(
        before, [fault_between("strangers", before, strangers, {"SanicChatRefusesMany"})], tmp_path
    )
    alerts = {"SanicChatNoPlace", "SanicChatNearlyFull"}
    assert_alerts(strangers, [fault_between("full", strangers, full, alerts)], tmp_path)


# -- what the files name ---------------------------------------------------------------------------


def test_promtool_likes_them() -> None:
    """The rules, and the configuration that leads to them."""
    for command, file in (("rules", RULES), ("config", RULES.with_name("prometheus.yml"))):
        done = promtool.run("check", command, str(file))
        assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_every_metric_of_the_alerts_is_told(healthy: Series) -> None:
    """By a real server, with the labels that they look for."""
    for name, rule in ALERTS.items():
        assert list(promtool.unknown(rule["expr"], healthy)) == [], name


def test_what_the_page_names() -> None:
    """Every metric is one, and every line of the log is one that the server writes."""
    page = (ROOT / "docs/alarms.md").read_text()
    assert set(re.findall(r"sanic_chat_\w+", page)) <= {one.sample_name for one in FAMILIES}
    source = "".join(path.read_text() for path in (ROOT / "sanic_chat").rglob("*.py"))
    lines = "Closed a client with 1011", "died with exit code", "Restarting in"
    for line in (*lines, "The reload is refused"):
        assert f"`{line}" in page
        assert line in source


def test_what_is_unknown_is_found(healthy: Series) -> None:
    expression = 'sanic_chat_nothing + sanic_chat_unready{reason=~"draining|moody"}'
    assert list(promtool.unknown(expression, healthy)) == [
        "sanic_chat_nothing", 'sanic_chat_unready{reason="moody"}',
    ]  # fmt: skip


def test_every_alert_is_on_the_page() -> None:
    """Each has a chapter that says what it means, what to look at, and what to do."""
    page = (ROOT / "docs/alarms.md").read_text()
    chapters = dict(re.findall(r"^### (SanicChat\w+)\n(.*?)(?=^##|\Z)", page, re.M | re.S))
    assert list(chapters) == list(ALERTS)
    for name, chapter in chapters.items():
        for part in ("Means", "Look at", "Do"):
            assert f"**{part}**" in chapter, name
    table = dict(re.findall(r"^\| \[(\w+)\]\(#\w+\) \| (page|ticket) \|", page, re.M))
    assert table == {name: rule["labels"]["severity"] for name, rule in ALERTS.items()}
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook"] == f"docs/alarms.md#{name.lower()}"
