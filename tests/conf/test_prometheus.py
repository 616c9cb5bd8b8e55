"""Prometheus itself, with the files in conf/prometheus, and a real server to ask."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..support.harness import (
    DEADLINE,
    RedisProcess,
    ServerProcess,
    StartServer,
    free_port,
    wait_until,
)
from ..support.metrics import scrape
from ..support.promtool import RULES

CONFIGURATION = RULES.with_name("prometheus.yml")


class Prometheus:
    """One that runs."""

    def __init__(self, port: int) -> None:
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE)

    def ask(self, path: str, **parameters: str) -> Any:
        """What its API answers."""
        answer = self._client.get(f"/api/v1/{path}", params=parameters)
        answer.raise_for_status()
        return answer.json()["data"]

    def value(self, query: str) -> float | None:
        """The one value of a query; None if it has none yet."""
        with suppress(httpx.TransportError, httpx.HTTPStatusError):  # it starts
            found = self.ask("query", query=query)["result"]
            return float(found[0]["value"][1]) if found else None
        return None

    def close(self) -> None:
        self._client.close()


@contextmanager
def prometheus(server: ServerProcess, directory: Path) -> Iterator[Prometheus]:
    """One that asks a server twice a second."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed: apt-get install prometheus")
    shutil.copy(RULES, directory)
    text = CONFIGURATION.read_text()
    for old, new in (("127.0.0.1:8000", f"127.0.0.1:{server.port}"), (": 15s", ": 500ms")):
        assert old in text
        text = text.replace(old, new)
    (directory / "prometheus.yml").write_text(text)
    port = free_port()
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={directory}/prometheus.yml",
                f"--storage.tsdb.path={directory}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    running = Prometheus(port)
    try:
        yield running
    finally:
        running.close()
        process.kill()
        process.wait()


def test_prometheus_takes_all_of_it(
    start_server: StartServer, shared_redis: RedisProcess, tmp_path: Path
) -> None:
    """It asks with its own `Accept`, reads every metric, and knows when nobody answers."""
    server = start_server(workers=2, REDIS_URL=shared_redis.url)
    with prometheus(server, tmp_path) as running:
        wait_until(lambda: running.value("sum(sanic_chat_ready)") == 2, "it knows of two workers")
        known = {one["metric"]: one for one in running.ask("targets/metadata")}
        told = scrape(server, openmetrics=True).families
        assert {name: (one["type"], one["help"], one["unit"]) for name, one in known.items()} == {
            name: (one.type, one.documentation, one.unit) for name, one in told.items()
        }
        assert known["sanic_chat_proof_age_seconds"]["unit"]  # so OpenMetrics was what it liked
        [target] = running.ask("targets")["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
        rules = running.ask("rules")["groups"][0]["rules"]
        assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
        assert not [rule["name"] for rule in rules if rule["state"] == "firing"]
        server.stop()
        wait_until(lambda: running.value("up") == 0, "it notices that nobody answers")
        assert running.value("count(sanic_chat_ready)") is None
