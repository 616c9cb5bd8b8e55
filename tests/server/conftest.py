"""Fixtures: what stands before servers, and where one is reloaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..support.balancers import KINDS, Kind
from ..support.reloading import Place


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of proxy that is installed."""
    kind: Kind = request.param
    if kind.path is None:
        pytest.skip(f"{kind} is not installed: apt-get install {kind.package}")
    return kind


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """The place of a server that a test reloads."""
    return Place(tmp_path)
