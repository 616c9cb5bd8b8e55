"""`sanic-chat rooms`, `who`, `user`, `kick` and `drain`: all pods, over the HTTP API.

May live here: what is asked of them, and how it is shown. Must not know how pods find it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

import click

from .output import REFUSED, WRONG_USAGE, fail, print_json, print_line, printable
from .request import ask
from .server import Server, authorization, server_of, server_options

if TYPE_CHECKING:
    from ..protocol.cluster import Member, Room, RoomPage, RoomsPage, SessionOf, UserPage

LIMIT = 1000
"""The entries of a page that are asked for; there may be fewer on it."""

KEY = "CHAT_API_KEY"

NOT_FOUND = (
    ". The server has its API at another port (CHAT_ADMIN_LISTEN) or below another prefix "
    "(CHAT_API_PREFIX)"
)

PageT = TypeVar("PageT", "RoomsPage", "RoomPage", "UserPage")
AnswerT = TypeVar("AnswerT")


def api_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--json`, and `--url` and `--prefix`, of which `server` is made."""

    @wraps(command)
    def with_server(*, url: str | None, prefix: str | None, **options: Any) -> None:
        command(server=server_of(url, prefix), **options)

    return click.option("--json", "as_json", is_flag=True, help="One JSON object.")(
        server_options(with_server)
    )


@click.command()
@click.argument("beginning", default="")
@api_options
def rooms(beginning: str, *, as_json: bool, server: Server) -> None:
    """Show the rooms that have members, by name, or those whose names begin with BEGINNING.

    The key is CHAT_API_KEY, of scope `read`. Ends with 1 if a pod has not answered.
    """
    from ..protocol.cluster import RoomsPage  # only here, as others: --help needs none of it

    pages = _pages(server, "rooms", RoomsPage, prefix=beginning)
    _show("rooms", pages, lambda page: page.rooms, _room_line, "sessions room", as_json=as_json)


@click.command()
@click.argument("room")
@api_options
def who(room: str, *, as_json: bool, server: Server) -> None:
    """Show the users that are in ROOM, on all pods, each with the number of its sessions there.

    The key is CHAT_API_KEY, of scope `read`. Ends with 1 if a pod has not answered.
    """
    from ..protocol.cluster import RoomPage

    pages = _pages(server, "room", RoomPage, name=room)
    _show(
        "members", pages, lambda page: page.members, _member_line, "sessions user", as_json=as_json
    )


@click.command()
@click.argument("user_id", metavar="USER")
@api_options
def user(user_id: str, *, as_json: bool, server: Server) -> None:
    """Show the sessions of USER, on all pods.

    The key is CHAT_API_KEY, of scope `read`. Ends with 1 if a pod has not answered.
    """
    from ..protocol.cluster import UserPage

    pages = _pages(server, "user", UserPage, id=user_id)
    _show("sessions", pages, lambda page: page.sessions, _session_line, as_json=as_json)


@click.command()
@click.argument("user_id", metavar="[USER]", required=False)
@click.option("--client", metavar="ID", help="One session, by its client ID, in place of USER.")
@click.option("--code", type=click.IntRange(4000, 4999), help="The close code.")
@click.option("--reason", help="Why, for the client: the reason of its close frame.")
@click.option(
    "--except", "spared", multiple=True, metavar="ID", help="A client ID that stays; repeatable."
)
@click.option("--revoke", is_flag=True, help="USER's tokens of before now count no more.")
@api_options
def kick(
    user_id: str | None,
    *,
    client: str | None,
    code: int | None,
    reason: str | None,
    spared: tuple[str, ...],
    revoke: bool,
    as_json: bool,
    server: Server,
) -> None:
    """Disconnect all sessions of USER, on all pods.

    The key is CHAT_API_KEY, of scope `admin`. Ends with 1 if a pod has not answered.
    """
    from ..protocol.cluster import Disconnected

    if (user_id is None) == (client is None):
        raise click.UsageError("Allowed is either USER or --client ID.")
    whom, id = ("user", user_id) if client is None else ("client_id", client)
    options = {"code": code, "reason": reason, "except": list(spared), "revoke": revoke}
    body = {whom: id, **{name: value for name, value in options.items() if value}}
    told = _asked(server, "disconnect", Disconnected, body)
    if as_json:
        _print(told)
    else:
        print_line(f"{told.disconnected} disconnected")
    _check_complete(told.complete, told.missing)


