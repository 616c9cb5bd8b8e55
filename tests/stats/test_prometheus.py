"""The families: their names, their labels, and the values that they show."""

from __future__ import annotations

import math
import re
import shutil
import subprocess

import msgspec
import pytest
from msgspec import UNSET

from sanic_chat.stats.board import Entry
from sanic_chat.stats.prometheus import FAMILIES, WORKER_ENDS, exposition
from sanic_chat.stats.report import RedisReport
from sanic_chat.stats.worker_families import DROP_REASONS, REFUSAL_CODES, UNREADY_REASONS

from ..support.codes import Source
from ..support.harness import ROOT
from ..support.metrics import Scrape, main_metrics, process_metrics, worker_metrics
from ..support.reports import FULL_REPORT, pod_report

ENTRIES = [
    Entry("0", 0.25, worker_metrics()),
    Entry("4", 0.5, worker_metrics(fan_outs=100, unready="no_redis")),
    Entry("main", 0.75, main_metrics(worker_ends={"died": 3}, last_reload_refused=True)),
]
LABELS = {"worker", "reason", "code", "direction", "le"}


def scrape(*entries: Entry, openmetrics: bool = True) -> Scrape:
    text = "".join(exposition(entries, openmetrics=openmetrics))
    return Scrape(text, openmetrics=openmetrics)


def test_both_formats_say_the_same():
    """The same samples, with the same values."""
    one, other = (scrape(*ENTRIES, openmetrics=openmetrics) for openmetrics in (True, False))
    assert one.samples == other.samples
    assert one.text.endswith("# EOF\n")


def test_every_family_is_told():
    """A server with two workers shows each one, with the kind and the help that it has."""
    told = scrape(*ENTRIES).families
    assert {name.removeprefix("sanic_chat_") for name in told} == {one.name for one in FAMILIES}
    for family in FAMILIES:
        found = told[f"sanic_chat_{family.name}"]
        assert (found.type, found.documentation) == (family.kind, family.help)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_names_and_helps(family):
    """Names are those that Prometheus wants, each help is a sentence of one line."""
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", family.name)
    assert not family.name.endswith(("_total", "_count", "_sum", "_bucket", "_info", "_created"))
    assert not re.search(r"_(ms|millis|seconds_[a-z]+|kb|kib|mb)$", family.name)
    assert re.fullmatch(r'[^\n"\\]+\.', family.help)
    assert sum(one.name == family.name for one in FAMILIES) == 1


def test_labels_are_bounded():
    """There are no other labels than these, and so none that a client could make more of."""
    for samples in scrape(*ENTRIES).samples.values():
        for labels in samples:
            assert {name for name, _ in labels} <= LABELS | {"version"}
    assert set(scrape(*ENTRIES).by_label("build_info", "version")) == {"1.2.3"}


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool (Debian: prometheus)")
def test_promtool_finds_nothing_wrong():
    """Its rules for names and helps are kept."""
    text = "".join(exposition(ENTRIES, openmetrics=False))
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_values():
    """Each figure of a worker's report stands in its family."""
    found = scrape(*ENTRIES)
    report = FULL_REPORT
    for name, value in {
        "workers": 2,
        "workers_wanted": 2,
        "worker_ends_total": 3,
        "last_reload_refused": 1,
        "process_open_fds": 3 * 2,
        "process_pid": 3,
        "connections": 2 * report.connections,
        "max_connections": 2 * report.max_connections,
        "handshakes": 2 * report.handshakes,
        "connections_crowded_out_total": 2 * report.crowded_out,
        "upgrades_refused_total": 2 * sum(report.upgrades_refused.values()),
        "rooms": 2 * report.rooms,
        "messages_received_total": 2 * report.messages_in,
        "deliveries_total": 2 * report.messages_out,
        "publishes_total": 2 * report.messages_published,
        "messages_dropped_total": 2 * sum(report.messages_dropped.values()),
        "fan_outs_total": 107,
        "closes_total": 4,
        "redis_reconnects_total": 2,
        "keys_age_seconds": 15,
        "keys_failures_total": 4,
        "redis_channels": 2 * report.redis.channels,
        "echoes_dropped_total": 2 * report.redis.echoes_dropped,
        "redis_link_up": 4,
        "unready": 1,
        "ready": 2,
    }.items():
        assert found.sum(name) == value, name
    assert found.value("unready", worker="4", reason="no_redis") == 1
    assert found.value("closes_total", worker="0", code="1013", reason="server") == 2
    assert found.by_label("snapshot_age_seconds", "worker") == {"0": 0.25, "4": 0.5, "main": 0.75}
    assert found.value("proof_age_seconds", worker="0") == 0.1


def test_what_is_known_is_told_with_zero():
    """A counter that first appeared with 1 would seem never to have grown."""
    found = scrape(Entry("0", 0, worker_metrics(report=pod_report("pod"))))
    assert set(found.by_label("messages_dropped_total", "reason")) == set(DROP_REASONS)
    full = scrape(*ENTRIES)
    assert set(full.by_label("upgrades_refused_total", "code")) == set(REFUSAL_CODES)
    assert set(full.by_label("unready", "reason")) == set(UNREADY_REASONS)
    assert set(full.by_label("worker_ends_total", "reason")) == set(WORKER_ENDS)


def test_the_lists_are_those_of_the_code():
    """Each reason and code that is counted anywhere, and no other."""
    source = Source(ROOT / "sanic_chat")
    errors = {code for (code,) in source.find("BadMessage", 0)}
    assert set(DROP_REASONS) == source.keys_of("dropped") | errors
    refusals = {code for (code,) in source.find("UpgradeRefused", 1)}
    assert set(REFUSAL_CODES) == refusals | source.keys_of("refused")
    assert set(UNREADY_REASONS) == {code for (code,) in source.find("Trouble", 0)}
    assert set(WORKER_ENDS) == source.keys_of("ends")


@pytest.mark.parametrize("redis", [RedisReport(), UNSET])
def test_a_worker_of_another_version(redis):
    """What it does not tell is not there; before the first proof its age is without bound."""
    report = pod_report("old", redis=redis)
    found = scrape(Entry("1", 0, worker_metrics(report=report, histograms={})))
    assert found.values("max_connections") == []
    assert found.values("backlog_bytes") == []
    assert found.values("handshake_seconds_count") == []
    assert found.value("connections") == 0
    assert found.values("workers_wanted") == []


def test_before_the_first_proof():
    redis = msgspec.structs.replace(FULL_REPORT.redis, proof_age_seconds=None)
    report = msgspec.structs.replace(FULL_REPORT, redis=redis)
    found = scrape(Entry("0", 0, worker_metrics(report=report)))
    assert found.value("proof_age_seconds") == math.inf


def test_a_system_that_tells_little():
    """No memory and no descriptors are told where there is no /proc."""
    found = scrape(Entry("0", 0, worker_metrics(process=process_metrics())))
    assert found.values("process_resident_memory_bytes") == []
    assert found.value("process_cpu_seconds_total") == 0.25
