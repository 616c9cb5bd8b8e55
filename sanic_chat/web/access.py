"""Access by key: which requests of backends are answered, and how what is told becomes HTTP.

    request ─→ its key: may it? ─→ a handler ─→ what it tells, as JSON; or why not

May live here: keys, and the shape of all answers. Must not know what is asked for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, NamedTuple

from sanic import HTTPResponse, Request

from ..errors import ApiRefused, TooManyQuestions
from ..protocol.api import encode
from ..protocol.api_keys import Scope, find_key
from ..upgrade.sanic_http import leave_body, read_body
from .errors import refusal_response

STATS, METRICS = "stats", "metrics"
"""The subjects that CHAT_OPEN may have."""


class Answer(NamedTuple):
    """An answer that is no refusal."""

    told: Any
    """The answer's JSON, as a value."""
    status: int = 200


Handler = Callable[[Request], Awaitable[Answer]]
"""Answers a request that may be made. Raises ApiRefused."""

Route = Callable[[Request], Coroutine[Any, Any, HTTPResponse]]


def for_key(scope: Scope, handler: Handler) -> Route:
    """Make a route that answers requests with a key of a scope."""

    @wraps(handler)
    async def answer(request: Request) -> HTTPResponse:
        try:
            check_key(request, scope)
            told, status = await handler(request)
        except ApiRefused as refusal:
            leave_body(request)
            return refusal_response(refusal)
        except TooManyQuestions as error:
            return refusal_response(
                ApiRefused(503, "too_many_questions", str(error), retry_after(request))
            )
        headers = {"Cache-Control": "no-store"}
        if status == 503:
            headers |= retry_after(request)
        return HTTPResponse(encode(told), status, headers, "application/json")

    return answer


def unless_open(subject: str, route: Route) -> Route:
    """Make a route that takes a key to read, unless there are none, or it is in CHAT_OPEN."""

    @wraps(route)
    async def answer(request: Request) -> HTTPResponse:
        config = request.app.ctx.config
        try:
            if config.api_keys and subject not in config.open_subjects:
                check_key(request, "read")
        except ApiRefused as refusal:
            return refusal_response(refusal)
        return await route(request)

    return answer


async def body_of(request: Request, *, limit: int) -> bytes:
    """Return the body of a request. Raises ApiRefused, 413, if it has over `limit` bytes."""
    body = await read_body(request, limit=limit)
    if body is None:
        raise ApiRefused(413, "body_too_large", f"The body of a request may have {limit} bytes")
    return body


def retry_after(request: Request) -> dict[str, str]:
    """The header of a refusal for now."""
    return {"Retry-After": str(request.app.ctx.config.retry_after)}


def check_key(request: Request, scope: Scope) -> None:
    """Raise ApiRefused, 401 or 403, unless a request has a key of a scope."""
    given = request.headers.getall("authorization", [])
    key = find_key(request.app.ctx.config.api_keys, given[0] if len(given) == 1 else None)
    if key is None:
        raise ApiRefused(
            401,
            "unauthorized",
            "The request needs a key of CHAT_API_KEYS, as Authorization: Bearer SECRET",
            {"WWW-Authenticate": "Bearer"},
        )
    if scope not in key.scopes:
        has = " and ".join(sorted(key.scopes))
        raise ApiRefused(
            403, "forbidden_scope", f"The key {key.name} is for {has}; this takes one for {scope}"
        )
