"""Every setting, read from the environment and validated once, at start-up.

A setting is a field of `Config`: its environment variable, unit, bounds and meaning stand beside
it. Nothing else in the package reads the environment for settings. Secrets never show in an
error or in `repr`.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from . import setting_readers as readers
from .errors import ConfigError
from .setting_readers import ASYMMETRIC_ALGORITHMS, SYMMETRIC_ALGORITHMS, NotAllowed, Reader

MIN_SECRET_BYTES = 32
DISCONNECT, DROP_OLDEST = "disconnect", "drop_oldest"
MAX_DRAIN_SECONDS = 8
"""Grace and drain together: Sanic's manager gives a worker 10 in all."""


def _setting(variable: str, default: Any, read: Reader, doc: str, *, secret: bool = False) -> Any:
    return field(
        default=default,
        repr=not secret,
        metadata={"variable": variable, "read": read, "secret": secret, "doc": doc},
    )


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
    )

    redis_url: str | None = _setting(
        "REDIS_URL",
        None,
        readers.redis_url,
        "Where Redis is: redis://, rediss:// or unix://. Empty: an embedded server is started.",
        secret=True,
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
        "Envelopes that wait while Redis is away. 0: none; beyond it senders get `unavailable`.",
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
        "Clients a worker takes, handshakes included; one more gets 503. 0: no limit.",
    )
    handshake_timeout: float = _setting(
        "CHAT_HANDSHAKE_TIMEOUT",
        5.0,
        readers.seconds(0.5, 60),
        "Seconds in which a client must have sent its whole request, and done its TLS handshake.",
    )
    max_message_bytes: int = _setting(
        "CHAT_MAX_MESSAGE_BYTES",
        64 * 1024,
        readers.whole_number(1024, 64 * 1024 * 1024),
        "Bytes a client's message may have; a larger one closes with 1009.",
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
        "Bytes all clients of a worker may have waiting; beyond it the longest queues go first.",
    )
    slow_consumer: str = _setting(
        "CHAT_SLOW_CONSUMER",
        DISCONNECT,
        readers.one_of(DISCONNECT, DROP_OLDEST),
        "What becomes of a slow consumer: disconnect closes it with 1013, drop_oldest drops its "
        "oldest messages and keeps it.",
    )
    rooms_per_session: int = _setting(
        "CHAT_ROOMS_PER_SESSION",
        64,
        readers.whole_number(1, 100_000),
        "Rooms one client may be in at the same time.",
    )
    heartbeat_timeout: float = _setting(
        "CHAT_HEARTBEAT_TIMEOUT",
        60.0,
        readers.seconds(1, 86_400),
        "Seconds without a sign of life after which a client is gone; pinged at half of it.",
    )
    drain_timeout: float = _setting(
        "CHAT_DRAIN_TIMEOUT",
        5.0,
        readers.seconds(0.1, MAX_DRAIN_SECONDS),
        "Seconds a drain may take, after its grace. Sanic's manager gives a worker 10 in all.",
    )
    drain_window: float = _setting(
        "CHAT_DRAIN_WINDOW",
        3.0,
        readers.seconds(0, MAX_DRAIN_SECONDS),
        "Seconds over which a drain spreads its close frames: at most three fifths of the timeout.",
    )
    drain_grace: float = _setting(
        "CHAT_DRAIN_GRACE",
        0.0,
        readers.seconds(0, 3),
        "Seconds between the moment in which /ready turns 503 and the first close frame.",
    )
    backpressure_bytes: int = _setting(
        "CHAT_BACKPRESSURE_BYTES",
        16 * 1024 * 1024,
        readers.whole_number(64 * 1024, 1024**3),
        "Bytes of messages under way to this worker's clients beyond which it stops reading.",
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
        "Comma-separated origins whose pages may connect, or *. Empty: those of the same host.",
    )
    auth_enabled: bool = _setting(
        "AUTH_ENABLED",
        False,
        readers.switch,
        "Whether a client needs a JWT; its `sub` becomes `from`.",
    )
    auth_secret: str | None = _setting(
        "AUTH_SECRET",
        None,
        readers.text,
        f"Shared secret for HS256, HS384, HS512; at least {MIN_SECRET_BYTES} bytes.",
        secret=True,
    )
    auth_public_key: str | None = _setting(
        "AUTH_PUBLIC_KEY",
        None,
        readers.text,
        r"Public key in PEM for RS*, PS*, ES*, EdDSA; line breaks may be written as \n.",
        secret=True,
    )
    auth_algorithms: tuple[str, ...] = _setting(
        "AUTH_ALGORITHMS",
        (),
        readers.algorithms,
        "Comma-separated algorithms a token may use. Empty: HS256 with a secret, RS256 with a key.",
    )

    restart_limit: int = _setting(
        "CHAT_RESTART_LIMIT",
        10,
        readers.whole_number(0, 1000),
        "Worker deaths within 60 s after which the whole server gives up with exit code 1.",
    )
    hang_timeout: int = _setting(
        "CHAT_HANG_TIMEOUT",
        30,
        readers.whole_number(0, 3600),
        "Seconds a worker's event loop may stand still before it is killed and replaced. 0: never.",
    )

    def __post_init__(self) -> None:
        if not self.pod_prefix:
            object.__setattr__(self, "pod_prefix", _default_pod_prefix())
        if self.drain_grace + self.drain_timeout > MAX_DRAIN_SECONDS:
            raise ConfigError(
                f"CHAT_DRAIN_GRACE and CHAT_DRAIN_TIMEOUT are {self.drain_grace:g} and "
                f"{self.drain_timeout:g}; allowed are {MAX_DRAIN_SECONDS} seconds together"
            )
        if self.auth_enabled:
            self._check_auth()
        if not self.auth_algorithms:
            default = "RS256" if self.auth_public_key else "HS256"
            object.__setattr__(self, "auth_algorithms", (default,))

    def _check_auth(self) -> None:
        if (self.auth_secret is None) == (self.auth_public_key is None):
            raise ConfigError(
                "AUTH_ENABLED is on, and so exactly one of AUTH_SECRET and AUTH_PUBLIC_KEY must "
                f"be set; {'neither' if self.auth_secret is None else 'both'} of them is"
            )
        if self.auth_secret is not None and len(self.auth_secret.encode()) < MIN_SECRET_BYTES:
            raise ConfigError(
                f"AUTH_SECRET has {len(self.auth_secret.encode())} bytes; at least "
                f"{MIN_SECRET_BYTES} are allowed (RFC 7518, section 3.2)"
            )
        # A public key accepted as an HMAC secret would let anybody sign.
        usable = SYMMETRIC_ALGORITHMS if self.auth_secret else ASYMMETRIC_ALGORITHMS
        if not set(self.auth_algorithms) <= usable:
            raise ConfigError(
                f"AUTH_ALGORITHMS is {','.join(self.auth_algorithms)!r}; with "
                f"{'AUTH_SECRET' if self.auth_secret else 'AUTH_PUBLIC_KEY'} it may hold "
                + ", ".join(sorted(usable))
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Config:
        """Read every setting from `environment` (default: `os.environ`).

        An empty variable counts as not set. Raises ConfigError with a sentence that names the
        variable, the bad value and what is allowed.
        """
        environment = os.environ if environment is None else environment
        values: dict[str, Any] = {}
        for setting in fields(cls):
            variable = setting.metadata["variable"]
            text = environment.get(variable, "").strip()
            if not text:
                continue
            try:
                values[setting.name] = setting.metadata["read"](text)
            except NotAllowed as allowed:
                shown = "a value that is not shown" if setting.metadata["secret"] else repr(text)
                raise ConfigError(f"{variable} is {shown}; allowed is {allowed}") from None
        return cls(**values)
