"""The main process: what its workers share, and the watch over them.

May live here: what Sanic's listeners of the main process do. Must not know sessions.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from errno import EADDRINUSE, ENOENT
from pathlib import Path

from sanic import Sanic
from sanic.server.socket import bind_socket

from ..config.settings import Config
from ..doctor.machine import warnings_at_start
from ..errors import ConfigError
from ..logs.logger import logger
from ..process.descriptors import raise_limit
from ..process.embedded_redis import EmbeddedRedis
from ..process.listener import socket_handle
from ..process.slots import SharedSlots, make_slots
from ..process.supervisor import Supervisor
from ..process.usage import UsageReader
from ..process.watchdog import Watchdog
from ..stats.board import WRITE_SECONDS
from ..stats.metrics import encode_metrics
from ..upgrade.sanic_http import files_of
from ..worker import main_metrics
from .context import ChatApp
from .new_settings import SettingsReader, read_nothing_but

STOP_MARGIN_SECONDS = 5.0
"""The time beyond its drain that a worker may need to stop, mostly for a silent Redis."""


def warn_of_doubts(app: ChatApp) -> None:
    """Log what is likely to be a mistake in the settings, or too little on this machine."""
    doubts, app.ctx.doubts = app.ctx.doubts, []
    if not Sanic.test_mode:
        doubts += warnings_at_start(app.ctx.config, app.state.workers)
    for sentence in doubts:
        logger.warning("%s", sentence)


def raise_limits(app: ChatApp) -> None:
    """Raise the limit of file descriptors, which workers inherit."""
    if not Sanic.test_mode:
        raise_limit()


def try_the_address(app: ChatApp) -> None:
    """Exit with a sentence if the server cannot listen where it is told to."""
    for settings in (info.settings for info in app.state.server_info):
        host, port, unix = settings["host"], settings["port"], settings["unix"]
        if settings.get("sock") is not None:
            continue
        try:
            if not unix:
                bind_socket(host, port).close()
            elif not (folder := Path(unix).absolute().parent).is_dir():
                raise FileNotFoundError(ENOENT, f"There is no folder {folder}")
        except OSError as error:
            hint = ""
            if error.errno == EADDRINUSE:
                hint = ". Another program listens there: end it, or choose another port with --port"
            where = unix or f"{host}:{port}"
            sys.exit(f"sanic_chat cannot listen at {where}: {error.strerror or error}{hint}")


def start_embedded_redis(app: ChatApp) -> None:
    """Start a Redis if there is no REDIS_URL; or exit with a sentence that says why not."""
    if app.ctx.config.redis_url is None:
        app.ctx.embedded_redis = EmbeddedRedis()
        try:
            app.ctx.embedded_redis.start()
        except ConfigError as error:
            sys.exit(f"sanic_chat does not start: {error}")
        os.environ["REDIS_URL"] = app.ctx.embedded_redis.url  # the workers inherit it


def expect_pulses(app: ChatApp) -> None:
    """Make the watchdog, and the pipe by which it hears of workers."""
    app.ctx.watchdog = Watchdog(timeout=app.ctx.config.hang_timeout)
    app.shared_ctx.pulse_pipe = app.ctx.watchdog.pipe  # the workers get it when they are made


def share_the_admin_socket(app: ChatApp) -> None:
    """Hand the admin socket to all workers, if there is one."""
    if app.ctx.admin_socket is not None:
        app.shared_ctx.admin_socket = socket_handle(app.ctx.admin_socket)


def share_memory(app: ChatApp) -> None:
    """Make the memory in which all processes show their metrics."""
    app.ctx.slots = make_slots()
    if app.ctx.slots is not None:
        app.shared_ctx.slots = app.ctx.slots.handle


def supervise(app: ChatApp) -> None:
    """Begin the watch over the workers, and the metrics of this process."""
    assert app.ctx.watchdog is not None
    config = app.ctx.config

    def accept(config: Config, doubts: list[str]) -> None:
        app.ctx.config, app.ctx.doubts = config, doubts
        app.ctx.log_level.change(config.log_level)
        supervisor.allow(**_times(config))
        raise_limits(app)
        warn_of_doubts(app)

    reader = SettingsReader(
        config.redis_url, has_embedded_redis=bool(app.ctx.embedded_redis), accept=accept
    )
    read = read_nothing_but if app.ctx.is_configured else reader.read
    supervisor = Supervisor(
        app.manager,
        restart_limit=config.restart_limit,
        **_times(config),
        watchdog=app.ctx.watchdog,
        read=lambda tls: read(files_of(tls)),
        levels=app.ctx.level_signals,
    )
    supervisor.start()
    if app.ctx.slots is not None:
        threading.Thread(
            target=_show_metrics, args=(app.ctx.slots, supervisor), name="metrics", daemon=True
        ).start()


def _show_metrics(slots: SharedSlots, supervisor: Supervisor) -> None:
    usage = UsageReader()
    while True:
        slots.write(encode_metrics(main_metrics(usage.read(), supervisor)))
        time.sleep(WRITE_SECONDS)


def _times(config: Config) -> dict[str, float]:
    stop_timeout = config.drain_grace + config.drain_timeout + STOP_MARGIN_SECONDS
    return {"stop_timeout": stop_timeout, "handshake_timeout": config.handshake_timeout}


def spare_the_garbage_collector(app: ChatApp) -> None:
    """Exclude from garbage collection what the start has made, in any process of the server.

    It lives as long as the process, at whose end Python would look at it all once more.
    """
    if not Sanic.test_mode:  # the process is the server's own
        gc.freeze()


def stop_embedded_redis(app: ChatApp) -> None:
    """Stop the Redis that this process has started."""
    if app.ctx.embedded_redis is not None:
        app.ctx.embedded_redis.stop()
