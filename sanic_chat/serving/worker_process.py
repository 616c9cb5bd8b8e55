"""A worker's process: its start, its signals, and its end.

May live here: what Sanic's listeners of a worker do. Must not know what the parts of a worker do:
they are put together in `worker`.
"""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial

from sanic import Sanic

from ..logs.logger import logger
from ..process.listener import socket_of
from ..process.orphans import stop_with_the_main_process
from ..process.os_signals import LEAVE, WorkerSignals
from ..process.slots import LoneSlot, claim_slot
from ..process.watchdog import WatchdogPulse
from ..stats.board import Slots
from ..upgrade.sanic_http import AdminProtocol
from ..worker import Worker
from .context import ChatApp
from .departure import Departure
from .main_process import start_embedded_redis


async def start_worker(app: ChatApp) -> None:
    """Make the worker and start it; it is in the context when it serves."""
    redis_url = app.ctx.config.redis_url
    if redis_url is None:  # a single process: there was no main process to start it
        start_embedded_redis(app)
        assert app.ctx.embedded_redis is not None
        redis_url = app.ctx.embedded_redis.url
    worker = Worker(
        app.ctx.config,
        redis_url=redis_url,
        name=os.environ.get("SANIC_WORKER_NAME", "single-process"),
        slots=_claim_slot(app),
        authenticator=app.ctx.authenticator,
        idle_timeout=app.config.KEEP_ALIVE_TIMEOUT,
        answer_timeout=app.config.RESPONSE_TIMEOUT,
    )
    if not Sanic.test_mode:
        worker.pod.cluster.removals.drain_here = _departure(app, worker).begin
    await worker.start()
    app.ctx.worker = worker
    if app.ctx.config.admin_listen is not None and not Sanic.test_mode:
        shared = getattr(app.shared_ctx, "admin_socket", None)
        sock = app.ctx.admin_socket if shared is None else socket_of(shared)
        assert sock is not None
        app.ctx.listener.add(AdminProtocol, sock)


def _claim_slot(app: ChatApp) -> Slots | None:
    if "SANIC_WORKER_NAME" not in os.environ:
        return LoneSlot()
    app.ctx.slots = claim_slot(getattr(app.shared_ctx, "slots", None))
    return app.ctx.slots


async def watch_for_the_end(app: ChatApp) -> None:
    """Stop on a signal, and when the main process has ended."""
    if not Sanic.test_mode:
        loop = asyncio.get_running_loop()
        leave = {LEAVE: partial(_leave, app)} if "SANIC_WORKER_NAME" in os.environ else {}
        WorkerSignals(
            loop,
            stop=lambda: app.stop(terminate=False),
            is_running=lambda: app.state.is_running,
            others=app.ctx.level_signals | leave,
        )
        stop_with_the_main_process(loop)


def _leave(app: ChatApp) -> None:
    """Leave new connections to the other workers, until the drain."""
    app.ctx.listener.close()
    app.config.KEEP_ALIVE = False
    if app.ctx.worker is not None:
        app.ctx.worker.leave()


def _departure(app: ChatApp, worker: Worker) -> Departure:
    is_alone = "SANIC_WORKER_NAME" not in os.environ
    return Departure(
        may_leave=worker.may_leave,
        # What a reload of Sanic's would do for all workers: `supervisor` looks after the rest.
        ask_for_successor=None if is_alone else partial(app.m.restart, zero_downtime=True),
        leave=partial(_leave, app),
        has_answered=lambda: worker.has_answered,
        patience=app.ctx.config.handshake_timeout,
        end=partial(os.kill, os.getpid(), signal.SIGTERM),
    )


def say_ready(app: ChatApp) -> None:
    """Say so in the log, and to the watchdog, which hears of this worker from now on."""
    assert app.ctx.worker is not None
    app.ctx.worker.serve()
    pod = app.ctx.worker.pod
    trouble = pod.broker.trouble()
    state = "is ready" if trouble is None else f"serves, and is not ready ({trouble.code})"
    logger.info("Pod %s %s [%d]", pod.id, state, os.getpid())
    pipe = getattr(app.shared_ctx, "pulse_pipe", None)
    if pipe is not None:
        loop = asyncio.get_running_loop()
        WatchdogPulse(loop, pipe, timeout=app.ctx.config.hang_timeout).start()


async def stop_worker(app: ChatApp) -> None:
    """Stop the worker: its drain, then its links."""
    if app.ctx.worker is not None:  # else it never started
        await app.ctx.worker.stop()
