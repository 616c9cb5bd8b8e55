"""The server as a Sanic application: configuration, routes, listeners.

Sanic's listeners call:

    main process   main_process_start   embedded Redis, if there is no REDIS_URL; watchdog; the
                                        memory for metrics; the admin socket
                   main_process_ready   supervisor; metrics of the main process
                   main_process_stop    embedded Redis ends
    each worker    before_server_start  signals, watch over the main process; the worker starts
                   after_server_start   pulse
                   before_server_stop   the worker stops: drain, then the links to Redis

May live here: which process runs which part, and Sanic's configuration. Must not know what a part
does: the parts of a worker are put together in `worker`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import sanic
import ujson
from sanic import Sanic
from sanic.config import Config as SanicConfig

from .broker.endpoint import Endpoint
from .config.env_file import use_env_file
from .config.settings import JSON, Config
from .doctor.machine import warnings_at_start
from .errors import ConfigError
from .logs.json_format import json_log_config
from .logs.level import LogLevel
from .logs.logger import logger
from .logs.redaction import keep_tokens_out_of_logs
from .new_settings import SettingsReader, check_certificates, read_nothing_but
from .process import rehearsal
from .process.descriptors import open_standard_streams, raise_limit
from .process.embedded_redis import EmbeddedRedis, find_server_program
from .process.listener import Listener, listen_at, socket_handle, socket_of
from .process.orphans import stop_with_the_main_process
from .process.os_signals import LEAVE, LEVEL_SIGNALS, WorkerSignals, hold_signals
from .process.slots import LoneSlot, SharedSlots, claim_slot, make_slots
from .process.supervisor import Supervisor
from .process.usage import UsageReader
from .process.watchdog import Watchdog, WatchdogPulse
from .process.worker_states import replace_state_server
from .stats.board import WRITE_SECONDS, Slots
from .stats.metrics import encode_metrics
from .upgrade.fast_path import FastPathProtocol
from .upgrade.sanic_http import AdminProtocol, ChatRequest, ChatRouter, files_of
from .version import VERSION
from .web.api import api_blueprint
from .web.asgi import refuse_asgi
from .web.errors import JSONErrorHandler
from .web.pages import pages_blueprint
from .web.probes import probes_blueprint
from .web.ws import chat_blueprint
from .worker import Worker, main_metrics, make_authenticator

if TYPE_CHECKING:
    from .upgrade.auth import Authenticator

STOP_MARGIN_SECONDS = 5.0
"""The time beyond its drain that a worker may need to stop, mostly for a silent Redis."""
KEEP_ALIVE_SECONDS = 75.0
"""The time for which an idle connection is kept: load balancers close it before."""
MAX_REQUEST_BYTES = 64 * 1024
"""The bytes of a request's body that are read and dropped. Routes that need one read it."""
DRAIN_PRIORITY = -10
"""Sanic runs stop listeners in reverse: this one goes before its own clean-up."""
LAST_BEFORE_START = -10


@dataclass
class ChatContext:
    """The parts of the application, in each of its processes."""

    config: Config
    doubts: list[str]
    """Sentences about settings, to be logged once."""
    is_configured: bool
    """Whether the program has made the settings itself, and not taken them from the environment."""
    authenticator: Authenticator | None
    log_level: LogLevel
    listener: Listener
    worker: Worker | None = None
    """Set in a worker process before it serves."""
    embedded_redis: EmbeddedRedis | None = None
    """Set in the process that has started it."""
    watchdog: Watchdog | None = None
    """Set in the main process."""
    admin_socket: socket.socket | None = None
    """Set in the main process, if there is a CHAT_ADMIN_LISTEN."""
    slots: SharedSlots | None = None
    """Set in the main process and in its workers, unless there is no memory to share."""


