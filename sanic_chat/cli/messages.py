"""`sanic-chat pub` and `sanic-chat sub`: a client on the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from ..errors import BadMessage, ConfigError, PublishError
from .output import (
    NOBODY_THERE,
    REFUSED,
    WRONG_USAGE,
    fail,
    print_json,
    print_line,
    printable,
    read_json,
)
from .request import TIMEOUT_SECONDS, sentence
from .rosters import Rosters, is_told, words
from .server import authorization, server_of, server_options

if TYPE_CHECKING:
    from websockets.exceptions import InvalidHandshake
    from websockets.sync.client import ClientConnection

GOING_AWAY = 1001  # RFC 6455 section 7.4.1: the server is about to end


@click.command()
@click.argument("room")
@click.argument("data", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="DATA is JSON, and not text.")
@click.option(
    "--backend", is_flag=True, help="Over Redis, as a backend does; no server is asked. [REDIS_URL]"
)
@server_options
def pub(
    room: str,
    data: tuple[str, ...],
    *,
    as_json: bool,
    backend: bool,
    url: str | None,
    prefix: str | None,
) -> None:
    """Publish DATA to ROOM, each as a message; without DATA each line of standard input.

    A token is taken from CHAT_TOKEN. Ends with 1 if the server refuses a message.
    """
    texts = data or (line.rstrip("\n") for line in sys.stdin)
    values = (read_json(text, "DATA") if as_json else text for text in texts)
    if backend:
        _publish_on_redis(room, values)
        return
    with _connected(url, prefix, [room], "?echo=0") as client:
        for value in values:
            client.send(json.dumps({"data": value}))
            client.send(command("ping"))
            _expect(client, "pong")


def _publish_on_redis(room: str, values: Iterable[Any]) -> None:
    # Only here: it loads redis-py.
    from ..publishing.publish import publish

    try:
        for value in values:
            publish(room, value)
    except ConfigError as error:
        fail(str(error), WRONG_USAGE)
    except BadMessage as error:
        fail(f"{error.code}: {error.message}", REFUSED)
    except PublishError as error:
        fail(str(error), NOBODY_THERE)


@click.command()
@click.argument("rooms", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a message, whole.")
@click.option("--count", type=click.IntRange(1), help="End after so many messages.")
@click.option("--events", is_flag=True, help="Also what the server says: gap, drain, degraded, …")
@click.option("--presence", is_flag=True, help="Also who is in the rooms, who comes and who goes.")
@server_options
def sub(
    rooms: tuple[str, ...],
    *,
    as_json: bool,
    count: int | None,
    events: bool,
    presence: bool,
    url: str | None,
    prefix: str | None,
) -> None:
    """Print the messages of ROOMS (without any: global ones) until Ctrl-C.

    A token is taken from CHAT_TOKEN. Ends with 3 when the server is gone.
    """
    if presence and not rooms:
        raise click.UsageError("--presence needs a room")
    with _connected(url, prefix, rooms, "?events=system" if events else "") as client:
        if presence:
            client.send(command("join", rooms=rooms, presence=True))
        rosters = Rosters(lambda room: client.send(command("who", room=room)))
        for message in _messages(client):
            is_system = message["type"] == "system" and message["from"] == "server"
            is_roster = is_told(message)
            if is_roster:
                rosters.take(message["room"], message["data"])
            elif is_system and presence and message["data"].get("code") == "forbidden_presence":
                fail(message["data"]["message"], REFUSED)
            elif is_system and not events:
                continue
            if as_json:
                print_json(message)
            else:
                print_line(_line(message))
            if not (is_system or is_roster) and count is not None:
                count -= 1
                if not count:
                    return


@contextmanager
def _connected(
    url: str | None, prefix: str | None, rooms: Iterable[str], query: str
) -> Iterator[ClientConnection]:
    """A client in some rooms. Exits with 1 if it is refused, with 3 if nobody is there."""
    # Only here: --help needs none of it.
    from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
    from websockets.sync.client import connect

    first, *others = rooms or ("",)
    path = f"/ws/{quote(first, safe='')}" if first else "/ws"
    where = server_of(url, prefix).ws + path
    try:
        with connect(
            where + query,
            additional_headers=authorization("CHAT_TOKEN"),
            open_timeout=TIMEOUT_SECONDS,
            close_timeout=1,
            max_size=None,
            proxy=None,
        ) as client:
            for room in others:
                client.send(command("join", room=room))
                _expect(client, "joined")
            yield client
    except InvalidHandshake as error:
        fail(f"{where} refuses: {_reason(error)}", REFUSED)
    except ConnectionClosed as error:
        is_gone = error.rcvd is None or error.rcvd.code == GOING_AWAY
        fail(f"{where} has closed: {error}", NOBODY_THERE if is_gone else REFUSED)
    except (OSError, TimeoutError, InvalidURI) as error:
        fail(f"{where} is not there: {error}", NOBODY_THERE)
    except KeyboardInterrupt:  # also before there is a client to yield
        raise SystemExit(0) from None


def _reason(error: InvalidHandshake) -> str:
    """The server's own sentence, if it has sent one."""
    response = getattr(error, "response", None)
    if response is None or not response.body:
        return str(error)
    reason = sentence(response.body)
    return (
        f"{reason}. It is taken from CHAT_TOKEN" if reason.startswith("unauthorized:") else reason
    )


def command(action: str, **fields: Any) -> str:
    """Return a command as it is sent."""
    return json.dumps({"type": "system", "data": {"action": action, **fields}})


def _messages(client: ClientConnection) -> Iterator[dict[str, Any]]:
    for text in client:
        yield json.loads(text)


def _expect(client: ClientConnection, event: str) -> None:
    """Wait for the answer to a command. Exits with 1 if it is an error."""
    while True:
        message = json.loads(client.recv(TIMEOUT_SECONDS))
        if message["type"] == "system" and message["from"] == "server":
            answer = message["data"]
            if answer["event"] == "error":
                fail(f"{answer['code']}: {answer['message']}", REFUSED)
            if answer["event"] == event:
                return


def _line(message: dict[str, Any]) -> str:
    data = message["data"]
    room = message["room"] or "*"
    if is_told(message):
        return printable(f"{message['timestamp']} {room} {words(data)}")
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return printable(f"{message['timestamp']} {room} {message['from']}: {text}")
