"""Puts the server together: configuration, routes, listeners.

The only module below `server.py` that sees both Sanic's life cycle and the pod's:

    main process   main_process_start   embedded Redis, if there is no REDIS_URL; pipe for pulses
                   main_process_ready   supervisor
                   main_process_stop    embedded Redis ends
    each worker    before_server_start  stop signals, watch over the main process; pod, reporter
                   after_server_start   pulse
                   before_server_stop   drain, then the links to Redis
"""

from __future__ import annotations

import asyncio
import os
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import ujson
from sanic import Sanic
from sanic.config import Config as SanicConfig

from .arrival import ArrivalProtocol
from .broker.embedded import EmbeddedRedis, find_server_program
from .config import Config
from .drain import drain_sessions
from .entrance import Entrance
from .errors import ConfigError
from .handshake import HandshakeReader
from .http_connections import (
    ChatRequest,
    HttpDeadlines,
    close_http_connections,
    limit_tls_handshakes,
)
from .logs import keep_tokens_out_of_logs, logger
from .origin import OriginPolicy
from .orphans import OrphanWatch, remember_state_server
from .pod import Pod
from .pulse import Pulse, PulseWatch
from .reporter import Reporter, build_report
from .signals import StopSignals, hold_stop_signals
from .stats import StatsStore
from .supervisor import Supervisor
from .web.chat import chat_blueprint
from .web.errors import JSONErrorHandler
from .web.pages import pages_blueprint
from .web.probes import probes_blueprint

if TYPE_CHECKING:
    from .auth import Authenticator

REDIS_CLOSE_SECONDS = 1.0
HTTP_CLOSE_SECONDS = 1.0
STOP_MARGIN_SECONDS = 5.0
"""What a worker may need beyond its drain to stop, mostly with a Redis that does not answer."""
KEEP_ALIVE_SECONDS = 75.0
"""Longer than load balancers keep an idle connection: they, not we, are to close it."""
MAX_REQUEST_BYTES = 64 * 1024
"""No request here has a body; one that comes all the same is read so far, and then dropped."""
DRAIN_PRIORITY = -10
"""Sanic runs stop listeners in reverse: this one goes before its own clean-up."""


class ChatServer(Sanic[SanicConfig, SimpleNamespace]):
    """Sanic with a listening socket, protocol and signals fit for many WebSockets."""

    def prepare(self, *arguments: Any, **settings: Any) -> None:
        """As `Sanic.prepare`, which the command line and `run` both call before serving."""
        if settings.get("backlog", 100) == 100:  # Sanic's default
            settings["backlog"] = self.ctx.config.backlog
        settings["protocol"] = settings.get("protocol") or ArrivalProtocol
        if not Sanic.test_mode:
            hold_stop_signals()
        super().prepare(*arguments, **settings)
        limit_tls_handshakes(self.state.server_info[-1].settings, self.ctx.config.handshake_timeout)


def create_app(*, config: Config | None = None) -> ChatServer:
    """The server as a Sanic application; `config` defaults to the environment.

    Opens nothing and starts nothing: that happens in listeners, in each process. Raises
    ConfigError if a setting is wrong. Worker processes import the program anew, and read their
    configuration from the environment that they inherit.
    """
    config = Config.from_environment() if config is None else config
    app = ChatServer(
        "sanic_chat",
        config=SanicConfig(
            {
                "GRACEFUL_SHUTDOWN_TIMEOUT": 2.0,
                "KEEP_ALIVE_TIMEOUT": KEEP_ALIVE_SECONDS,
                "MOTD": False,
                "REQUEST_MAX_SIZE": MAX_REQUEST_BYTES,
            }
        ),
        ctx=SimpleNamespace(config=config, http_connections=set()),
        request_class=ChatRequest,
        error_handler=JSONErrorHandler(),
        dumps=ujson.dumps,
        loads=ujson.loads,
        configure_logging=True,
    )
    app.ctx.authenticator = _authenticator(config)
    app.ctx.handshake_reader = HandshakeReader({config.api_prefix, ""})
    if config.redis_url is None:
        find_server_program()  # what is missing is said before anything starts
    keep_tokens_out_of_logs()

    app.blueprint(chat_blueprint("chat", url_prefix=config.api_prefix))
    app.blueprint(probes_blueprint("probes", url_prefix=config.api_prefix))
    if config.api_prefix:
        app.blueprint(chat_blueprint("chat_without_prefix", url_prefix=""))
        app.blueprint(probes_blueprint("probes_without_prefix", url_prefix=""))
    app.blueprint(pages_blueprint())

    app.main_process_start(_start_embedded_redis)
    app.main_process_start(_expect_pulses)
    app.main_process_ready(_supervise)
    app.main_process_stop(_stop_embedded_redis)
    app.before_server_start(_watch_for_the_end)
    app.before_server_start(_start_pod)
    app.after_server_start(_say_ready)
    app.after_server_start(_start_pulse)
    app.before_server_stop(_drain, priority=DRAIN_PRIORITY)
    app.after_server_stop(_stop_embedded_redis)
    app.after_server_stop(_end_as_orphan)
    return app


