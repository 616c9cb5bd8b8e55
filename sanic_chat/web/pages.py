"""Static pages: a small chat to try the server with."""

from __future__ import annotations

from pathlib import Path

from sanic import Blueprint, HTTPResponse, Request, html

_INDEX = (Path(__file__).parent / "static" / "index.html").read_text(encoding="utf-8")


def pages_blueprint() -> Blueprint:
    """The page at `/`."""
    blueprint = Blueprint("pages")
    blueprint.add_route(index, "/")
    return blueprint


async def index(request: Request) -> HTTPResponse:
    """The chat page, told where the WebSocket endpoint is."""
    endpoint = f"{request.app.ctx.config.api_prefix}/ws"
    return html(
        _INDEX.replace("{{endpoint}}", endpoint),
        headers={
            "Content-Security-Policy": "default-src 'none'; connect-src 'self' ws: wss:; "
            "script-src 'unsafe-inline'; style-src 'unsafe-inline'; base-uri 'none'; "
            "frame-ancestors 'none'"
        },
    )
