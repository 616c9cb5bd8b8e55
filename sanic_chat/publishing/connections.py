"""Connections to Redis that publish, are kept, and are made anew when they are old or broken.

    publication ─→ a connection that is known to be up ─→ PUBLISH ─→ the answer
                     └─→ NotPublished                       └─→ PublishUnconfirmed

redis-py brings the connections, and looks before each use whether Redis has hung up. Nothing is
ever sent a second time.

May live here: which connections there are, and what an error means. Must not know messages.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from dataclasses import fields
from functools import lru_cache
from inspect import signature
from time import monotonic
from typing import Any

import redis
import redis.asyncio
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    RedisError,
    ResponseError,
)

from ..broker.role import HELLO, why_wrong
from ..errors import ConfigError, NotPublished, PublishUnconfirmed
from ..protocol.publication import Publication
from ..redis_url import RedisURL, TLSOptions

MAX_CONNECTIONS = 8
"""Connections of a process to one Redis, for so many threads that publish at once; others wait.

An event loop has one, so that what is published leaves in its order.
"""

MAX_SERVERS = 8
"""Redis servers that a process, and an event loop, keeps connections to."""

KEPT_SECONDS = 60.0
"""The age at which a connection is made anew: so long may a primary be a replica unnoticed."""

_SAYS_NO = (ResponseError, AuthenticationError, BusyLoadingError)
"""Answers of Redis by which nothing was published."""

_COMMAND = ("PUBLISH",) if redis.VERSION < (5, 3) else ()
"""The arguments of a pool's `get_connection`: newer releases warn of any."""


_BlockingPool: Any = redis.BlockingConnectionPool  # without types in some releases


class Connections:
    """The connections of one process to one Redis, for all its threads.

    A process that was forked makes its own: redis-py sees to that. Raises ConfigError for a URL
    that cannot be used.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self._url = RedisURL.read(url)
        self._pool: Any = _BlockingPool(
            redis_connect_func=_introduce,
            max_connections=MAX_CONNECTIONS,
            timeout=timeout,
            **_options(self._url, timeout, redis),
        )

    def publish(self, publication: Publication) -> int:
        """Publish, and return the number of subscriptions that Redis has passed it on to.

        Raises NotPublished, or PublishUnconfirmed.
        """
        connection, is_sent = None, False
        try:
            connection = self._pool.get_connection(*_COMMAND)
            if _is_old(connection):
                connection.disconnect()
                connection.connect()
            is_sent = True
            connection.send_command("PUBLISH", publication.channel, publication.payload)
            return int(connection.read_response())
        except BaseException as error:
            if connection is not None:
                connection.disconnect()  # an answer may still be on its way
            raise _meaning(error, publication, self._url, is_sent) from None
        finally:
            if connection is not None:
                self._pool.release(connection)


class AsyncConnections:
    """The one connection of an event loop to one Redis."""

    def __init__(self, url: str, timeout: float) -> None:
        self._url = RedisURL.read(url)
        self._timeout = timeout
        self._turn = asyncio.Lock()
        self._pool: Any = redis.asyncio.ConnectionPool(
            redis_connect_func=_introduce_async,
            **_options(self._url, timeout, redis.asyncio),
        )

    async def publish(self, publication: Publication) -> int:
        """Publish as `Connections.publish` does, after all that came before."""
        connection, is_sent = None, False
        try:
            async with asyncio.timeout(self._timeout):
                await self._turn.acquire()
        except TimeoutError:
            late = TimeoutError("what was published before is not answered yet")
            raise _meaning(late, publication, self._url, is_sent) from None
        try:
            # Two turns of the loop: it learns of a hang-up in the first, and tells in the second.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            connection = await self._pool.get_connection(*_COMMAND)
            if _is_old(connection):
                await connection.disconnect(nowait=True)
                await connection.connect()
            is_sent = True
            await connection.send_command("PUBLISH", publication.channel, publication.payload)
            return int(await connection.read_response())
        except BaseException as error:
            if connection is not None:
                await connection.disconnect(nowait=True)
            raise _meaning(error, publication, self._url, is_sent) from None
        finally:
            if connection is not None:
                await self._pool.release(connection)
            self._turn.release()

    async def close(self) -> None:
        """Close the connection, once it is not used."""
        async with self._turn:
            await self._pool.disconnect()


@lru_cache(MAX_SERVERS)
def connections(url: str, timeout: float) -> Connections:
    """Return this process' connections to a Redis."""
    return Connections(url, timeout)


