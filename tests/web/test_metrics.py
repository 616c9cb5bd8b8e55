"""The metrics as an answer of HTTP: which format, and what is said without them."""

from __future__ import annotations

import pytest

from ..support.apps import PREFIX, assert_error
from ..support.metrics import Scrape

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

OF_PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
OF_PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize("prefix", [PREFIX, ""], ids=["prefix", "no prefix"])
@pytest.mark.parametrize(
    ("accept", "type"),
    [
        (None, TEXT),
        ("*/*", TEXT),
        ("text/plain", TEXT),
        ("text/*", TEXT),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", TEXT),
        ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", TEXT),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.9", TEXT),
        ("application/json", TEXT),
        ("", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", OPENMETRICS),
        (OF_PROMETHEUS_2, OPENMETRICS),
        (OF_PROMETHEUS_3, OPENMETRICS),
    ],
)
def test_the_format_is_the_one_that_is_liked_better(client, prefix, accept, type):
    """OpenMetrics for who prefers it, Prometheus' own text for anybody else."""
    headers = {"accept": accept} if accept is not None else {}
    _, response = client.get(f"{prefix}/metrics", headers=headers)
    assert response.status == 200
    assert response.headers["content-type"] == type
    assert response.headers["cache-control"] == "no-store"
    scrape = Scrape(response.text, openmetrics=type == OPENMETRICS)
    assert scrape.value("workers") == 1
    assert scrape.by_label("ready", "worker").keys() == {"0"}


def test_a_header_that_cannot_be_read(client):
    """It gets an error in JSON, as everywhere."""
    _, response = client.get("/metrics", headers={"accept": "text/plain;q=much"})
    assert_error(response, 400, "bad_request")


def test_nothing_of_whom_and_where(client):
    """No room, user, pod or host is named."""
    _, stats = client.get("/ws/stats")
    _, response = client.get("/metrics")
    [pod] = [pod for pod in stats.json["pods"] if pod["pod_id"] == stats.json["answered_by"]]
    assert pod["pod_id"] not in response.text
    assert f'"{pod["host"]}"' not in response.text


def test_workers_that_share_no_memory(client, monkeypatch):
    """Rather than some of the truth there is an error, which a scrape shows as down."""
    monkeypatch.setattr(client.app.ctx.worker, "board", None)
    _, response = client.get("/metrics")
    assert_error(response, 503, "no_shared_memory")
