"""Orphans: workers whose main process has died without stopping them, and which then stop.

May live here: how a worker learns of that. Must not know what a stop does.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal

from ..logs.logger import logger


def stop_with_the_main_process(loop: asyncio.AbstractEventLoop) -> None:
    """Stop this worker, as SIGTERM does, once the main process is gone."""
    main_process = multiprocessing.parent_process()
    if main_process is not None:
        # A pipe that only the main process holds open.
        loop.add_reader(main_process.sentinel, _stop, loop, main_process.sentinel)


def _stop(loop: asyncio.AbstractEventLoop, sentinel: int) -> None:
    loop.remove_reader(sentinel)
    logger.error("The main process is gone: stopping")
    os.kill(os.getpid(), signal.SIGTERM)
