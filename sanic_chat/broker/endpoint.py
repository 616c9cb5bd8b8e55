"""From a Redis URL to an open, authenticated connection.

redis-py reads the URL and builds the TLS context; only the opening is ours. Knows nothing of
publishing or subscribing.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, TypeVar

import redis.asyncio
from redis.exceptions import RedisError

from ..errors import ConfigError

P = TypeVar("P", bound=asyncio.BaseProtocol)


class Endpoint:
    """Where Redis is and how to introduce oneself there.

    Raises ConfigError for a URL that redis-py cannot read; its password is not in the text.
    """

    def __init__(self, url: str) -> None:
        try:
            pool = redis.asyncio.ConnectionPool.from_url(url)
            # Only an SSL connection object knows how to turn the URL's options into a context.
            connection = pool.connection_class(**pool.connection_kwargs)
        except (ValueError, TypeError, RedisError) as error:
            raise ConfigError(f"REDIS_URL cannot be used: {error}") from None
        options: dict[str, Any] = pool.connection_kwargs
        self._path: str | None = options.get("path")
        self._host: str = options.get("host") or "localhost"
        self._port: int = options.get("port") or 6379
        self._username: str | None = options.get("username")
        self._password: str | None = options.get("password")
        self._db: int = options.get("db") or 0
        self._ssl: ssl.SSLContext | None = None
        if isinstance(connection, redis.asyncio.SSLConnection):
            self._ssl = connection.ssl_context.get()

    def __str__(self) -> str:
        """The address without user and password, fit for logs."""
        if self._path is not None:
            return f"unix://{self._path}"
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'redis' if self._ssl is None else 'rediss'}://{host}:{self._port}"

    def without_secrets(self, refusal: str) -> str:
        """What Redis answered to `introduction`, fit for logs: some repeat what they were told."""
        refusal = refusal.partition(", with args beginning with")[0]
        return refusal if not self._password else refusal.replace(self._password, "***")

    async def open(self, loop: asyncio.AbstractEventLoop, protocol_factory: Callable[[], P]) -> P:
        """Open a connection. Raises OSError or ssl.SSLError; cancellation closes the socket."""
        if self._path is not None:
            _, protocol = await loop.create_unix_connection(protocol_factory, self._path)
        else:
            _, protocol = await loop.create_connection(
                protocol_factory, self._host, self._port, ssl=self._ssl
            )
        return protocol

    def introduction(self, name: str) -> list[tuple[str, ...]]:
        """The commands a new connection begins with; each must be answered without an error."""
        commands: list[tuple[str, ...]] = []
        if self._password is not None:
            user = () if self._username is None else (self._username,)
            commands.append(("AUTH", *user, self._password))
        if self._db:
            commands.append(("SELECT", str(self._db)))
        commands.append(("CLIENT", "SETNAME", name))
        return commands
