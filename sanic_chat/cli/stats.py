"""`sanic-chat stats`: the stats of the whole cluster, once or as a live table."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import click

from .output import REFUSED, fail, print_json, printable
from .request import ask
from .server import Server, authorization, server_of, server_options

WATCH_SECONDS = 1.0
ROOMS = 10
"""Rooms that the table shows, the largest first."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The server's answer as one line of JSON.")
@click.option("--watch", is_flag=True, help="Anew every second, until Ctrl-C.")
@server_options
def stats(*, as_json: bool, watch: bool, url: str | None, prefix: str | None) -> None:
    """Show the stats of the whole cluster, whichever pod answers.

    If the server asks for a key, it is CHAT_API_KEY.

    Ends with 1 if the answer is no such stats, with 3 if no server is there.
    """
    server = server_of(url, prefix)
    with suppress(KeyboardInterrupt):
        if as_json:
            for now in _answers(server, watch=watch):
                print_json(now)
        elif watch:
            _show_live(server)
        else:
            from rich.console import Console

            Console(highlight=False).print(_table(read_stats(server), None))


def _answers(server: Server, *, watch: bool) -> Iterator[dict[str, Any]]:
    yield read_stats(server)
    while watch:
        time.sleep(WATCH_SECONDS)
        yield read_stats(server)


def _show_live(server: Server) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    last = read_stats(server)
    if not console.is_terminal:  # a file or a pipe, in which nothing is drawn anew
        console.print(_table(last, None))
        for now in _answers(server, watch=True):
            console.print("", _table(now, last), sep="\n")
            sys.stdout.flush()
            last = now
    with Live(_table(last, None), auto_refresh=False) as live:
        for now in _answers(server, watch=True):
            live.update(_table(now, last), refresh=True)
            last = now


def read_stats(server: Server) -> dict[str, Any]:
    """Ask a server for its stats. Exits with 1 or 3 if there are none."""
    where = f"{server.http}/ws/stats"
    try:
        headers = authorization("CHAT_API_KEY", "CHAT_TOKEN")
        hints = {"unauthorized": ". Its secret is taken from CHAT_API_KEY"}
        found: dict[str, Any] = json.loads(ask(where, headers=headers, hints=hints))
    except ValueError as error:
        fail(f"{where} answers no JSON: {error}", REFUSED)
    if not isinstance(found, dict) or "totals" not in found:
        fail(f"{where} answers something else than stats", REFUSED)
    return found


def _table(now: dict[str, Any], last: dict[str, Any] | None) -> Any:
    """Make the table. Exits with 1 if these are no stats of ours."""
    try:
        return _made_table(now, last)
    except (AttributeError, KeyError, TypeError, ValueError):
        fail("The server answers something else than stats", REFUSED)


def _made_table(now: dict[str, Any], last: dict[str, Any] | None) -> Any:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    totals = Table("", box=None, pad_edge=False)
    for title in (*map(_title, now["pods"]), "all"):
        totals.add_column(Text(title), justify="right")
    before = {pod["pod_id"]: pod for pod in last["pods"]} if last is not None else {}
    for name, value in now["totals"].items():
        if name in ("pods", "messages_dropped"):
            continue
        cells = [
            _figure(pod.get(name), before.get(pod["pod_id"], {}).get(name)) for pod in now["pods"]
        ]
        earlier = None if last is None else last["totals"].get(name)
        row = (printable(name.replace("_", " ")), *cells, _figure(value, earlier))
        totals.add_row(*map(Text, row))  # which knows no markup
    parts: list[Any] = [totals]
    dropped = now["totals"].get("messages_dropped") or {}
    if dropped:
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))
        parts.append(Text(printable(f"dropped: {told}")))
    for entry in now["largest_rooms"][:ROOMS]:
        parts.append(Text(printable(f"{entry['members']:>8} in {entry['room']}")))
    if not now["complete"]:
        parts.append(Text("Redis is away, or a report cannot be read: not all pods are counted"))
    return Group(*parts)


def _title(pod: dict[str, Any]) -> str:
    """A pod's ID, and what is the matter with it."""
    state = "" if pod.get("ready", True) else (" draining" if pod.get("draining") else " unready")
    return printable(f"{pod['pod_id']}{state}")


def _figure(value: Any, earlier: Any) -> str:
    if not isinstance(value, int):
        return "" if value is None else printable(str(value))
    change = value - earlier if isinstance(earlier, int) else 0
    return f"{value:,}" if not change else f"{value:,} ({change:+,})"
