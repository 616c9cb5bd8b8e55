"""The text format: what Prometheus reads in it, in both of its versions."""

from __future__ import annotations

import math

import pytest
from msgspec import UNSET

from sanic_chat.stats.exposition import OPENMETRICS_END, Family, histogram, labelled, single
from sanic_chat.stats.histogram import Histogram
from sanic_chat.stats.metrics import HistogramMetrics

from ..support.metrics import Scrape

BOTH = pytest.mark.parametrize("openmetrics", [False, True], ids=["text", "openmetrics"])


def read(family: Family, *sources: object, openmetrics: bool) -> Scrape:
    """What is read of a family of sources that are called a, b …; one of None has no name."""
    named = [("" if one is None else "abc"[number], one) for number, one in enumerate(sources)]
    text = family.write(named, openmetrics=openmetrics)
    return Scrape(text + OPENMETRICS_END * openmetrics, openmetrics=openmetrics)


@BOTH
@pytest.mark.parametrize(
    ("value", "meant"),
    [(0, 0), (True, 1), (2**53, 2**53), (1e-9, 1e-9), (1e300, 1e300), (math.inf, math.inf)],
)
def test_values(value, meant, openmetrics):
    """Each kind of number is read as it is, with its help and its kind."""
    scrape = read(single("x", "gauge", "Some help.", lambda it: it), value, openmetrics=openmetrics)
    assert scrape.value("x", worker="a") == meant
    family = scrape.families["sanic_chat_x"]
    assert (family.type, family.documentation) == ("gauge", "Some help.")


@BOTH
def test_a_counter(openmetrics):
    """Its samples end in `_total`, and each source has one."""
    family = single("things", "counter", "Things.", lambda it: it)
    scrape = read(family, 3, 4, openmetrics=openmetrics)
    assert scrape.by_label("things_total", "worker") == {"a": 3, "b": 4}
    assert scrape.families["sanic_chat_things"].type == "counter"
    assert family.sample_name == "sanic_chat_things_total"


@BOTH
def test_labels(openmetrics):
    """What is known before is told with 0, what is new besides."""
    family = labelled("things", "counter", "Things.", "reason", ("x", "y"), lambda it: it)
    scrape = read(family, {"y": 1, "new": 5}, {}, openmetrics=openmetrics)
    assert scrape.by_label("things_total", "reason") == {"x": 0, "y": 1, "new": 5}
    assert scrape.sum("things_total", worker="b") == 0
    assert len(scrape.values("things_total")) == 5


@BOTH
def test_a_histogram(openmetrics):
    """Its buckets add up, the last one is the count."""
    values = Histogram((0.5, 1.0))
    for value in (0.1, 0.2, 0.7, 5):
        values.observe(value)
    family = histogram("wait_seconds", "Waits.", HistogramMetrics.of)
    scrape = read(family, values, openmetrics=openmetrics)
    assert scrape.families["sanic_chat_wait_seconds"].type == "histogram"
    assert scrape.by_label("wait_seconds_bucket", "le") == {"0.5": 2, "1.0": 3, "+Inf": 4}
    assert scrape.value("wait_seconds_count") == 4
    assert scrape.value("wait_seconds_sum") == pytest.approx(6)
    assert scrape.families["sanic_chat_wait_seconds"].unit == ("seconds" if openmetrics else "")


@BOTH
@pytest.mark.parametrize("nothing", [UNSET, None])
def test_what_is_not_told(nothing, openmetrics):
    """It has no sample; a family without any is not there."""
    family = single("x", "gauge", "Help.", lambda it: it["x"])
    assert read(family, {"x": 1}, {"x": nothing}, openmetrics=openmetrics).value("x") == 1
    assert family.write([("a", {"x": nothing})], openmetrics=openmetrics) == ""
    some = labelled("y", "gauge", "Help.", "reason", (), lambda it: it)
    assert some.write([("a", UNSET)], openmetrics=openmetrics) == ""
    many = histogram("z_seconds", "Help.", lambda it: it)
    assert many.write([("a", None)], openmetrics=openmetrics) == ""


@BOTH
def test_a_source_without_a_name(openmetrics):
    """Its samples have no label of their own."""
    plain = single("x", "gauge", "Help.", lambda it: 1)
    assert read(plain, None, openmetrics=openmetrics).samples["sanic_chat_x"] == {frozenset(): 1}
    by = labelled("y", "gauge", "Help.", "reason", ("one",), lambda it: {})
    found = read(by, None, openmetrics=openmetrics).samples["sanic_chat_y"]
    assert found == {frozenset({("reason", "one")}): 0}