@click.command()
@click.argument("pod_id", metavar="POD")
@api_options
def drain(pod_id: str, *, as_json: bool, server: Server) -> None:
    """Have POD drain: its clients are asked to come back elsewhere, and it takes no new ones.

    The key is CHAT_API_KEY, of scope `admin`. Ends with 1 if there is no such pod.
    """
    from ..protocol.cluster import Drained

    told = _asked(server, "drain", Drained, {"pod_id": pod_id})
    if as_json:
        _print(told)
    else:
        print_line(printable(f"{pod_id} drains"))


def _room_line(room: Room) -> str:
    return f"{room.sessions:>8} {room.name}"


def _member_line(member: Member) -> str:
    return f"{member.sessions:>8} {member.user}"


def _session_line(session: SessionOf) -> str:
    names = [*session.rooms, *([f"and {session.more_rooms} more"] if session.more_rooms else [])]
    behind = f", {session.queue} messages behind" if session.queue else ""
    return (
        f"{session.client_id} on {session.pod_id} since {session.since}"
        f"{behind}: {', '.join(names) or 'in no room'}"
    )


def _show(
    name: str,
    pages: Iterable[PageT],
    entries_of: Callable[[PageT], list[Any]],
    line: Callable[[Any], str],
    heading: str = "",
    *,
    as_json: bool,
) -> None:
    """Print all entries, as lines below a heading or as an object.

    Exits with 1 if pods are missing.
    """
    told: list[Any] = []
    missing: set[str] = set()
    is_complete = True
    with suppress(KeyboardInterrupt):
        for page in pages:
            missing.update(page.missing)
            is_complete = is_complete and page.complete
            if as_json:
                told += entries_of(page)
                continue
            if heading:
                print_line(heading)
                heading = ""
            for entry in entries_of(page):
                print_line(printable(line(entry)))
        if as_json:
            whole = {name: told, "complete": is_complete, "missing": sorted(missing)}
            _print(whole)
        _check_complete(is_complete, missing)


def _print(value: Any) -> None:
    import msgspec

    print_json(msgspec.to_builtins(value))


def _check_complete(is_complete: bool, missing: Iterable[str]) -> None:
    """Exit with 1 if not all pods have answered."""
    if not is_complete:
        who = ", ".join(sorted(missing)) or "all but the one that was asked, if Redis is away"
        fail(f"Not all pods have answered, and nothing is told of these: {who}", REFUSED)


def _pages(server: Server, path: str, kind: type[PageT], **query: str) -> Iterator[PageT]:
    """All pages, each asked for with what the page before says."""
    after = ""
    while True:
        where = f"{path}?{urlencode({**query, 'after': after, 'limit': LIMIT})}"
        page = _asked(server, where, kind)
        yield page
        if page.next is None:
            return
        if page.next <= after:
            fail(f"{server.http}/{path} answers with the same page again", REFUSED)
        after = page.next


def _asked(server: Server, path: str, kind: type[AnswerT], body: Any = None) -> AnswerT:
    """Return what the API answers. Exits with 1, 2 or 3."""
    key = authorization(KEY)
    if not key:
        fail(
            f"{KEY} is not set: it is the secret of one of the server's CHAT_API_KEYS, which are "
            "like NAME:read+admin:SECRET",
            WRONG_USAGE,
        )
    where = f"{server.http}/{path}"
    import msgspec

    try:
        return msgspec.json.decode(
            ask(where, headers=key, body=body, hints={"not_found": NOT_FOUND}), type=kind
        )
    except msgspec.DecodeError as error:
        fail(f"{where.partition('?')[0]} answers something else: {error}", REFUSED)
