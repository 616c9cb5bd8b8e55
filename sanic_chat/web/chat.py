"""The routes of the chat: the WebSocket endpoint and the stats."""

from __future__ import annotations

from sanic import Blueprint, HTTPResponse, Request, json
from sanic.request import RequestParameters
from uuid_utils import uuid7

from ..errors import UpgradeRefused
from ..logs import RateLimitedWarning
from ..message import json_text
from ..names import ROOM_NAME_RULE, normalise_room_name
from ..pod import Pod
from ..session import Session
from ..upgrade import answers_with_a_socket, check_handshake, is_connected, take_over
from .errors import refusal_response

EVENTS = frozenset({"system", "presence"})

_foreign_page = RateLimitedWarning()


def chat_blueprint(name: str, *, url_prefix: str) -> Blueprint:
    """The chat's routes under a prefix; `name` tells several of them apart."""
    blueprint = Blueprint(name, url_prefix=url_prefix)
    blueprint.add_route(upgrade, "/ws", name="ws", unquote=True)
    blueprint.add_route(upgrade, "/ws/<room>", name="ws_room", unquote=True)
    blueprint.add_route(stats, "/ws/stats", name="ws_stats")
    return blueprint


async def stats(request: Request) -> HTTPResponse:
    """The stats of the whole cluster, whichever pod answers."""
    answer = await request.app.ctx.reporter.answer()
    return json(answer, headers={"Cache-Control": "no-store"})


@answers_with_a_socket
async def upgrade(request: Request, room: str | None = None) -> HTTPResponse | None:
    """Let a client in: 101 once its room is subscribed, or an error in JSON."""
    pod: Pod = request.app.ctx.pod
    try:
        _refuse_while_draining(request, pod)
        _refuse_foreign_pages(request)
        with pod.admission:
            await _let_in(request, pod, room)
    except UpgradeRefused as refusal:
        pod.refused[refusal.code] += 1
        return refusal_response(refusal)
    return None


async def _let_in(request: Request, pod: Pod, room: str | None) -> None:
    client_id = _client_id(request)
    query = request.get_args(keep_blank_values=True)
    room = _room(room, query)
    events = _events(query)
    echo = _echo(query)
    accept = check_handshake(request)
    presence = "presence" in events
    opened = False
    try:
        confirmed = await pod.rooms.prepare(room, presence=presence)
        _refuse_while_draining(request, pod)  # it may have begun in between
        if is_connected(request):
            session = Session(
                pod,
                sender=json_text(client_id),
                echo=echo,
                system_events="system" in events,
                presence=presence,
            )
            take_over(
                request,
                session,
                accept,
                lambda: pod.open(session, room, confirmed=confirmed),
            )
            opened = True
    finally:
        if not opened:
            pod.rooms.forget(room, presence=presence)


def _refuse_while_draining(request: Request, pod: Pod) -> None:
    if pod.draining:
        raise UpgradeRefused(
            503,
            "draining",
            "The server is going away: please try again",
            {"Retry-After": str(request.app.ctx.config.retry_after)},
        )


def _refuse_foreign_pages(request: Request) -> None:
    headers, connection = request.headers, request.conn_info
    secure = connection is not None and connection.ssl
    origins, hosts = headers.getall("origin", []), headers.getall("host", [])
    if not request.app.ctx.origins.admits(origins, hosts, secure=secure):
        _foreign_page.log(
            "Refused a page of origin %.200r, connecting to host %.200r: CHAT_ALLOWED_ORIGINS says "
            "which may",
            ", ".join(origins),
            ", ".join(hosts),
        )
        raise UpgradeRefused(403, "forbidden_origin", "Pages of this origin may not connect here")


def _client_id(request: Request) -> str:
    authenticator = request.app.ctx.authenticator
    if authenticator is None:
        return str(uuid7())
    client_id: str = authenticator.client_id(
        authorization=request.headers.get("authorization"), token=request.args.get("token")
    )
    return client_id


def _room(path_room: str | None, query: RequestParameters) -> str | None:
    """The room of path and query, normalised; None if there is none. Raises UpgradeRefused 400."""
    named = [] if path_room is None else [path_room]
    named += query.getlist("room", [])
    names = {normalise_room_name(text) for text in named}
    if None in names:
        raise UpgradeRefused(400, "bad_room", f"Not a room name: {ROOM_NAME_RULE}")
    if len(names) > 1:
        raise UpgradeRefused(
            400, "room_conflict", "The path and ?room= name different rooms; name one"
        )
    return names.pop() if names else None


def _events(query: RequestParameters) -> frozenset[str]:
    events = frozenset(filter(None, ",".join(query.getlist("events", [])).split(",")))
    if not events <= EVENTS:
        raise UpgradeRefused(
            400, "bad_events", f"events may hold {' and '.join(sorted(EVENTS))}, with a comma"
        )
    return events


def _echo(query: RequestParameters) -> bool:
    echo = query.get("echo") or "1"
    if echo not in ("0", "1"):
        raise UpgradeRefused(400, "bad_echo", "echo is 0 or 1")
    return bool(echo == "1")
