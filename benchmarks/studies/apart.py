"""Clients in a process of their own, so that the load does not read others late because of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.context import SpawnProcess

from ..load.crowd import OPEN_SECONDS, CannotMeasure

SPAWN = get_context("spawn")


@contextmanager
def apart(work: Callable[..., None], *arguments: object) -> Iterator[SpawnProcess]:
    """Run `work(*arguments, ready)` in a process until the block ends, which then is killed.

    The block begins when the event `ready` is set. Raises CannotMeasure if that takes too long.
    """
    ready = SPAWN.Event()
    process = SPAWN.Process(target=work, args=(*arguments, ready))
    process.start()
    try:
        if not ready.wait(OPEN_SECONDS):
            raise CannotMeasure("the clients apart are not there in time")
        yield process
    finally:
        process.kill()
        process.join()
