"""The settings that a reload brings, checked as at a start.

    environment file, keys, certificate ─→ SettingsReader ─→ NewSettings ─→ reload

May live here: what is checked before anything changes, and which environment is whose. Must not
know how workers are replaced.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ..broker.client import Client
from ..broker.endpoint import Endpoint
from ..config.changes import Changes, find_changes
from ..config.env_file import change
from ..config.settings import Config
from ..errors import ConfigError
from ..process.reload import NewSettings
from ..tokens import make_authenticator


class SettingsReader:
    """Reads settings anew, for a server whose workers have those of this process's environment.

    `accept` is called with settings and doubts once all workers have them.
    """

    def __init__(
        self,
        redis_url: str | None,
        *,
        has_embedded_redis: bool,
        accept: Callable[[Config, list[str]], None],
    ) -> None:
        self._redis_url = redis_url
        self._has_embedded_redis = has_embedded_redis
        self._accept = accept
        self._running = dict(os.environ)
        self._touched: set[str] = set()
        """The variables that were ever different. Others may be somebody else's doing."""

    def read(self, tls: Any) -> NewSettings:
        """Read settings, and check them and the certificate `tls` (see `check_tls`).

        Another Redis than before is tried: that may take some seconds. Raises ConfigError.
        """
        _, doubts = check_certificates(tls)
        new = find_changes(self._running, embedded=self._has_embedded_redis)
        make_authenticator(new.config)
        if new.config.redis_url is not None and not self._has_embedded_redis:
            Endpoint(new.config.redis_url).check()
            if new.config.redis_url != self._redis_url:
                asyncio.run(_try_redis(new.config.redis_url, new.config.redis_timeout))
        self._touched |= new.variables.keys()
        return NewSettings(
            new.environment,
            apply=partial(self._use, new.environment),
            undo=partial(self._use, self._running),
            accepted=partial(self._accepted, new, doubts),
        )

    def _use(self, environment: Mapping[str, str]) -> None:
        change(os.environ, {name: environment.get(name) for name in self._touched})

    def _accepted(self, new: Changes, doubts: list[str]) -> None:
        self._running, self._redis_url = new.environment, new.config.redis_url
        self._accept(new.config, [*new.notes, *doubts])


async def _try_redis(url: str, timeout: float) -> None:
    """Raise ConfigError unless a pod could use that Redis now."""
    client = Client(Endpoint(url), name="sanic_chat:reload", timeout=timeout, patience=timeout)
    client.start(on_up=lambda: None)
    try:
        await client.has_tried()
        if not client.link.is_up:
            raise ConfigError(
                f"REDIS_URL is another one, and {Endpoint(url)} cannot be used now: "
                f"{client.link.last_error or 'no answer'}"
            )
    finally:
        await client.close()


def read_nothing_but(tls: Any) -> NewSettings:
    """Check the certificate only: the program makes its settings itself. Raises ConfigError."""
    check_certificates(tls)
    return NewSettings(dict(os.environ), *[lambda: None] * 3)


def check_certificates(tls: Any) -> tuple[Any, list[str]]:
    """See `check_tls`, which is loaded only if there is something to check."""
    if tls is None:
        return None, []
    # What reads certificates takes its time, and memory.
    from ..config.certificate import check_tls

    return check_tls(tls)
