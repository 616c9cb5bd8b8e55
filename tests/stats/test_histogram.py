"""Histograms: which value counts where."""

from __future__ import annotations

import pytest

from sanic_chat.stats.histogram import MESSAGES, SECONDS, Histogram


def test_each_value_counts_once():
    """It counts for the first bound that it does not pass; beyond all of them for none."""
    histogram = Histogram((1.0, 2.0, 4.0))
    for value in (0, 0.5, 1, 1.5, 2, 2.1, 4, 5, 100):
        histogram.observe(value)
    assert histogram.counts == [3, 2, 2, 2]
    assert histogram.sum == pytest.approx(116.1)


@pytest.mark.parametrize("bounds", [SECONDS, MESSAGES])
def test_bounds_are_in_their_order(bounds):
    assert list(bounds) == sorted(set(bounds))
