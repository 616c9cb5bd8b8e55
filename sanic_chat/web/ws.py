"""The routes of the chat: the WebSocket endpoint, and the stats beneath it."""

from __future__ import annotations

from functools import partial

from sanic import Blueprint, HTTPResponse, Request

from ..errors import UpgradeRefused
from ..upgrade.checker import HandshakeChecker
from ..upgrade.sanic_http import answers_with_a_socket, handshake_of, peername_of, take_socket
from ..upgrade.upgrader import Upgrader
from ..websocket.handshake import upgrade_required
from .access import STATS, unless_open
from .errors import JSON, READS, refusal_response
from .ports import for_admins, for_clients
from .stats import stats


def chat_blueprint(name: str, *, url_prefix: str) -> Blueprint:
    """Make the chat's routes under a prefix; `name` tells blueprints apart."""
    blueprint = Blueprint(name, url_prefix=url_prefix)
    client = for_clients(upgrade)
    for path, name in (("/ws", "ws"), ("/ws/<room>", "ws_room")):
        blueprint.add_route(client, path, READS, name=name, unquote=True, error_format=JSON)
    admin = for_admins(unless_open(STATS, stats))
    blueprint.add_route(admin, "/ws/stats", READS, name="ws_stats", error_format=JSON)
    return blueprint


@answers_with_a_socket
async def upgrade(request: Request, room: str | None = None) -> HTTPResponse | None:
    """Answer 101 once the room is subscribed to, or an error: in JSON, or over the WebSocket.

    Handshakes that are plain do not come here: `fast_path` has accepted them.
    """
    checker: HandshakeChecker = request.app.ctx.worker.checker
    upgrader: Upgrader = request.app.ctx.worker.upgrader
    handshake = handshake_of(request, room)
    take = partial(take_socket, request)
    try:
        checked = checker.check(handshake, request.transport)
        if request.method != "GET":  # RFC 6455 section 4.1
            raise upgrade_required()
        await upgrader.accept_when_subscribed(checked, take)
    except UpgradeRefused as refusal:
        checker.count_refusal(refusal, handshake, peername_of(request))
        is_told = request.method == "GET" and upgrader.tell_why(refusal, handshake, take)
        return None if is_told else refusal_response(refusal)
    return None
