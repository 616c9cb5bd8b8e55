"""promtool, and what it is asked: which alerts fire when a server tells this and then that."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .harness import ROOT
from .metrics import Labels, Scrape

RULES = ROOT / "conf/prometheus/alerts.yml"
TARGET = {"job": "sanic_chat", "instance": "server:8000"}
MINUTES = 15
"""For how long a server is well, and then has a fault, with a scrape a minute."""
INTERVAL = "1m"

Series = dict[tuple[str, Labels], float]
"""The values of a server's metrics, and `up`."""


def run(*arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run promtool; without it the test is skipped."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    return subprocess.run(
        ["promtool", *arguments], input=input, capture_output=True, text=True, timeout=100
    )


def series_of(scrape: Scrape) -> Series:
    """What Prometheus has of a scrape."""
    series = {
        (name, labels): value
        for name, samples in scrape.samples.items()
        for labels, value in samples.items()
    }
    return {("up", frozenset()): 1.0, **series}


class Change(NamedTuple):
    """What a series does from the moment of a fault on; None: it is gone."""

    to: float | None
    grows: float = 0.0
    """By how much, from each scrape to the next."""


class Fault(NamedTuple):
    """What a server tells that has a fault, and the alerts for that."""

    name: str
    alerts: set[str]
    changes: Mapping[tuple[str, Labels], Change]


def assert_alerts(healthy: Series, faults: list[Fault], directory: Path) -> None:
    """Each fault has the alerts that it is to have, at some time; no others, and none before."""
    named = set(re.findall(r"\b(?:sanic_chat_\w+|up)\b", RULES.read_text()))
    healthy = {key: value for key, value in healthy.items() if key[0] in named}
    tests = [
        {
            "name": fault.name,
            "interval": INTERVAL,
            "input_series": list(_inputs(healthy, fault)),
            "promql_expr_test": [
                _fired(MINUTES - 1, set()),
                _fired(2 * MINUTES - 1, fault.alerts),
            ],
        }
        for fault in faults
    ]
    file = directory / "tests.json"  # which is YAML too
    file.write_text(
        json.dumps({"rule_files": [str(RULES)], "evaluation_interval": INTERVAL, "tests": tests})
    )
    done = run("test", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


def _fired(minute: int, alerts: set[str]) -> dict[str, Any]:
    ever = f'max_over_time(ALERTS{{alertstate="firing"}}[{MINUTES - 1}m])'
    return {
        "expr": f"group by (alertname) ({ever})",
        "eval_time": f"{minute}m",
        "exp_samples": [
            {"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(alerts)
        ],
    }


def _inputs(healthy: Series, fault: Fault) -> Iterator[dict[str, str]]:
    for (name, labels), value in healthy.items():
        change = fault.changes.get((name, labels), Change(value))
        before = f"{_number(value)}+0x{MINUTES - 1}"
        during = (
            f"stale _x{MINUTES - 2}"
            if change.to is None
            else f"{_number(change.to)}+{_number(change.grows)}x{MINUTES - 1}"
        )
        text = ",".join(f'{label}="{one}"' for label, one in {**TARGET, **dict(labels)}.items())
        yield {"series": f"{name}{{{text}}}", "values": f"{before} {during}"}


def _number(value: float) -> str:
    return "Inf" if value == math.inf else repr(float(value))


def unknown(expression: str, series: Series) -> Iterator[str]:
    """The selectors of sanic_chat's metrics in an expression that select none of these series.

    Of alternatives in a label each must select one.
    """
    for name, matchers in re.findall(r"(sanic_chat_\w+)(?:\{([^}]*)\})?", expression):
        wanted = re.findall(r'(\w+)=(~?)"([^"]*)"', matchers)
        found = [dict(labels) for of, labels in series if of == name]
        if not found:
            yield name
        for label, _, pattern in wanted:
            for one in pattern.split("|"):
                if label not in TARGET and not any(
                    re.fullmatch(one, labels.get(label, "")) for labels in found
                ):
                    yield f'{name}{{{label}="{one}"}}'
