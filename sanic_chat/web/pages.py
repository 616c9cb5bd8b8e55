"""The page at `/`: a small chat to try the server with."""

from __future__ import annotations

from pathlib import Path

from sanic import Blueprint, HTTPResponse, Request, empty, html

from .errors import JSON, READS, error_response
from .ports import for_clients

_INDEX = (Path(__file__).parent / "static" / "index.html").read_text(encoding="utf-8")


def pages_blueprint() -> Blueprint:
    """Make the routes of `/`."""
    blueprint = Blueprint("pages")
    blueprint.add_route(for_clients(index), "/", READS, error_format=JSON)
    blueprint.add_route(for_clients(options), "/", ("OPTIONS",), error_format=JSON)
    return blueprint


async def options(request: Request) -> HTTPResponse:
    """Answer HAProxy's check by default, `OPTIONS /`: 204, or 503 in a drain."""
    if request.app.ctx.worker.pod.draining:
        headers = {"Retry-After": str(request.app.ctx.config.retry_after)}
        return error_response(503, "draining", "The server is going away", headers)
    return empty(headers={"Allow": ", ".join((*READS, "OPTIONS"))})


async def index(request: Request) -> HTTPResponse:
    """Answer with the chat page, which names the WebSocket endpoint."""
    endpoint = f"{request.app.ctx.config.api_prefix}/ws"
    return html(
        _INDEX.replace("{{endpoint}}", endpoint),
        headers={
            "Content-Security-Policy": "default-src 'none'; connect-src 'self' ws: wss:; "
            "script-src 'unsafe-inline'; style-src 'unsafe-inline'; base-uri 'none'; "
            "frame-ancestors 'none'"
        },
    )
