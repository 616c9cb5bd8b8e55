"""The dashboard for Grafana: what it asks Prometheus for, there is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..support import metrics, promtool
from ..support.clients import running_server
from ..support.harness import ROOT, RedisProcess
from ..support.metrics import Scrape

DASHBOARD = json.loads((ROOT / "conf/grafana/sanic_chat.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {one["name"] for one in DASHBOARD["templating"]["list"]}


def expressions() -> Iterator[str]:
    """All queries, with Grafana's own variables filled in."""
    found = [target["expr"] for panel in PANELS for target in panel["targets"]]
    found += [one["expr"] for one in DASHBOARD["annotations"]["list"]]
    found += [
        re.sub(r"label_values\((.*), \w+\)", r"\1", one["query"]["query"])
        for one in DASHBOARD["templating"]["list"]
        if one["type"] == "query"
    ]
    for expression in found:
        yield (
            re.sub(r"\$__\w+", "5m", expression)
            .replace("$job", "sanic_chat")
            .replace("$instance", ".*")
        )


@pytest.fixture(scope="module")
def scrape(shared_redis: RedisProcess) -> Scrape:
    """What a real server tells."""
    with running_server(workers=2, REDIS_URL=shared_redis.url) as server:
        return metrics.scrape(server)


def test_every_metric_is_told(scrape: Scrape) -> None:
    """With the labels that are asked for, and those that legends show."""
    series = promtool.series_of(scrape)
    for expression in expressions():
        assert list(promtool.unknown(expression, series)) == [], expression


def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    """Each is an expression of its language."""
    rules = [
        {"record": f"query:{number}", "expr": text} for number, text in enumerate(expressions())
    ]
    file = tmp_path / "rules.json"  # which is YAML too
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool.run("check", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


def test_legends() -> None:
    """They name labels by which the query tells its series apart."""
    for panel in PANELS:
        for target in panel["targets"]:
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            [kept] = re.findall(r"^\w+(?:\([\d.]+, sum)? by \((.*?)\)", target["expr"]) or [""]
            assert shown == set(kept.split(", ")) - {"", "le"}, panel["title"]


def test_panels() -> None:
    """Each has a number, a place, a title and a sentence of its own; no two overlap."""
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place: dict[str, Any] = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    for panel in PANELS:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    text = json.dumps(DASHBOARD)
    assert set(re.findall(r"\$\{?(\w+)", text)) <= VARIABLES | {
        "__rate_interval", "__interval", "__all",
    }  # fmt: skip
