"""Times and sizes in conf/ that have to fit the settings: none of them can drift from these."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from sanic_chat.config.settings import Config
from sanic_chat.process.descriptors import RESERVED, USUAL_CLIENTS
from sanic_chat.process.embedded_redis import server_options
from sanic_chat.serving.main_process import STOP_MARGIN_SECONDS

from ..support.deployment import (
    CONF,
    compose_services,
    config_of,
    kubernetes_server,
    redis_options,
    unit_options,
)

SLACK_SECONDS = 3.0
"""The time that processes need to end, beside what they wait for."""
WATCH_SHARE = 1.2
"""The share of CHAT_HANG_TIMEOUT within which a worker that hangs is killed (docs/stopping.md)."""
DEFAULTS = Config()


def seconds(text: str) -> float:
    """A time as compose and HAProxy have it."""
    number, unit = re.fullmatch(r"(\d+)(s|m)", text).groups()
    return int(number) * {"s": 1, "m": 60}[unit]


def longest_stop(config: Config) -> float:
    """The time after which the main process has killed what has not stopped."""
    return config.drain_grace + config.drain_timeout + STOP_MARGIN_SECONDS


def servers_of_compose() -> Iterator[dict]:
    for name, service in compose_services().items():
        if name != "redis":
            yield service


# -- stopping ------------------------------------------------------------------------------------


def test_systemd_waits_for_the_drain() -> None:
    """A service manager kills nobody who drains."""
    [allowed] = unit_options()["TimeoutStopSec"]
    assert float(allowed) >= longest_stop(DEFAULTS) + SLACK_SECONDS


def test_compose_waits_for_the_drain() -> None:
    for service in servers_of_compose():
        allowed = seconds(service["stop_grace_period"])
        assert allowed >= longest_stop(config_of(service["environment"])) + SLACK_SECONDS


def test_kubernetes_waits_for_the_drain() -> None:
    pod, container = kubernetes_server()
    allowed = pod["terminationGracePeriodSeconds"]
    assert allowed >= longest_stop(kubernetes_config(container)) + SLACK_SECONDS


def kubernetes_config(container: dict) -> Config:
    return config_of({one["name"]: one["value"] for one in container["env"] if "value" in one})


def test_the_window_of_kubernetes_is_all_used() -> None:
    """The window is what the time allows, and its clients leave no faster than they can come."""
    _, container = kubernetes_server()
    config = kubernetes_config(container)
    assert config.drain_window == pytest.approx(config.drain_timeout * 0.6)
    assert config.max_connections / config.drain_window < 1000


# -- checks --------------------------------------------------------------------------------------


def test_the_grace_is_longer_than_the_checks() -> None:
    """By the first close frame everybody has noticed that the server takes no new clients."""
    _, container = kubernetes_server()
    probe = container["readinessProbe"]
    noticed = probe["periodSeconds"] * probe["failureThreshold"]
    assert kubernetes_config(container).drain_grace > noticed

    haproxy = (CONF / "haproxy/haproxy.cfg").read_text()
    interval, failures = re.search(r"check inter (\d+)s fall (\d+)", haproxy).groups()
    for service in servers_of_compose():
        config = config_of(service["environment"])
        assert config.drain_grace > int(interval) * int(failures)


def test_nobody_restarts_what_the_watchdog_replaces() -> None:
    """A liveness probe gives the server time to kill a worker that hangs, and to start another."""
    _, container = kubernetes_server()
    probe = container["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > (
        DEFAULTS.hang_timeout * WATCH_SHARE + SLACK_SECONDS
    )
    dockerfile = (CONF / "docker/Dockerfile").read_text()
    interval = re.search(r"--interval=(\d+s)", dockerfile)[1]
    retries = re.search(r"--retries=(\d+)", dockerfile)[1]
    assert seconds(interval) * int(retries) > DEFAULTS.hang_timeout * WATCH_SHARE + SLACK_SECONDS


# -- silence -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("nginx/sanic_chat.conf", r"proxy_read_timeout (\d+)s"),
        ("nginx/sanic_chat.conf", r"proxy_send_timeout (\d+)s"),
        ("haproxy/haproxy.cfg", r"timeout tunnel (\d+)s"),
        ("apache/sanic_chat.conf", r" timeout=(\d+)"),
    ],
)
def test_proxies_wait_for_pings(file: str, pattern: str) -> None:
    """Twice as long as a silent client is left alone, and longer than it is waited for."""
    found = re.findall(pattern, (CONF / file).read_text())
    assert found
    for one in found:
        assert int(one) > DEFAULTS.heartbeat_timeout


# -- sizes ---------------------------------------------------------------------------------------


def test_files_are_enough_for_the_clients() -> None:
    """Each may be opened by a worker with as many clients as it is expected to have."""
    needed = (DEFAULTS.max_connections or USUAL_CLIENTS) + 2 * RESERVED
    [limit] = unit_options()["LimitNOFILE"]
    assert int(limit) >= needed
    for service in servers_of_compose():
        assert service["ulimits"]["nofile"] >= needed


def test_memory_is_enough_for_the_clients() -> None:
    """As was measured: a main process, a worker with so many, its queues at their bounds."""
    _, container = kubernetes_server()
    config = kubernetes_config(container)
    page = (CONF.parent / "benchmarks/README.md").read_text()
    base, each = re.search(r"\| ([\d.]+) MiB \+ ([\d.]+) KiB per connection \|", page).groups()
    idle = 2 * float(base) + float(each) * config.max_connections / 1024
    full = idle + (config.send_queue_total_bytes + 2 * config.backpressure_bytes) / 2**20
    requested, limit = (container["resources"][kind]["memory"] for kind in ("requests", "limits"))
    assert int(requested.removesuffix("Mi")) > idle
    assert int(limit.removesuffix("Mi")) > full


def test_redis_is_as_the_embedded_one_where_it_matters() -> None:
    """A pod that lags is cut off as late, and nothing is written to a disk."""
    ours, embedded = redis_options(), server_options()
    kind, limit = embedded["client-output-buffer-limit"].split(" ", 1)
    assert ours[f"client-output-buffer-limit {kind}"] == limit
    assert ours["save"].strip('"') == embedded["save"]
    assert ours["appendonly"] == embedded["appendonly"]


def test_redis_queues_as_many_connects_as_a_server() -> None:
    assert int(redis_options()["tcp-backlog"]) == DEFAULTS.backlog
