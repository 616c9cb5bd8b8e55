"""From a Redis URL to an open connection, and the commands that introduce a client there.

May live here: addresses, TLS, user and password. Must not know publishing or subscribing.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from ..errors import ConfigError
from ..redis_url import RedisURL
from .addresses import Address, LookUp, Name, connect, look_up
from .tls import ClientTLS

P = TypeVar("P", bound=asyncio.BaseProtocol)


class Endpoint:
    """The place of Redis, and the introduction there.

    Raises ConfigError for a URL that cannot be read; no password is in the text.
    """

    def __init__(self, url: str, *, look_up: LookUp = look_up) -> None:
        self._url = RedisURL.read(url)
        self._name = Name(self._url.host, self._url.port, look_up)
        self._tls = None if self._url.tls is None else ClientTLS(self._url.tls)

    def __str__(self) -> str:
        """The address without user and password, fit for logs."""
        return str(self._url)

    @property
    def user(self) -> str:
        """The user that Redis' ACL knows us by."""
        return self._url.username or "default"

    def check(self) -> None:
        """Raise ConfigError if a file that the URL names cannot be used, or is no socket.

        A socket that is not there yet is no error: Redis may start later.
        """
        try:
            if self._tls is not None:
                self._tls.context()
            path = self._url.path
            if (
                path is not None
                and os.path.exists(path)
                and not stat.S_ISSOCK(os.stat(path).st_mode)
            ):
                raise OSError(f"{path!r} is no Unix socket")
        except OSError as error:
            raise ConfigError(f"REDIS_URL cannot be used: {error}") from None

    def without_secrets(self, refusal: str) -> str:
        """Make an error reply to `introduction` fit for logs: it may repeat what was sent."""
        return self._url.without_secrets(refusal)

    def doubt(self, error: OSError) -> str:
        """The likely cause of an error, if no connection has ever worked; empty if unknown.

        A server with TLS hangs up on a client without; one without TLS waits for more.
        """
        if self._tls is not None and isinstance(error, (ConnectionResetError, TimeoutError)):
            return "is TLS spoken there, as rediss:// says?"
        if self._url.path is None and isinstance(error, ConnectionResetError):
            return "is TLS spoken there? Then REDIS_URL must begin with rediss://"
        return ""

    async def addresses(self) -> list[Address]:
        """Look up the addresses, as `Name.addresses` does; empty for a Unix socket."""
        return [] if self._url.path is not None else await self._name.addresses()

    async def open(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol_factory: Callable[[], P],
        addresses: Sequence[Address],
        *,
        turn: int = 0,
    ) -> P:
        """Open a connection to one of `addresses`, as `addresses.connect` does.

        Raises OSError or ssl.SSLError; cancellation closes the sockets.
        """
        url = self._url
        if url.path is not None:
            _, protocol = await loop.create_unix_connection(protocol_factory, url.path)
            return protocol
        tls = None if self._tls is None else self._tls.context()
        server_hostname = None if tls is None else url.host

        def open(host: str, port: int) -> Coroutine[Any, Any, tuple[asyncio.BaseTransport, P]]:
            return loop.create_connection(
                protocol_factory, host, port, ssl=tls, server_hostname=server_hostname
            )

        _, protocol = await connect(addresses, open, turn=turn)
        return protocol

    def introduction(self, name: str) -> list[tuple[str, ...]]:
        """The commands that a new connection begins with. AUTH must not be answered by an error."""
        url = self._url
        commands: list[tuple[str, ...]] = []
        if url.username is not None:
            commands.append(("AUTH", url.username, url.password or ""))
        elif url.password is not None:
            commands.append(("AUTH", url.password))
        if url.db:
            commands.append(("SELECT", str(url.db)))
        commands.append(("CLIENT", "SETNAME", name))
        return commands
