"""`sanic-chat doctor`: everything that is to be known of a deployment at three in the morning."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from .output import WRONG_USAGE, fail, print_json, print_line, printable
from .server import DEFAULT_URL, authorization, env_file_option, redis_option, server_of, set_redis

if TYPE_CHECKING:
    from ..doctor.examination import Subjects
    from ..doctor.findings import Answer

COLOURS = {
    "well": "green",
    "warning": "yellow",
    "failure": "bold red",
    "unknown": "dim",
    "crashed": "bold magenta",
}


@click.command()
@click.option(
    "--url",
    metavar="URL",
    help="A server, or the proxy before it. [CHAT_URL; default, without a REDIS_URL: "
    f"{DEFAULT_URL}]",
)
@click.option(
    "--prefix",
    metavar="PATH",
    help="The path of its routes. [CHAT_API_PREFIX; default: /api/chat-api]",
)
@redis_option
@env_file_option
@click.option(
    "--idle",
    type=click.FloatRange(0, 86_400),
    default=0.0,
    metavar="SECONDS",
    help="Hold an idle connection through the URL for so long, to see what cuts it off.",
)
@click.option(
    "--cert", "certificates", multiple=True, metavar="FILE", help="A server's certificate (PEM)."
)
@click.option(
    "--ignore", "ignored", multiple=True, metavar="CODE", help="Leave out the check of that code."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def doctor(
    *,
    url: str | None,
    prefix: str | None,
    redis: str | None,
    idle: float,
    certificates: tuple[str, ...],
    ignored: tuple[str, ...],
    as_json: bool,
) -> None:
    """Check this machine, Redis, all pods, and the way to them, side by side.

    Settings are those that a server would have here. Ends with 0 if all is well, with 1 if there is
    something to look at, with 2 if something does not work. Whatever cannot be measured is told,
    and changes nothing.
    """
    # Only here: --help needs none of it.
    import asyncio

    from ..doctor.examination import ALL_CHECKS, Examination
    from ..doctor.findings import exit_code

    codes = [check.code for check in ALL_CHECKS]
    for name in ignored:
        if name not in codes:
            fail(f"There is no check {name}; there are {', '.join(codes)}", WRONG_USAGE)
    if redis is not None:
        set_redis(redis)
    subjects = _subjects(url, prefix, idle, certificates)

    async def look() -> list[Answer]:
        return await Examination(subjects).run(ignored)

    try:
        answers = asyncio.run(look())
    except KeyboardInterrupt:
        # Threads of checks may still wait for a name or a file, and an interpreter that ends under
        # them can crash.
        os._exit(130)
    code = exit_code(answers)
    if as_json:
        print_json({"exit_code": code, "findings": [_as_json(answer) for answer in answers]})
    else:
        _show(answers)
    raise SystemExit(code)


def _subjects(
    url: str | None, prefix: str | None, idle: float, certificates: tuple[str, ...]
) -> Subjects:
    import logging

    from ..config.settings import Config
    from ..doctor.examination import NO_SITE, Subjects
    from ..doctor.machine import Settings
    from ..doctor.site import Site
    from ..errors import ConfigError

    logging.getLogger().addHandler(logging.NullHandler())  # what it finds stands in its findings
    error = ""
    try:
        config = Config.from_environment()
    except ConfigError as wrong:
        error, config = str(wrong), Config()
    is_named = bool(url or os.environ.get("CHAT_URL", "").strip())
    if idle and not is_named:
        fail("--idle needs --url: a connection is held through it", WRONG_USAGE)
    site: Site | None = None
    no_site = NO_SITE
    # The default is not asked beside a REDIS_URL, which may be another deployment's.
    if is_named or config.redis_url is None:
        site = Site(
            server_of(url, prefix).http,
            headers=authorization("CHAT_TOKEN"),
            stats_headers=authorization("CHAT_API_KEY", "CHAT_TOKEN"),
            origins=config.allowed_origins,
            idle=idle,
        )
        if not is_named and not site.is_listening():
            no_site = f"no server listens at {site.http}: --url names another one"
            site = None
    return Subjects(Settings(error, Config.doubts()), config, site, certificates, no_site)


def _as_json(answer: Answer) -> dict[str, Any]:
    finding = answer.finding
    return {
        "code": answer.code,
        "status": finding.status.value,
        "measured": finding.measured,
        "limit": finding.limit,
        "why": answer.why,
        "mend": finding.mend,
    }


def _show(answers: list[Answer]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in ("", "check", "measured", "limit"):
        table.add_column(title, overflow="fold")
    unknown: dict[str, list[str]] = {}
    counts = dict.fromkeys(COLOURS, 0)
    for answer in answers:
        status, measured = answer.finding.status.value, printable(answer.finding.measured)
        counts[status] += 1
        if status == "unknown":
            unknown.setdefault(measured, []).append(answer.code)
            continue
        table.add_row(
            Text(status, COLOURS[status]),
            Text(answer.code),
            Text(measured),
            Text(printable(answer.finding.limit)),
        )
    Console(highlight=False).print(table)
    for why, codes in unknown.items():
        print_line(f"\nnot measured: {', '.join(codes)}\n  {why}")
    for answer in answers:
        if answer.finding.mend:
            print_line(f"\n{answer.code}: {answer.why}\n  {printable(answer.finding.mend)}")
    print_line("\n" + ", ".join(f"{count} {status}" for status, count in counts.items() if count))