class ChatServer(Sanic[SanicConfig, ChatContext]):
    """Sanic with a listening socket, protocol and signals fit for many WebSockets."""

    def prepare(self, *arguments: Any, **settings: Any) -> None:
        """Prepare serving, as `Sanic.prepare` does: the command line and `run` both call it."""
        if settings.get("backlog", 100) == 100:  # Sanic's default
            settings["backlog"] = self.ctx.config.backlog
        settings["protocol"] = settings.get("protocol") or FastPathProtocol
        try:
            settings["ssl"], doubts = check_certificates(settings.get("ssl"))
            address = self.ctx.config.admin_listen
            if address is not None and not Sanic.test_mode:
                self.ctx.admin_socket = listen_at(address, backlog=self.ctx.config.backlog)
        except ConfigError as error:
            sys.exit(f"sanic_chat does not start: {error}")
        self.ctx.doubts += doubts
        if not Sanic.test_mode:
            hold_signals()
            replace_state_server()
        super().prepare(*arguments, **settings)

    def motd(self, server_settings: dict[str, Any] | None = None) -> None:
        """Log what starts, and where.

        For its own banner Sanic imports what it finds of sanic-ext and sanic-testing.
        """
        if self.config.MOTD and server_settings and "SANIC_WORKER_NAME" not in os.environ:
            told = VERSION, self.get_server_location(server_settings), sanic.__version__
            logger.info("sanic_chat %s at %s (Sanic %s) [%d]", *told, os.getpid())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Refuse to run as an ASGI application, whose sockets belong to another server."""
        await refuse_asgi(scope, send)


def create_app(arguments: object = None, /, *, config: Config | None = None) -> ChatServer:
    """Make the server, a Sanic application; `config` defaults to the environment.

    Opens nothing and starts nothing: that happens in listeners, in each process. Raises
    ConfigError if a setting is wrong; but the sanic command (`sanic sanic_chat:create_app`), which
    gives its own `arguments`, ends with that sentence. Worker processes import the program anew,
    and read their configuration from the environment that they inherit, to which the main process
    has added what the environment file says.
    """
    try:
        return _make_app(config)
    except ConfigError as error:
        if arguments is None:
            raise
        sys.exit(f"sanic_chat does not start: {error}")


def _make_app(config: Config | None) -> ChatServer:
    open_standard_streams()
    is_configured = config is not None
    is_worker = "SANIC_WORKER_NAME" in os.environ
    doubts: list[str] = []
    if config is None:
        if not is_worker:
            use_env_file()
            doubts = Config.doubts()
        config = Config.from_environment(os.environ)
    authenticator = make_authenticator(config)
    app = ChatServer(
        "sanic_chat",
        config=SanicConfig(
            {
                "AUTO_EXTEND": False,  # sanic-ext, if installed, would add /docs and CORS headers
                "GRACEFUL_SHUTDOWN_TIMEOUT": 2.0,
                "KEEP_ALIVE_TIMEOUT": KEEP_ALIVE_SECONDS,
                "MOTD": False,
                "REQUEST_MAX_HEADER_SIZE": config.max_header_bytes,
                "REQUEST_MAX_SIZE": MAX_REQUEST_BYTES,
            }
        ),
        ctx=ChatContext(
            config,
            doubts,
            is_configured,
            authenticator,
            LogLevel(config.log_level),
            Listener(handshake_timeout=config.handshake_timeout),
        ),
        request_class=ChatRequest,
        router=ChatRouter(),
        error_handler=JSONErrorHandler(),
        dumps=ujson.dumps,
        loads=ujson.loads,
        log_config=json_log_config() if config.log_format == JSON else None,
        configure_logging=True,
    )
    app.ctx.log_level.apply()  # not before: Sanic has configured its logs
    if config.log_format == JSON:
        logging.captureWarnings(True)
    if config.redis_url is None:
        find_server_program()  # what is missing is said before anything starts
    if config.redis_url is not None and not is_worker:
        # Not in workers: one that starts while a file is being renewed connects a little later.
        Endpoint(config.redis_url).check()
    if authenticator is not None:
        # Nor here. But new workers without keys are not to take the place of old ones with keys.
        is_tried = os.environ.get("SANIC_WORKER_NAME") == rehearsal.NAME
        if is_tried or (config.auth_keys_file is not None and not is_worker):
            authenticator.keys.load()
    keep_tokens_out_of_logs()
    if not Sanic.test_mode:
        app.ctx.listener.watch()

    app.blueprint(chat_blueprint("chat", url_prefix=config.api_prefix))
    app.blueprint(probes_blueprint("probes", url_prefix=config.api_prefix))
    if config.api_prefix:
        app.blueprint(chat_blueprint("chat_without_prefix", url_prefix=""))
        app.blueprint(probes_blueprint("probes_without_prefix", url_prefix=""))
    app.blueprint(pages_blueprint())
    if config.api_keys:
        app.blueprint(api_blueprint(url_prefix=config.api_prefix, version=VERSION))

    app.main_process_start(_raise_limits)
    app.main_process_start(_warn_of_doubts)
    app.main_process_start(_start_embedded_redis)
    app.main_process_start(_expect_pulses)
    app.main_process_start(_share_memory)
    app.main_process_start(_share_the_admin_socket)
    app.main_process_ready(_supervise)
    app.main_process_stop(_stop_embedded_redis)
    app.before_server_start(_watch_for_the_end)
    if not is_worker:  # or the main process has done it
        app.before_server_start(_raise_limits)
        app.before_server_start(_warn_of_doubts)
    app.before_server_start(_start_worker)
    app.before_server_start(_spare_the_garbage_collector, priority=LAST_BEFORE_START)
    app.after_server_start(_say_ready)
    app.before_server_stop(_stop_worker, priority=DRAIN_PRIORITY)
    app.after_server_stop(_stop_embedded_redis)
    return app


# -- main process --------------------------------------------------------------------------


def _warn_of_doubts(app: ChatServer) -> None:
    """Log what is likely to be a mistake in the settings, or too little on this machine."""
    doubts, app.ctx.doubts = app.ctx.doubts, []
    if not Sanic.test_mode:
        doubts += warnings_at_start(app.ctx.config, app.state.workers)
    for sentence in doubts:
        logger.warning("%s", sentence)


def _raise_limits(app: ChatServer) -> None:
    if not Sanic.test_mode:
        raise_limit()


def _start_embedded_redis(app: ChatServer) -> None:
    if app.ctx.config.redis_url is None:
        app.ctx.embedded_redis = EmbeddedRedis()
        try:
            app.ctx.embedded_redis.start()
        except ConfigError as error:
            sys.exit(f"sanic_chat does not start: {error}")
        os.environ["REDIS_URL"] = app.ctx.embedded_redis.url  # the workers inherit it


def _expect_pulses(app: ChatServer) -> None:
    app.ctx.watchdog = Watchdog(timeout=app.ctx.config.hang_timeout)
    app.shared_ctx.pulse_pipe = app.ctx.watchdog.pipe  # the workers get it when they are made


def _share_the_admin_socket(app: ChatServer) -> None:
    if app.ctx.admin_socket is not None:
        app.shared_ctx.admin_socket = socket_handle(app.ctx.admin_socket)


def _share_memory(app: ChatServer) -> None:
    app.ctx.slots = make_slots()
    if app.ctx.slots is not None:
        app.shared_ctx.slots = app.ctx.slots.handle


def _supervise(app: ChatServer) -> None:
    assert app.ctx.watchdog is not None
    config = app.ctx.config

    def accept(config: Config, doubts: list[str]) -> None:
        app.ctx.config, app.ctx.doubts = config, doubts
        app.ctx.log_level.change(config.log_level)
        supervisor.allow(**_times(config))
        _raise_limits(app)
        _warn_of_doubts(app)

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
        levels=_level_actions(app),
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


def _level_actions(app: ChatServer) -> dict[signal.Signals, Callable[[], None]]:
    begin, end = LEVEL_SIGNALS
    return {begin: app.ctx.log_level.begin_debug, end: app.ctx.log_level.end_debug}


def _stop_embedded_redis(app: ChatServer) -> None:
    if app.ctx.embedded_redis is not None:
        app.ctx.embedded_redis.stop()


# -- each worker ---------------------------------------------------------------------------


async def _start_worker(app: ChatServer) -> None:
    redis_url = app.ctx.config.redis_url
    if redis_url is None:  # a single process: there was no main process to start it
        _start_embedded_redis(app)
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
        end = partial(os.kill, os.getpid(), signal.SIGTERM)
        worker.pod.cluster.removals.drain_here = end
    await worker.start()
    app.ctx.worker = worker
    if app.ctx.config.admin_listen is not None and not Sanic.test_mode:
        shared = getattr(app.shared_ctx, "admin_socket", None)
        sock = app.ctx.admin_socket if shared is None else socket_of(shared)
        assert sock is not None
        app.ctx.listener.add(AdminProtocol, sock)


def _claim_slot(app: ChatServer) -> Slots | None:
    if "SANIC_WORKER_NAME" not in os.environ:
        return LoneSlot()
    app.ctx.slots = claim_slot(getattr(app.shared_ctx, "slots", None))
    return app.ctx.slots


async def _watch_for_the_end(app: ChatServer) -> None:
    if not Sanic.test_mode:
        loop = asyncio.get_running_loop()
        leave = {LEAVE: partial(_leave, app)} if "SANIC_WORKER_NAME" in os.environ else {}
        WorkerSignals(
            loop,
            stop=lambda: app.stop(terminate=False),
            is_running=lambda: app.state.is_running,
            others=_level_actions(app) | leave,
        )
        stop_with_the_main_process(loop)


def _leave(app: ChatServer) -> None:
    """Leave new connections to the other workers, until the drain."""
    app.ctx.listener.close()
    app.config.KEEP_ALIVE = False
    if app.ctx.worker is not None:
        app.ctx.worker.leave()


def _spare_the_garbage_collector(app: ChatServer) -> None:
    """Exclude from garbage collection what the start has made: it lives as long as the worker."""
    if not Sanic.test_mode:  # the process is the server's own
        gc.collect()
        gc.freeze()


def _say_ready(app: ChatServer) -> None:
    """Say so in the log, and to the watchdog, which hears of this worker from now on."""
    assert app.ctx.worker is not None
    pod = app.ctx.worker.pod
    trouble = pod.broker.trouble()
    state = "is ready" if trouble is None else f"serves, and is not ready ({trouble.code})"
    logger.info("Pod %s %s [%d]", pod.id, state, os.getpid())
    pipe = getattr(app.shared_ctx, "pulse_pipe", None)
    if pipe is not None:
        loop = asyncio.get_running_loop()
        WatchdogPulse(loop, pipe, timeout=app.ctx.config.hang_timeout).start()


async def _stop_worker(app: ChatServer) -> None:
    if app.ctx.worker is not None:  # else it never started
        await app.ctx.worker.stop()
