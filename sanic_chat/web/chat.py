"""The routes of the chat: the WebSocket endpoint and the stats."""

from __future__ import annotations

from sanic import Blueprint, HTTPResponse, Request, json

from ..entrance import Entrance
from ..errors import UpgradeRefused
from ..upgrade import answers_with_a_socket, handshake_of, take_socket
from .errors import refusal_response


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
    """Let a client in: 101 once its room is subscribed, or an error in JSON.

    Handshakes that are plain do not come here: `arrival` has let their clients in.
    """
    entrance: Entrance = request.app.ctx.entrance
    handshake = handshake_of(request, room)
    try:
        visitor = entrance.examine(handshake)
        await entrance.admit(visitor, lambda: take_socket(request))
    except UpgradeRefused as refusal:
        entrance.refused(refusal, handshake)
        return refusal_response(refusal)
    return None
