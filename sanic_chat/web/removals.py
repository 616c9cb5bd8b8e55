"""`POST /disconnect` and `/drain`: backends send clients away."""

from __future__ import annotations

from sanic import Request

from ..cluster.removals import Removals
from ..errors import ApiRefused
from ..protocol.api_requests import MAX_SMALL_BODY_BYTES, parse_disconnect, parse_drain
from .access import Answer, body_of, retry_after


async def disconnect(request: Request) -> Answer:
    """Disconnect a user, or a session, and answer with the number of sessions."""
    wanted = parse_disconnect(await body_of(request, limit=MAX_SMALL_BODY_BYTES))
    found = await _removals(request).disconnect(
        user=wanted.user or None,
        client_id=wanted.client_id or None,
        code=wanted.code,
        reason=wanted.reason,
        spared=wanted.spared,
        revoke=wanted.revoke,
    )
    return Answer(found)


async def drain(request: Request) -> Answer:
    """Drain a pod. It is 404 if all pods have answered and it is none of them."""
    wanted = parse_drain(await body_of(request, limit=MAX_SMALL_BODY_BYTES))
    found = await _removals(request).drain(wanted.pod_id)
    if found.found:
        return Answer(found)
    if found.complete:
        raise ApiRefused(
            404, "no_such_pod", f"There is no pod {wanted.pod_id!r}, or it cannot drain"
        )
    raise ApiRefused(
        503,
        "no_answer",
        f"The pod {wanted.pod_id!r} has not answered; it may be one of those that have not",
        retry_after(request),
    )


def _removals(request: Request) -> Removals:
    removals: Removals = request.app.ctx.worker.pod.cluster.removals
    return removals
