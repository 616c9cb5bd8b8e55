"""What load balancers and orchestrators ask: is it alive, and may it be sent clients."""

from __future__ import annotations

import asyncio
import time

from sanic import Blueprint, HTTPResponse, Request, json

from ..pod import Pod
from ..readiness import why_unready
from .errors import error_response

_HEADERS = {"Cache-Control": "no-store"}


def probes_blueprint(name: str, *, url_prefix: str) -> Blueprint:
    """`/health` and `/ready` under a prefix; `name` tells several of them apart."""
    blueprint = Blueprint(name, url_prefix=url_prefix)
    for handler in (health, ready):
        blueprint.add_route(handler, f"/{handler.__name__}", methods=("GET", "HEAD"))
    return blueprint


async def health(request: Request) -> HTTPResponse:
    """200 for as long as the event loop turns, and how long it takes for one turn."""
    pod: Pod = request.app.ctx.pod
    began = time.monotonic()
    await asyncio.sleep(0)
    lag_ms = round((time.monotonic() - began) * 1000, 3)
    return json({"status": "alive", "pod_id": pod.id, "loop_lag_ms": lag_ms}, headers=_HEADERS)


async def ready(request: Request) -> HTTPResponse:
    """200 while new clients are welcome here, else 503 with the reason."""
    pod: Pod = request.app.ctx.pod
    reason = why_unready(pod)
    if reason is None:
        return json({"status": "ready", "pod_id": pod.id}, headers=_HEADERS)
    headers = {"Retry-After": str(request.app.ctx.config.retry_after), **_HEADERS}
    return error_response(503, reason.code, reason.message, headers)