def _authenticator(config: Config) -> Authenticator | None:
    if not config.auth_enabled:
        return None
    # Only here: PyJWT and its cryptography make each process start later, and take memory.
    from .auth import Authenticator

    key = config.auth_secret or config.auth_public_key
    assert key is not None  # Config has seen to it
    return Authenticator(key=key, algorithms=config.auth_algorithms)


# -- main process --------------------------------------------------------------------------


def _start_embedded_redis(app: ChatServer) -> None:
    if app.ctx.config.redis_url is None:
        app.ctx.embedded_redis = EmbeddedRedis()
        try:
            app.ctx.embedded_redis.start()
        except ConfigError as error:
            sys.exit(f"sanic_chat does not start: {error}")
        os.environ["REDIS_URL"] = app.ctx.embedded_redis.url  # the workers inherit it


def _expect_pulses(app: ChatServer) -> None:
    timeout = app.ctx.config.hang_timeout
    app.ctx.pulses = PulseWatch(timeout=timeout) if timeout else None
    if app.ctx.pulses is not None:
        app.shared_ctx.pulse_pipe = app.ctx.pulses.pipe  # the workers get it when they are made


def _supervise(app: ChatServer) -> None:
    config: Config = app.ctx.config
    remember_state_server(app.manager)
    Supervisor(
        app.manager,
        restart_limit=config.restart_limit,
        stop_timeout=config.drain_grace + config.drain_timeout + STOP_MARGIN_SECONDS,
        pulses=app.ctx.pulses,
    ).start()


def _stop_embedded_redis(app: ChatServer) -> None:
    embedded = getattr(app.ctx, "embedded_redis", None)
    if embedded is not None:
        embedded.stop()


# -- each worker ---------------------------------------------------------------------------


async def _start_pod(app: ChatServer) -> None:
    config: Config = app.ctx.config
    redis_url = config.redis_url
    if redis_url is None:  # a single process: there was no main process to start it
        _start_embedded_redis(app)
        redis_url = app.ctx.embedded_redis.url
    pod = Pod(config, redis_url=redis_url)
    worker = os.environ.get("SANIC_WORKER_NAME", "single-process")
    store = StatsStore(redis_url, interval=config.stats_interval, timeout=config.redis_timeout)
    reporter = Reporter(
        store,
        report=lambda: build_report(pod, worker=worker),
        interval=config.stats_interval,
        rooms=config.stats_rooms,
    )
    await pod.start()
    reporter.start()
    app.ctx.pod = pod
    app.ctx.entrance = Entrance(
        pod,
        origins=OriginPolicy(config.allowed_origins),
        authenticator=app.ctx.authenticator,
        retry_after=config.retry_after,
    )
    app.ctx.reporter = reporter
    app.ctx.http_deadlines = HttpDeadlines(
        asyncio.get_running_loop(),
        lambda: app.ctx.http_connections,
        head_timeout=config.handshake_timeout,
        idle_timeout=app.config.KEEP_ALIVE_TIMEOUT,
        answer_timeout=app.config.RESPONSE_TIMEOUT,
    )
    app.ctx.http_deadlines.start()
    logger.info("Pod %s: worker %s, Redis at %s", pod.id, worker, pod.endpoint)


async def _watch_for_the_end(app: ChatServer) -> None:
    if not Sanic.test_mode:
        loop = asyncio.get_running_loop()
        StopSignals(
            loop,
            stop=lambda: app.stop(terminate=False),
            is_running=lambda: app.state.is_running,
        )
        app.ctx.orphan_watch = OrphanWatch(loop)


def _say_ready(app: ChatServer) -> None:
    logger.info("Pod %s is ready [%d]", app.ctx.pod.id, os.getpid())


def _start_pulse(app: ChatServer) -> None:
    pipe = getattr(app.shared_ctx, "pulse_pipe", None)
    if pipe is not None:
        loop = asyncio.get_running_loop()
        Pulse(loop, pipe, timeout=app.ctx.config.hang_timeout).start()


def _end_as_orphan(app: ChatServer) -> None:
    orphan_watch: OrphanWatch | None = getattr(app.ctx, "orphan_watch", None)
    if orphan_watch is not None:
        orphan_watch.end_state_server()


async def _drain(app: ChatServer) -> None:
    pod: Pod | None = getattr(app.ctx, "pod", None)
    if pod is None:
        return  # it never started
    logger.info("Pod %s: draining %d sessions", pod.id, pod.connected)
    config: Config = app.ctx.config
    await drain_sessions(
        pod, grace=config.drain_grace, window=config.drain_window, timeout=config.drain_timeout
    )
    await app.ctx.reporter.close(REDIS_CLOSE_SECONDS)
    await pod.close(REDIS_CLOSE_SECONDS)
    # Last, since the listening socket still accepts: Sanic closes it right after this.
    await close_http_connections(app.ctx.http_connections, timeout=HTTP_CLOSE_SECONDS)
    app.ctx.http_deadlines.stop()
