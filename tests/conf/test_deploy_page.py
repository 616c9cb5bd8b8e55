"""The figures of docs/deploy.md: each is measured where it says, or follows from those."""

from __future__ import annotations

import re
from functools import cache

import pytest

from sanic_chat.process.descriptors import RESERVED

from ..support.harness import ROOT
from ..support.markdown import Page, Row

DEPLOY, BENCHMARKS = Page(ROOT / "docs/deploy.md"), Page(ROOT / "benchmarks/README.md")


def number(text: str) -> float:
    """The first number of a cell, whose thousands may stand apart."""
    return float(re.search(r"\d[\d ]*(?:\.\d+)?", text.strip("* "))[0].replace(" ", ""))


@cache
def measured(pattern: str) -> list[float]:
    """The numbers that the page of benchmarks has at these places."""
    found = re.search(pattern, BENCHMARKS.text)
    assert found, pattern
    return [float(one.replace(",", "")) for one in found.groups()]


def rows() -> list[Row]:
    return DEPLOY.tables("How many")[1]


def test_measured_figures() -> None:
    """They are those of the page that is named beside them."""
    told = {row["what"]: row["measured"] for row in DEPLOY.table("How many")}
    base, each = measured(r"\| ([\d.]+) MiB \+ ([\d.]+) KiB per connection \|")
    assert f"{base:g} MiB + {each:g} KiB" in told["memory of a worker"]
    [storm] = measured(r"\| `storm_5k` \| \*\*[\d.]+\*\*; ([\d,]+) \|")
    assert number(told["clients that come at once"]) == storm
    [alone] = measured(r"\| `one_to_1000` \| \*\*([\d.]+)\*\*")
    assert number(told["deliveries"]) == pytest.approx(alone, abs=0.05)
    [cpu] = measured(r"\| `steady_1000` \| \*\*([\d.]+)\*\*; 50,")
    cores = told["50 000 deliveries a second, evenly spaced"]
    assert number(cores) == pytest.approx(cpu * 50_000 / 1e6, abs=0.05)
    sent, got = measured(r"commands/s and (\d+) KB/s sent, (\d+) KB/s got")
    traffic = next(text for what, text in told.items() if what.startswith("traffic"))
    assert re.findall(r"(\d+) KB/s", traffic) == [f"{sent:g}", f"{got:g}"]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["clients"])
def test_reckoned_figures(row: Row) -> None:
    """They follow from the measured ones, and are in italics beyond what was measured."""
    clients, workers = number(row["clients"]), number(row["workers"])
    base, each = measured(r"\| ([\d.]+) MiB \+ ([\d.]+) KiB per connection \|")
    [storm] = measured(r"\| `storm_5k` \| \*\*[\d.]+\*\*; ([\d,]+) \|")
    _, got = measured(r"commands/s and (\d+) KB/s sent, (\d+) KB/s got")
    memory = row["memory of the workers, idle"]
    assert number(memory) == pytest.approx(workers * base + clients * each / 1024, abs=0.6)
    assert memory.startswith("*") == (clients > 10_000)
    back = row["back after all were cut off"]
    assert number(back) == pytest.approx(clients / workers / storm, abs=0.06)
    timeout, window = (number(one) for one in row["drain: timeout, window"].split(","))
    assert window == pytest.approx(timeout * 0.6)
    assert clients / workers / window < 1000
    traffic = row["traffic out of Redis, at 50 messages/s a pod"]
    unit = 1000 if "MB" in traffic else 1
    assert number(traffic) * unit == pytest.approx(got * workers**2)
    assert traffic.startswith("*") == (workers > 1)


def test_what_a_worker_needs_of_files() -> None:
    [row] = [row for row in DEPLOY.table("Limits of the system") if row["on"] == "server"][:1]
    assert f"clients of a worker + {2 * RESERVED}" in row["what it has to be"]
