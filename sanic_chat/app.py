"""The server as a Sanic application: configuration, routes, listeners.

Sanic's listeners call:

    main process   main_process_start   embedded Redis, if there is no REDIS_URL; watchdog; the
                                        memory for metrics; the admin socket
                   main_process_ready   supervisor; metrics of the main process
                   main_process_stop    embedded Redis ends
    each worker    before_server_start  signals, watch over the main process; the worker starts
                   after_server_start   pulse
                   before_server_stop   the worker stops: drain, then the links to Redis

May live here: Sanic's configuration, its routes, and which listener calls what of `serving`. Must
not know what that does.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import sanic
import ujson
from sanic import Sanic
from sanic.config import Config as SanicConfig

from .broker.endpoint import Endpoint
from .config.env_file import use_env_file
from .config.settings import JSON, Config
from .errors import ConfigError
from .logs.gone_clients import leave_out_gone_clients
from .logs.json_format import json_log_config
from .logs.level import LogLevel
from .logs.logger import logger
from .logs.redaction import keep_tokens_out_of_logs
from .process import rehearsal
from .process.descriptors import open_standard_streams
from .process.embedded_redis import find_server_program
from .process.listener import Listener, listen_at
from .process.os_signals import hold_signals
from .process.worker_states import replace_state_server
from .serving import main_process, worker_process
from .serving.context import ChatContext
from .serving.new_settings import check_certificates
from .tokens import make_authenticator
from .upgrade.fast_path import FastPathProtocol
from .upgrade.sanic_http import ChatRequest, ChatRouter
from .version import VERSION
from .web.api import api_blueprint, no_api_blueprint
from .web.asgi import refuse_asgi
from .web.errors import JSONErrorHandler
from .web.pages import pages_blueprint
from .web.probes import probes_blueprint
from .web.ws import chat_blueprint

KEEP_ALIVE_SECONDS = 75.0
"""The time for which an idle connection is kept: load balancers close it before."""
MAX_REQUEST_BYTES = 64 * 1024
"""The bytes of a request's body that are read and dropped. Routes that need one read it."""
DRAIN_PRIORITY = -10
"""Sanic runs stop listeners in reverse: this one goes before its own clean-up."""
LAST_BEFORE_START = -10


class ChatServer(Sanic[SanicConfig, ChatContext]):
    """Sanic with a listening socket, protocol and signals fit for many WebSockets."""

    def prepare(self, *arguments: Any, **settings: Any) -> None:
        """Prepare serving, as `Sanic.prepare` does: the command line and `run` both call it."""
        if settings.get("backlog", 100) == 100:  # Sanic's default
            settings["backlog"] = self.ctx.config.backlog
        settings["protocol"] = settings.get("protocol") or FastPathProtocol
        if (workers := settings.get("workers", 1)) < 1:
            sys.exit(f"sanic_chat does not start: --workers is {workers}; allowed are 1 or more")
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
        if not Sanic.test_mode:
            main_process.try_the_address(self)

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
    leave_out_gone_clients()
    if not Sanic.test_mode:
        app.ctx.listener.watch()
    _add_routes(app, config)
    _add_listeners(app, is_worker=is_worker)
    return app


def _add_routes(app: ChatServer, config: Config) -> None:
    app.blueprint(chat_blueprint("chat", url_prefix=config.api_prefix))
    app.blueprint(probes_blueprint("probes", url_prefix=config.api_prefix))
    if config.api_prefix:
        app.blueprint(chat_blueprint("chat_without_prefix", url_prefix=""))
        app.blueprint(probes_blueprint("probes_without_prefix", url_prefix=""))
    app.blueprint(pages_blueprint())
    if config.api_keys:
        app.blueprint(api_blueprint(url_prefix=config.api_prefix, version=VERSION))
    else:
        app.blueprint(no_api_blueprint(url_prefix=config.api_prefix))


def _add_listeners(app: ChatServer, *, is_worker: bool) -> None:
    app.main_process_start(main_process.raise_limits)
    app.main_process_start(main_process.warn_of_doubts)
    app.main_process_start(main_process.start_embedded_redis)
    app.main_process_start(main_process.expect_pulses)
    app.main_process_start(main_process.share_memory)
    app.main_process_start(main_process.share_the_admin_socket)
    app.main_process_ready(main_process.supervise)
    app.main_process_ready(main_process.spare_the_garbage_collector)
    app.main_process_stop(main_process.stop_embedded_redis)
    app.before_server_start(worker_process.watch_for_the_end)
    if not is_worker:  # or the main process has done it
        app.before_server_start(main_process.raise_limits)
        app.before_server_start(main_process.warn_of_doubts)
    app.before_server_start(worker_process.start_worker)
    app.before_server_start(main_process.spare_the_garbage_collector, priority=LAST_BEFORE_START)
    app.after_server_start(worker_process.say_ready)
    app.before_server_stop(worker_process.stop_worker, priority=DRAIN_PRIORITY)
    app.after_server_stop(main_process.stop_embedded_redis)
