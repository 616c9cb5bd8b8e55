"""`sanic-chat serve`: the server, with every setting as an option."""

from __future__ import annotations

import os
import sys
from dataclasses import fields
from typing import Any

import click

from ..config.settings import Config
from ..errors import ConfigError
from .config import default_of, warn_of
from .output import WRONG_USAGE, fail, print_line
from .server import set_redis


@click.command(context_settings={"max_content_width": 100})
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option("--unix", metavar="PATH", help="Unix socket to listen on instead.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option("--cert", metavar="FILE", help="TLS certificate (PEM, with its chain).")
@click.option("--key", metavar="FILE", help="The certificate's private key.")
@click.option(
    "--check", is_flag=True, help="Look at settings and certificate, say what is wrong, exit."
)
def serve(
    *,
    host: str,
    port: int,
    unix: str | None,
    workers: int,
    cert: str | None,
    key: str | None,
    check: bool,
    **settings: str | None,
) -> None:
    """Start a server, as `sanic server.py` does.

    Each setting is an option, or an environment variable, which the option precedes. Secrets are
    variables only, or files that variables name (AUTH_SECRET_FILE): other users can see a process's
    options. SIGTERM and Ctrl-C drain.
    """
    for setting in fields(Config):
        text = settings.get(setting.name)
        if text is not None and setting.name != "redis_url":
            os.environ[setting.metadata["variable"]] = text
    if settings["redis_url"] is not None:
        set_redis(settings["redis_url"])
    # Only here, and below: --help needs none of it, and what reads keys takes its time.
    from ..broker.endpoint import Endpoint
    from ..process.embedded_redis import find_server_program

    try:
        config = Config.from_environment()
        if config.redis_url is not None:
            Endpoint(config.redis_url).check()
        else:
            find_server_program()
        doubts = Config.doubts()
        if config.auth_enabled:
            doubts += _check_keys(config, fetch=check)
        if cert is not None or key is not None:
            # Only here: what reads certificates takes its time.
            from ..config.certificate import check_tls

            doubts += check_tls({"cert": cert, "key": key})[1]
    except ConfigError as error:
        fail(f"sanic_chat does not start: {error}", WRONG_USAGE)
    if check:
        from ..doctor.machine import warnings_at_start

        warn_of([*doubts, *warnings_at_start(config, workers)])
        print_line("The settings are in order")
        return
    where = ["--unix", unix] if unix is not None else ["--host", host, "--port", str(port)]
    tls = [] if cert is None or key is None else ["--cert", cert, "--key", key]
    command = ["sanic", "sanic_chat:create_app", *where, "--workers", str(workers), *tls]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", *command])


def _check_keys(config: Config, *, fetch: bool) -> list[str]:
    """Read the keys of tokens, those of a URL only if `fetch`. Raises ConfigError.

    Returns sentences about what does not keep a server from starting: keys that are not used, and a
    URL that gives none.
    """
    # Only here: what reads keys takes its time.
    from ..tokens import make_authenticator

    authenticator = make_authenticator(config)
    assert authenticator is not None
    if config.auth_jwks_url is None or fetch:
        try:
            authenticator.keys.load()
        except ConfigError as error:
            if config.auth_jwks_url is None:
                raise
            return [str(error)]
    return authenticator.keys.doubts()


def _add_settings(command: click.Command) -> None:
    for setting in fields(Config):
        metadata = setting.metadata
        is_redis = setting.name == "redis_url"
        if metadata["secret"] and not is_redis:
            continue
        default: Any = default_of(setting)
        shown = ",".join(default) if isinstance(default, tuple) else default
        told = "" if shown in (None, "") else f" Default: {int(shown) if shown is True else shown}."
        command.params.append(
            click.Option(
                ["--redis" if is_redis else f"--{setting.name.replace('_', '-')}", setting.name],
                metavar="URL" if is_redis else "VALUE",
                help=f"{metadata['doc']}{told} [{metadata['variable']}]",
            )
        )


_add_settings(serve)