_Kept = dict[tuple[str, float], AsyncConnections]

_of_loops: dict[asyncio.AbstractEventLoop, tuple[AsyncGenerator[None], _Kept]] = {}
"""The connections of each event loop, and the generator that closes them at the loop's end."""


async def async_connections(url: str, timeout: float) -> AsyncConnections:
    """Return this event loop's connection to a Redis; `asyncio.run` closes it at its end."""
    loop = asyncio.get_running_loop()
    if loop not in _of_loops:
        for other in [*_of_loops]:
            if other.is_closed():
                _of_loops.pop(other, None)
        kept: _Kept = {}
        until_the_end = _until_the_end(loop, kept)
        _of_loops[loop] = until_the_end, kept
        await anext(until_the_end)
    kept = _of_loops[loop][1]
    if (url, timeout) not in kept:
        kept[url, timeout] = AsyncConnections(url, timeout)
        if len(kept) > MAX_SERVERS:
            await kept.pop(next(iter(kept))).close()
    return kept[url, timeout]


async def _until_the_end(loop: asyncio.AbstractEventLoop, kept: _Kept) -> AsyncGenerator[None]:
    """Close all connections when the loop ends its asynchronous generators."""
    try:
        yield
    finally:
        del _of_loops[loop]
        for one in kept.values():
            await one.close()


def _class_for(url: RedisURL, package: Any) -> Any:
    if url.path is not None:
        return package.UnixDomainSocketConnection
    return package.Connection if url.tls is None else package.SSLConnection


def _options(url: RedisURL, timeout: float, package: Any) -> dict[str, Any]:
    """A pool's options. They select no database: pub/sub knows none, an ACL may forbid it.

    Raises ConfigError for what the installed redis-py does not know.
    """
    connection_class = _class_for(url, package)
    place = {"host": url.host, "port": url.port} if url.path is None else {"path": url.path}
    return {
        "connection_class": connection_class,
        **place,
        **({} if url.tls is None else _tls_options(url.tls, connection_class)),
        "username": url.username,
        "password": url.password,
        "protocol": 2,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
    }


def _tls_options(tls: TLSOptions, connection_class: Any) -> dict[str, Any]:
    given = {option.name: getattr(tls, option.name) for option in fields(tls)}
    given["cert_reqs"] = tls.cert_reqs.name.removeprefix("CERT_").lower()
    given["check_hostname"] &= tls.cert_reqs != ssl.CERT_NONE
    # Only what is given: an old redis-py does not know all of them.
    options = {f"ssl_{name}": value for name, value in given.items() if value is not None}
    known = {name for each in connection_class.__mro__ for name in signature(each).parameters}
    for name in options:
        if name not in known:
            raise ConfigError(
                f"REDIS_URL cannot be used: its option {name!r} takes a newer redis-py than "
                f"{redis.__version__}: install one, or leave it out"
            )
    return options


def _introduce(connection: Any) -> None:
    connection.opened_at = monotonic()
    connection.on_connect()
    try:
        connection.send_command(*HELLO)
        _check(connection.read_response())
    except ResponseError:
        pass  # some proxies have no HELLO


async def _introduce_async(connection: Any) -> None:
    connection.opened_at = monotonic()
    await connection.on_connect()
    try:
        await connection.send_command(*HELLO)
        _check(await connection.read_response())
    except ResponseError:
        pass


def _check(reply: Any) -> None:
    """Raise if this is no server to publish on."""
    if why := why_wrong(reply):
        raise redis.ConnectionError(why)


def _is_old(connection: Any) -> bool:
    return monotonic() - float(connection.opened_at) > KEPT_SECONDS


def _meaning(
    error: BaseException, publication: Publication, url: RedisURL, is_sent: bool
) -> BaseException:
    """The error to raise: what one of Redis or its connection says of the message."""
    if not isinstance(error, RedisError | OSError | UnicodeError):
        return error
    reason = url.without_secrets(str(error)) or type(error).__name__
    if is_sent and not isinstance(error, _SAYS_NO):
        return PublishUnconfirmed(
            f"It is not known whether the message was published at {url}: {reason}", publication.id
        )
    return NotPublished(f"The message was not published at {url}: {reason}", publication.id)
