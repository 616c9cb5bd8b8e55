"""Changes of settings: what a server that runs takes from its environment file as it is now.

    running environment ─┐
    environment file ────┴─→ find_changes ─→ Changes: a Config, what is different, what is not

May live here: what a reload cannot change. Must not know how workers get it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import NamedTuple

from .env_file import differences, find_hidden, with_env_file
from .environment import FILE_SUFFIX
from .settings import Config

REDIS = ("REDIS_URL", f"REDIS_URL{FILE_SUFFIX}")

NEEDS_RESTART = tuple(
    setting.metadata["variable"] for setting in fields(Config) if setting.metadata["needs_restart"]
)
"""The settings that the main process uses itself, and workers must have as it has them."""


class Changes(NamedTuple):
    """New settings, checked."""

    config: Config
    environment: dict[str, str]
    """The environment of new workers."""
    variables: dict[str, str | None]
    """The variables that are different in it; None: is not set any more."""
    notes: list[str]
    """Sentences: what has changed in the file and needs a restart, and likely mistakes."""


def find_changes(running: Mapping[str, str], *, embedded: bool) -> Changes:
    """Read the settings anew for a server whose workers have the environment `running`.

    `embedded` says that its REDIS_URL is that of the embedded Redis. What needs a restart stays as
    it is. Raises ConfigError.
    """
    own = dict(running)
    if embedded:
        del own["REDIS_URL"]  # the server's own doing
    environment = with_env_file(own)
    notes = find_hidden(own)
    has_redis = any(environment.get(name, "").strip() for name in REDIS)
    if has_redis == embedded:
        notes.append(
            "REDIS_URL is set now, which needs a restart: the embedded Redis goes on"
            if embedded
            else "REDIS_URL is no longer set, which needs a restart: it stays as it was"
        )
    if embedded or not has_redis:
        _keep(REDIS, running, environment)
    for name in _keep(NEEDS_RESTART, running, environment):
        notes.append(f"{name} has changed, which needs a restart: it stays as it was")
    return Changes(
        Config.from_environment(environment),
        environment,
        differences(running, environment),
        [*notes, *Config.doubts(environment)],
    )


def _keep(
    names: tuple[str, ...], running: Mapping[str, str], environment: dict[str, str]
) -> list[str]:
    """Give variables their running values; return those that had others."""
    others = [name for name in names if environment.get(name) != running.get(name)]
    for name in others:
        if name in running:
            environment[name] = running[name]
        else:
            del environment[name]
    return others
