"""The settings, read from the environment and checked once, at start-up.

A setting is a field of `Config`: its environment variable, unit, bounds and meaning stand beside
it. Nothing else in the package reads the environment for settings. Secrets never show in an
error or in `repr`.

May live here: each setting. Must not know what a setting does.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields

from ..protocol.api_keys import ApiKey
from ..protocol.forwarded import Network
from ..protocol.message import MESSAGE_OVERHEAD_BYTES
from . import readers
from .consistency import (
    MIN_SECRET_BYTES,
    check_auth,
    check_cookie,
    check_message_size,
    default_algorithms,
)
from .declaration import read_values, variables_of
from .declaration import setting as _setting
from .env_file import find_hidden, with_env_file
from .environment import find_doubts

DISCONNECT, DROP_OLDEST = "disconnect", "drop_oldest"
EVERYONE, SERVER, OFF = "everyone", "server", "off"
CLOSE, IGNORE = "close", "ignore"
STATS, METRICS = "stats", "metrics"
TEXT, JSON = "text", "json"
DEBUG, INFO, WARNING, ERROR = "debug", "info", "warning", "error"
MAX_DRAIN_SECONDS = 120
MAX_GRACE_SECONDS = 60


def _default_pod_prefix() -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:64] or "pod"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings of a server. `Config.from_environment()` reads and checks them."""

    api_prefix: str = _setting(
        "CHAT_API_PREFIX",
        "/api/chat-api",
        readers.api_prefix,
        "Path before /ws and /ws/stats; both are also served without it.",
    )
    pod_prefix: str = _setting(
        "POD_ID",
        "",
        readers.pod_prefix,
        "First part of every pod ID; a random part follows. Empty: the host name.",
    )
    backlog: int = _setting(
        "CHAT_BACKLOG",
        4096,
        readers.whole_number(1, 65535),
        "Connections the kernel queues before a worker accepts them (also bounded by somaxconn).",
        needs_restart=True,
    )
    env_file: str | None = _setting(
        "CHAT_ENV_FILE",
        None,
        readers.text,
        "A file with variables, NAME=VALUE in each line, which is read anew when the server "
        "reloads (SIGHUP). What the environment has itself, and options, precede.",
        needs_restart=True,
    )

    redis_url: str | None = _setting(
        "REDIS_URL",
        None,
        readers.redis_url,
        "Where Redis is: redis://, rediss:// or unix://. Empty: an embedded server is started.",
        secret=True,
    )
    redis_prefix: str = _setting(
        "CHAT_REDIS_PREFIX",
        "realtime",
        readers.redis_prefix,
        "What every channel and key on Redis begins with. Give each deployment on one Redis its "
        "own: pub/sub knows no database numbers, so /0 hears what is said on /1.",
    )
    redis_timeout: float = _setting(
        "CHAT_REDIS_TIMEOUT",
        5.0,
        readers.seconds(0.1, 60),
        "Seconds Redis may stay silent after a ping before the connection is built anew; a quarter "
        "of it, and at least 1, an attempt to connect may take.",
    )
    proof_interval: float = _setting(
        "CHAT_PROOF_INTERVAL",
        1.0,
        readers.seconds(0.1, 30),
        "Seconds between two proofs that what is published arrives. Three without one, and the pod "
        "is not ready; the link that has lost it is built anew.",
    )
    subscribe_timeout: float = _setting(
        "CHAT_SUBSCRIBE_TIMEOUT",
        1.0,
        readers.seconds(0, 30),
        "Seconds an upgrade waits for Redis to confirm a room's subscription. 0: it never waits.",
    )
    unsubscribe_delay: float = _setting(
        "CHAT_UNSUBSCRIBE_DELAY",
        5.0,
        readers.seconds(0, 3600),
        "Seconds a room without members stays subscribed, since rooms flap.",
    )
    publish_queue_messages: int = _setting(
        "CHAT_PUBLISH_QUEUE_MESSAGES",
        10_000,
        readers.whole_number(0, 10_000_000),
        "Envelopes that wait while Redis is away. 0: none; beyond it senders get `unavailable`. "
        "While Redis is there, senders are held when half as many are on their way to it.",
    )
    publish_queue_bytes: int = _setting(
        "CHAT_PUBLISH_QUEUE_BYTES",
        8 * 1024 * 1024,
        readers.whole_number(0, 2**40),
        "Bytes of envelopes that wait while Redis is away.",
    )
    publish_queue_seconds: float = _setting(
        "CHAT_PUBLISH_QUEUE_SECONDS",
        10.0,
        readers.seconds(0, 3600),
        "Seconds after which an envelope that waits for Redis is dropped and its sender told.",
    )

    max_connections: int = _setting(
        "CHAT_MAX_CONNECTIONS",
        0,
        readers.whole_number(0, 10_000_000),
        "Clients a worker takes, handshakes included; one more gets 503. Beside them it holds 64 "
        "connections that are still HTTP: beyond that the oldest without a request makes room. 0: "
        "no limit.",
    )
    handshake_timeout: float = _setting(
        "CHAT_HANDSHAKE_TIMEOUT",
        5.0,
        readers.seconds(0.5, 60),
        "Seconds in which a client must have sent its whole request, and done its TLS handshake.",
    )
    max_header_bytes: int = _setting(
        "CHAT_MAX_HEADER_BYTES",
        16 * 1024,
        readers.whole_number(1024, 64 * 1024),
        "Bytes a request's line and headers may have together; a longer head gets 431. Cookies and "
        "tokens of an authenticating proxy may need more.",
    )
    max_message_bytes: int = _setting(
        "CHAT_MAX_MESSAGE_BYTES",
        64 * 1024,
        readers.whole_number(1024, 64 * 1024 * 1024),
        "Bytes a client's message may have; a larger one closes with 1009. Every queue must take "
        f"one, and {MESSAGE_OVERHEAD_BYTES} bytes more.",
    )
    max_message_fragments: int = _setting(
        "CHAT_MAX_MESSAGE_FRAGMENTS",
        128,
        readers.whole_number(1, 1_000_000),
        "Frames a client's message may come in; one more closes with 1008.",
    )
    send_queue_messages: int = _setting(
        "CHAT_SEND_QUEUE_MESSAGES",
        256,
        readers.whole_number(1, 1_000_000),
        "Messages a client may have waiting; one more, and it is a slow consumer.",
    )
    send_queue_bytes: int = _setting(
        "CHAT_SEND_QUEUE_BYTES",
        1024 * 1024,
        readers.whole_number(64 * 1024, 2**40),
        "Bytes a client may have waiting; with more it is a slow consumer.",
    )
    send_queue_total_bytes: int = _setting(
        "CHAT_SEND_QUEUE_TOTAL_BYTES",
        64 * 1024 * 1024,
        readers.whole_number(64 * 1024, 2**40),
        "Bytes all clients of a worker together may have waiting. Beyond it those with the most go "
        "first, or with drop_oldest lose what waits for them.",
    )
    slow_consumer: str = _setting(
        "CHAT_SLOW_CONSUMER",
        DISCONNECT,
        readers.one_of(DISCONNECT, DROP_OLDEST),
        "What becomes of a slow consumer: disconnect closes it with 1013; drop_oldest drops its "
        "oldest messages, tells it so if it asked for events, and keeps it.",
    )
    backpressure_bytes: int = _setting(
        "CHAT_BACKPRESSURE_BYTES",
        16 * 1024 * 1024,
        readers.whole_number(64 * 1024, 1024**3),
        "Bytes of messages under way to a worker's clients, beyond which it reads no more from who "
        "fills a room that is behind, Redis included; at twice as many, from nobody who sends.",
    )
    rooms_per_session: int = _setting(
        "CHAT_ROOMS_PER_SESSION",
        128,
        readers.whole_number(1, 100_000),
        "Rooms one client may be in at the same time.",
    )
    sessions_per_user: int = _setting(
        "CHAT_SESSIONS_PER_USER",
        0,
        readers.whole_number(0, 10_000),
        "Sessions one user may have on one worker; one more is closed with 1008. 0: no limit.",
    )
    global_publish: str = _setting(
        "CHAT_GLOBAL_PUBLISH",
        EVERYONE,
        readers.one_of(EVERYONE, SERVER),
        "Who may speak to everybody: everyone, or server for backends by way of Redis. A token "
        "that names rooms needs a grant of its own in any case.",
    )
    personal_rooms: str = _setting(
        "CHAT_PERSONAL_ROOMS",
        SERVER,
        readers.one_of(SERVER, EVERYONE, OFF),
        "Who may speak in a user's room, @USER, besides the user and backends by way of Redis: "
        "nobody without a grant (server), or everyone. off: there are no such rooms.",
    )
    subprotocols: tuple[str, ...] = _setting(
        "CHAT_SUBPROTOCOLS",
        (),
        readers.tokens,
        "Comma-separated subprotocols that are selected if a client offers one of them and not "
        "sanic-chat.v1. A browser gives up a connection without one that it has offered.",
    )
    heartbeat_timeout: float = _setting(
        "CHAT_HEARTBEAT_TIMEOUT",
        60.0,
        readers.seconds(1, 86_400),
        "Seconds without a sign of life after which a client is gone; pinged at half of it. "
        "Whatever cuts off idle connections in between has to wait for longer than that half.",
    )
    drain_timeout: float = _setting(
        "CHAT_DRAIN_TIMEOUT",
        5.0,
        readers.seconds(0.1, MAX_DRAIN_SECONDS),
        "Seconds a drain may take, after its grace; a worker that needs 5 more is killed. For "
        "more than 2000 clients a worker raise it, with the window, and what your service "
        "manager allows.",
    )
    drain_window: float = _setting(
        "CHAT_DRAIN_WINDOW",
        3.0,
        readers.seconds(0, MAX_DRAIN_SECONDS),
        "Seconds over which a drain spreads its close frames: at most three fifths of the timeout. "
        "A pod with few clients takes less.",
    )
    drain_grace: float = _setting(
        "CHAT_DRAIN_GRACE",
        0.0,
        readers.seconds(0, MAX_GRACE_SECONDS),
        "Seconds between the moment in which /ready turns 503 and the first close frame, for a "
        "load balancer to notice: the interval of its check, times the failures it waits for.",
    )
    retry_after: int = _setting(
        "CHAT_RETRY_AFTER",
        2,
        readers.whole_number(1, 3600),
        "Seconds in the Retry-After of a 503.",
    )

    stats_interval: float = _setting(
        "CHAT_STATS_INTERVAL",
        1.0,
        readers.seconds(0.1, 5),
        "Seconds between two reports of a pod to Redis; a pod is gone from the totals after five.",
    )
    stats_rooms: int = _setting(
        "CHAT_STATS_ROOMS",
        10,
        readers.whole_number(0, 100),
        "How many of the largest rooms the stats list.",
    )

    allowed_origins: tuple[str, ...] = _setting(
        "CHAT_ALLOWED_ORIGINS",
        (),
        readers.origins,
        "Comma-separated origins whose pages may connect, like https://chat.example.com, or * for "
        "all. Empty: pages of the same host. Who sends no Origin is no browser, and may connect.",
    )
    auth_enabled: bool = _setting(
        "AUTH_ENABLED",
        False,
        readers.switch,
        "Whether a client needs a JWT, which says who it is and what it may do.",
    )
    auth_secret: str | None = _setting(
        "AUTH_SECRET",
        None,
        readers.text,
        f"Shared secret for HS256, HS384, HS512; at least {MIN_SECRET_BYTES} bytes. It is taken as "
        "it stands, backslashes too, and by docker its quotes: leave them out there.",
        secret=True,
        verbatim=True,
    )
    auth_public_key: str | None = _setting(
        "AUTH_PUBLIC_KEY",
        None,
        readers.pem,
        r"Public key in PEM for RS*, PS*, ES*, EdDSA; line breaks may be written as \n, in single "
        r"quotes: '-----BEGIN PUBLIC KEY-----\nMIIB...\n-----END PUBLIC KEY-----'.",
        secret=True,
    )
    auth_keys_file: str | None = _setting(
        "AUTH_KEYS_FILE",
        None,
        readers.text,
        "A file with a JWK set (RFC 7517), public keys and shared secrets, which is read again "
        "within 10 s when it changes. Replace it by renaming another to its name.",
    )
    auth_jwks_url: str | None = _setting(
        "AUTH_JWKS_URL",
        None,
        readers.jwks_url,
        "The URL of a JWK set, public keys only. It is fetched every 10 minutes, and for tokens "
        "with an unknown `kid` once a minute at most, by each worker.",
    )
    auth_algorithms: tuple[str, ...] = _setting(
        "AUTH_ALGORITHMS",
        (),
        readers.algorithms,
        "Comma-separated algorithms a token may use. Empty: HS256 with a secret, RS256 with a "
        "public key; with a JWK set RS256, ES256, ES384, ES512, EdDSA, and HS256 in a file.",
    )
    auth_leeway: float = _setting(
        "AUTH_LEEWAY",
        30.0,
        readers.seconds(0, 600),
        "Seconds by which the clocks of who signs tokens and of this server may differ: a token is "
        "taken so long after its `exp`, and before its `nbf` and `iat`.",
    )
    auth_audience: tuple[str, ...] = _setting(
        "AUTH_AUDIENCE",
        (),
        readers.texts,
        "Comma-separated audiences; a token must name one of them in `aud`. Empty: `aud` is not "
        "looked at.",
    )
    auth_issuer: tuple[str, ...] = _setting(
        "AUTH_ISSUER",
        (),
        readers.texts,
        "Comma-separated issuers; a token must come from one of them by its `iss`. Empty: `iss` is "
        "not looked at.",
    )
    auth_user_claim: str = _setting(
        "AUTH_USER_CLAIM",
        "sub",
        readers.text,
        "The claim of a token that says who the user is, and becomes `from`.",
    )
    auth_expiry: str = _setting(
        "AUTH_EXPIRY",
        CLOSE,
        readers.one_of(CLOSE, IGNORE),
        "What becomes of a client whose token ends: close, with 4401 and at most 5 s after `exp` "
        "and AUTH_LEEWAY, unless it has sent a new one; or ignore, as for tokens that only let in.",
    )
    auth_cookie: str | None = _setting(
        "AUTH_COOKIE",
        None,
        readers.token,
        "Name of a cookie that may hold the token, for pages that may connect "
        "(CHAT_ALLOWED_ORIGINS, which then may not have *, null or file://). Empty: no cookie is "
        "looked at.",
    )

    api_keys: tuple[ApiKey, ...] = _setting(
        "CHAT_API_KEYS",
        (),
        readers.api_keys,
        "Keys with which backends use the HTTP API: publish may publish, read may ask, admin may "
        "disconnect and drain. Several may be good at a time, while one takes the place of "
        "another. Empty: there is no API.",
        secret=True,
    )
    admin_listen: str | None = _setting(
        "CHAT_ADMIN_LISTEN",
        None,
        readers.address,
        "An address and a port, in plain HTTP, for the API, the stats and the metrics, which are "
        "then not served where clients come. Empty: they are.",
        needs_restart=True,
    )
    open_subjects: tuple[str, ...] = _setting(
        "CHAT_OPEN",
        (),
        readers.some_of(STATS, METRICS),
        "What may be read without a key though there is CHAT_API_KEYS: stats, metrics, or both.",
    )

    log_format: str = _setting(
        "CHAT_LOG_FORMAT",
        TEXT,
        readers.one_of(TEXT, JSON),
        "How the log is written: text, or json for one object a line.",
        needs_restart=True,
    )
    log_level: str = _setting(
        "CHAT_LOG_LEVEL",
        INFO,
        readers.one_of(DEBUG, INFO, WARNING, ERROR),
        "The least level of what is logged. SIGUSR1 makes it debug while the server runs, SIGUSR2 "
        "what is set here again.",
    )
    lifecycle: bool = _setting(
        "CHAT_LIFECYCLE",
        False,
        readers.switch,
        "Whether backends are told on Redis, on the channel `realtime:lifecycle`, of each client "
        "that comes and goes, and of lost pods. Costs a PUBLISH for each.",
    )
    log_clients: bool = _setting(
        "CHAT_LOG_CLIENTS",
        False,
        readers.switch,
        "Whether each client that comes and goes is logged, with its address, messages and close "
        "code. Costs up to a tenth of the speed, and 700 bytes a client.",
    )
    trusted_proxies: tuple[Network | str, ...] = _setting(
        "CHAT_TRUSTED_PROXIES",
        (),
        readers.networks,
        "Comma-separated networks of proxies, like 10.0.0.0/8, whose X-Forwarded-For tells "
        "clients' addresses, for the log; unix for such as come by a Unix socket. Costs 100 bytes "
        "a client. Empty: none.",
    )

    restart_limit: int = _setting(
        "CHAT_RESTART_LIMIT",
        10,
        readers.whole_number(0, 1000),
        "Worker deaths within 60 s after which the whole server gives up with exit code 1.",
        needs_restart=True,
    )
    hang_timeout: int = _setting(
        "CHAT_HANG_TIMEOUT",
        30,
        readers.whole_number(0, 3600),
        "Seconds a worker's event loop may stand still before it is killed and replaced. 0: never, "
        "as a debugger needs it.",
        needs_restart=True,
    )

    def __post_init__(self) -> None:
        if not self.pod_prefix:
            object.__setattr__(self, "pod_prefix", _default_pod_prefix())
        check_message_size(self)
        if self.auth_enabled:
            check_auth(self)
        check_cookie(self)
        if not self.auth_algorithms:
            object.__setattr__(self, "auth_algorithms", default_algorithms(self))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Config:
        """Read every setting from `environment`.

        The default is `os.environ`, and what the file adds that its CHAT_ENV_FILE names. An empty
        variable counts as not set. Raises ConfigError with a sentence that names the variable, the
        bad value and what is allowed.
        """
        environment = with_env_file(os.environ) if environment is None else environment
        return cls(**read_values(fields(cls), environment))

    @classmethod
    def doubts(cls, environment: Mapping[str, str] | None = None) -> list[str]:
        """Return a sentence for each likely mistake in `environment`.

        The default is `os.environ`, with the file that its CHAT_ENV_FILE names. No sentence shows a
        setting's value. Raises ConfigError if the file cannot be read.
        """
        known = variables_of(fields(cls))
        if environment is None:
            return find_hidden(os.environ) + find_doubts(with_env_file(os.environ), known)
        return find_doubts(environment, known)
