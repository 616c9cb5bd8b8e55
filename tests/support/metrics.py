"""Metrics, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from sanic_chat.stats.histogram import SECONDS, Histogram
from sanic_chat.stats.metrics import (
    HistogramMetrics,
    MainMetrics,
    ProcessMetrics,
    WorkerMetrics,
)

from .harness import ServerProcess
from .reports import FULL_REPORT

Labels = frozenset[tuple[str, str]]


class Scrape:
    """The samples of one answer, which must be what its format allows."""

    def __init__(self, text: str, *, openmetrics: bool = False) -> None:
        self.text = text
        read = read_openmetrics if openmetrics else read_text
        self.families = {family.name: family for family in read(text)}
        self.samples: dict[str, dict[Labels, float]] = {}
        for family in self.families.values():
            for sample in family.samples:
                same_name = self.samples.setdefault(sample.name, {})
                labels = frozenset(sample.labels.items())
                assert labels not in same_name, f"{sample.name}{sample.labels} stands there twice"
                same_name[labels] = sample.value

    def values(self, name: str, **labels: str) -> list[float]:
        """The values of a metric, which is named without its prefix, with these labels and more."""
        wanted = labels.items()
        return [
            value
            for found, value in self.samples.get(f"sanic_chat_{name}", {}).items()
            if wanted <= found
        ]

    def sum(self, name: str, **labels: str) -> float:
        """The sum of these values."""
        return sum(self.values(name, **labels))

    def value(self, name: str, **labels: str) -> float:
        """The one value that there is."""
        [value] = self.values(name, **labels)
        return value

    def by_label(self, name: str, label: str) -> dict[str, float]:
        """The values of a metric by one of its labels, summed over the others."""
        values: dict[str, float] = {}
        for found, value in self.samples[f"sanic_chat_{name}"].items():
            key = dict(found)[label]
            values[key] = values.get(key, 0) + value
        return values


def scrape(server: ServerProcess, *, openmetrics: bool = False) -> Scrape:
    """What whichever worker takes the connection answers."""
    accept = "application/openmetrics-text" if openmetrics else "text/plain"
    answer = server.get("/metrics", headers={"Accept": accept})
    answer.raise_for_status()
    return Scrape(answer.text, openmetrics=openmetrics)


def worker_ends(server: ServerProcess) -> dict[str, float]:
    """The ends of workers that a server tells of, by reason."""
    ends = scrape(server).by_label("worker_ends_total", "reason")
    return {reason: count for reason, count in ends.items() if count}


def process_metrics(**fields: Any) -> ProcessMetrics:
    """The use of a process that tells only what each does, and `fields`."""
    return ProcessMetrics(**{"pid": 1, "started_at": 1.5, "cpu_seconds": 0.25, **fields})


def worker_metrics(**fields: Any) -> WorkerMetrics:
    """The metrics of a worker that tells all there is."""
    full: Mapping[str, Any] = {
        "version": "1.2.3",
        "process": process_metrics(resident_bytes=4096, open_descriptors=3, max_descriptors=9),
        "report": FULL_REPORT,
        "unready": None,
        "is_away": False,
        "fan_outs": 7,
        "closes": {"server": {"1013": 2}, "client": {"1000": 0}},
        "reconnects": {"publish": 1, "subscribe": 0},
        "descriptor_shortages": 0,
        "histograms": {
            name: HistogramMetrics.of(Histogram(SECONDS))
            for name in (
                "proof_round_trip",
                "handshake",
                "event_loop_lag",
                "fan_out_turn",
                "send_queue",
            )
        },
    }
    return WorkerMetrics(**{**full, **fields})


def main_metrics(**fields: Any) -> MainMetrics:
    """The metrics of a main process."""
    full = {"version": "1.2.3", "process": process_metrics(), "workers": 2, "worker_ends": {}}
    return MainMetrics(**{**full, **fields})
