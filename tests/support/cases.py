"""Parameters of a test that are crossed, when each combination would take its own server.

By default each value of each parameter is tried once at least; with EVERY_CASE=1 each combination.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import cycle, islice, product
from typing import Any

import pytest

EVERY_CASE = os.environ.get("EVERY_CASE") == "1"


def crossed(**values: Mapping[str, Any]) -> pytest.MarkDecorator:
    """Parametrize a test with values, which are given by what they are called in its ID."""
    columns = [column.items() for column in values.values()]
    cases = product(*columns)
    if not EVERY_CASE:
        cases = islice(zip(*map(cycle, columns), strict=True), max(map(len, columns)))
    return pytest.mark.parametrize(
        tuple(values),
        [
            pytest.param(*(value for _, value in case), id="-".join(name for name, _ in case))
            for case in cases
        ],
    )


def sampled(values: Mapping[str, Any], every: int = 2) -> Mapping[str, Any]:
    """Every second of values that differ in degree only; with EVERY_CASE=1 all of them."""
    return values if EVERY_CASE else dict(list(values.items())[::every])


LOOPS = {"uvloop": "true", "asyncio": "false"}
"""Values of SANIC_USE_UVLOOP."""
FORMS: dict[str, tuple[str, ...]] = {"workers": (), "single process": ("--single-process",)}
"""Options for `start_server`, which starts one worker if not told otherwise."""
