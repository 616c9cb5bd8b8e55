"""Fixtures: what stands before servers."""

from __future__ import annotations

import pytest

from ..support.balancers import KINDS, Kind


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of proxy that is installed."""
    kind: Kind = request.param
    if kind.path is None:
        pytest.skip(f"{kind} is not installed: apt-get install {kind.package}")
    return kind
