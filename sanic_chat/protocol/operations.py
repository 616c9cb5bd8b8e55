"""The operations of the HTTP API, and their description in OpenAPI 3.1.

    Operation (path, scope, the types of query, body and answer) ─┬→ web: a route
                                                                  └→ describe ─→ openapi.json

May live here: which operations there are. Must not know how one is carried out.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final, Literal, NamedTuple

import msgspec

from .api import (
    Disconnect,
    Drain,
    Failure,
    Publish,
    Published,
    PublishMany,
    RoomParameters,
    RoomsParameters,
    UserParameters,
)
from .api_keys import SCOPES, Scope
from .cluster import Disconnected, Drained, RoomPage, RoomsPage, UserPage


class Operation(NamedTuple):
    """An operation, which takes a query or a body."""

    method: Literal["GET", "POST"]
    path: str
    scope: Scope
    summary: str
    takes: Any
    """The type of its query, if it is a GET, or else of its body."""
    answers: Any
    """The type of what it answers with 200."""
    refusals: tuple[int, ...] = ()
    """The statuses of its errors, besides those that every operation may answer."""
    busy: Any = Failure
    """The type of what it answers with 503."""


PUBLISH: Final = Operation(
    "POST",
    "/publish",
    "publish",
    "Publish a message, or an array of them.",
    Publish | PublishMany,
    Published | list[Published],
    (413, 501),
    Failure | list[Published],
)
ROOMS: Final = Operation(
    "GET", "/rooms", "read", "The rooms of all pods, by name.", RoomsParameters, RoomsPage
)
ROOM: Final = Operation(
    "GET", "/room", "read", "A room, and its members on all pods.", RoomParameters, RoomPage
)
USER: Final = Operation(
    "GET", "/user", "read", "The sessions of a user on all pods.", UserParameters, UserPage
)
DISCONNECT: Final = Operation(
    "POST",
    "/disconnect",
    "admin",
    "Disconnect a user, or a session.",
    Disconnect,
    Disconnected,
    (413,),
)
DRAIN: Final = Operation("POST", "/drain", "admin", "Drain a pod.", Drain, Drained, (404, 413))
OPERATIONS: Final = (PUBLISH, ROOMS, ROOM, USER, DISCONNECT, DRAIN)

REFUSALS: Final = (400, 401, 403, 408, 431, 503)
"""The statuses of errors that every operation may answer."""

KEYS: Final = "CHAT_API_KEYS"
"""The name of the security scheme."""


def describe(*, prefix: str, version: str) -> dict[str, Any]:
    """Make the OpenAPI document of all operations, of a version of the server, below a prefix."""
    types = [
        kind
        for operation in OPERATIONS
        for kind in (operation.takes, operation.answers, operation.busy, Failure)
    ]
    found, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    schemas = iter(found)
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        takes, *told = (next(schemas) for _ in range(4))
        paths[operation.path] = {
            operation.method.lower(): {
                "operationId": operation.path.strip("/"),
                "summary": operation.summary,
                "description": f"Takes a key for {operation.scope}.",
                **_input(operation, takes, components),
                "responses": _responses(operation, *told),
            }
        }
    for query in (operation.takes for operation in OPERATIONS if operation.method == "GET"):
        components.pop(query.__name__, None)  # its fields are parameters
    return {
        "openapi": "3.1.0",
        "info": {"title": "sanic_chat, the HTTP API for backends", "version": version},
        "servers": [{"url": prefix or "/"}],
        "security": [{KEYS: []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                KEYS: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": f"The secret of a key for {', '.join(SCOPES)}.",
                }
            },
        },
    }


def _input(operation: Operation, schema: Any, components: dict[str, Any]) -> dict[str, Any]:
    if operation.method == "POST":
        return {"requestBody": {"required": True, "content": _json(schema)}}
    fields = components[operation.takes.__name__]
    return {
        "parameters": [
            {
                "name": name,
                "in": "query",
                "required": name in fields["required"],
                "schema": field,
            }
            for name, field in fields["properties"].items()
        ]
    }


def _responses(operation: Operation, answer: Any, busy: Any, failure: Any) -> dict[str, Any]:
    told = {200: answer, 401: failure, 403: failure, 503: busy}
    return {
        str(status): {
            "description": HTTPStatus(status).phrase,
            "content": _json(told.get(status, failure)),
        }
        for status in sorted({200, *REFUSALS, *operation.refusals})
    }


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
