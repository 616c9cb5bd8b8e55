"""`POST /publish`: messages of backends."""

from __future__ import annotations

from sanic import Request

from ..errors import ApiRefused
from ..pod.pod import Pod
from ..protocol.api import Failure
from ..protocol.api_requests import MAX_BODY_BYTES, parse_posts
from .access import Answer, body_of, retry_after


async def publish(request: Request) -> Answer:
    """Publish a message, or an array of them, and answer with the outcome of each.

    The status is 503 if one of them is not certain to have been published.
    """
    pod: Pod = request.app.ctx.worker.pod
    largest = pod.limits.max_message_bytes
    body = await body_of(request, limit=MAX_BODY_BYTES + largest)
    posts, are_many = parse_posts(body, max_message_bytes=largest)
    outcomes = await pod.publishing.publish(posts)
    if are_many:
        failed = any(isinstance(outcome.error, Failure) for outcome in outcomes)
        return Answer(outcomes, 503 if failed else 200)
    [outcome] = outcomes
    if isinstance(outcome.error, Failure):
        raise ApiRefused(503, outcome.error.code, outcome.error.message, retry_after(request))
    return Answer(outcome)
