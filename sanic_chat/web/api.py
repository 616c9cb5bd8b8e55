"""The routes of the HTTP API, which backends use with a key, and its description."""

from __future__ import annotations

from functools import partial
from typing import Final

from sanic import Blueprint, HTTPResponse, Request

from ..protocol import operations
from ..protocol.api import encode
from ..protocol.operations import Operation, describe
from .access import Handler, for_key
from .directory import room, rooms, user
from .errors import JSON, READS
from .ports import for_admins
from .publish import publish
from .removals import disconnect, drain

HANDLERS: Final[dict[Operation, Handler]] = {
    operations.PUBLISH: publish,
    operations.ROOMS: rooms,
    operations.ROOM: room,
    operations.USER: user,
    operations.DISCONNECT: disconnect,
    operations.DRAIN: drain,
}


def api_blueprint(*, url_prefix: str, version: str) -> Blueprint:
    """Make the routes of the API, of a version of the server, under a prefix."""
    blueprint = Blueprint("api", url_prefix=url_prefix)
    for operation, handler in HANDLERS.items():
        reads = operation.method == "GET"
        blueprint.add_route(
            for_admins(for_key(operation.scope, handler)),
            operation.path,
            READS if reads else (operation.method,),
            stream=not reads,  # so that no body is read before the key
            error_format=JSON,
        )
    described = partial(_openapi, encode(describe(prefix=url_prefix, version=version)))
    blueprint.add_route(
        for_admins(described), "/openapi.json", READS, name="openapi", error_format=JSON
    )
    return blueprint


async def _openapi(document: bytes, request: Request) -> HTTPResponse:
    """Answer with the API's description in OpenAPI 3.1, which takes no key."""
    return HTTPResponse(document, content_type="application/json")
