"""The routes of the HTTP API, which backends use with a key, and its description."""

from __future__ import annotations

from functools import partial
from typing import Final

from sanic import Blueprint, HTTPResponse, Request

from ..errors import ApiRefused
from ..protocol import operations
from ..protocol.api import encode
from ..protocol.operations import Operation, describe
from ..upgrade.sanic_http import leave_body
from .access import Handler, for_key
from .directory import room, rooms, user
from .errors import JSON, READS, refusal_response
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
DESCRIPTION: Final = "/openapi.json"


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
        for_admins(described), DESCRIPTION, READS, name="openapi", error_format=JSON
    )
    return blueprint


def no_api_blueprint(*, url_prefix: str) -> Blueprint:
    """Make the routes that say, in place of the API, that there are no keys."""
    blueprint = Blueprint("api", url_prefix=url_prefix)
    for path in (DESCRIPTION, *(operation.path for operation in HANDLERS)):
        blueprint.add_route(
            for_admins(_off), path, (*READS, "POST"), name=path, stream=True, error_format=JSON
        )
    return blueprint


async def _openapi(document: bytes, request: Request) -> HTTPResponse:
    """Answer with the API's description in OpenAPI 3.1, which takes no key."""
    return HTTPResponse(document, content_type="application/json")


async def _off(request: Request) -> HTTPResponse:
    """Answer 404, and say what turns the API on."""
    leave_body(request)
    told = "The API is off: CHAT_API_KEYS, or CHAT_API_KEYS_FILE, turns it on"
    return refusal_response(ApiRefused(404, "no_api_keys", told))
