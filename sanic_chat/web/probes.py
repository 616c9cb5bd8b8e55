"""The probes of load balancers and orchestrators: whether a pod lives, and may be sent clients.

Beside them stand the metrics, which are asked for as they are.
"""

from __future__ import annotations

import asyncio
import time

from sanic import Blueprint, HTTPResponse, Request, json

from ..pod.pod import Pod
from ..pod.readiness import why_unready
from .access import METRICS, unless_open
from .errors import JSON, READS, error_response
from .metrics import metrics
from .ports import for_admins

_HEADERS = {"Cache-Control": "no-store"}


def probes_blueprint(name: str, *, url_prefix: str) -> Blueprint:
    """Make `/health`, `/ready` and `/metrics` under a prefix; `name` tells blueprints apart."""
    blueprint = Blueprint(name, url_prefix=url_prefix)
    for handler in (health, ready, for_admins(unless_open(METRICS, metrics))):
        blueprint.add_route(handler, f"/{handler.__name__}", READS, error_format=JSON)
    return blueprint


async def health(request: Request) -> HTTPResponse:
    """Answer 200 while the event loop turns, with the time that one turn takes."""
    pod: Pod = request.app.ctx.worker.pod
    began = time.monotonic()
    await asyncio.sleep(0)
    lag_ms = round((time.monotonic() - began) * 1000, 3)
    return json({"status": "alive", "pod_id": pod.id, "loop_lag_ms": lag_ms}, headers=_HEADERS)


async def ready(request: Request) -> HTTPResponse:
    """Answer 200 while new clients may be sent here, else 503 with the reason."""
    pod: Pod = request.app.ctx.worker.pod
    reason = why_unready(pod)
    if reason is None:
        return json({"status": "ready", "pod_id": pod.id}, headers=_HEADERS)
    headers = {"Retry-After": str(request.app.ctx.config.retry_after), **_HEADERS}
    return error_response(503, reason.code, reason.message, headers)
