"""Fixtures: a Redis that may be harmed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from ..support.harness import RedisProcess
from ..support.servers import PROGRAMS, program_name


@pytest.fixture(scope="module", params=PROGRAMS, ids=program_name)
def server(request: pytest.FixtureRequest) -> Iterator[RedisProcess]:
    """A Redis of the module's own, of each program that there is."""
    with closing(RedisProcess(program=request.param)) as process:
        process.start()
        yield process
