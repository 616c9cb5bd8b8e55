"""The stats of the cluster over HTTP, as JSON."""

from __future__ import annotations

from sanic import HTTPResponse, Request, json


async def stats(request: Request) -> HTTPResponse:
    """Answer with the stats of the whole cluster; any pod can."""
    answer = await request.app.ctx.worker.reporter.answer()
    return json(answer, headers={"Cache-Control": "no-store"})
