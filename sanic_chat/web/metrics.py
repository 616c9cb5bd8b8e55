"""The metrics of the whole server over HTTP, as text for Prometheus."""

from __future__ import annotations

import asyncio

from sanic import HTTPResponse, Request

from ..stats.board import Board
from ..stats.exposition import OPENMETRICS_TYPE, TEXT_TYPE
from ..stats.prometheus import exposition
from .errors import error_response

_TEXT, _OPENMETRICS = (type.partition(";")[0] for type in (TEXT_TYPE, OPENMETRICS_TYPE))


async def metrics(request: Request) -> HTTPResponse:
    """Answer with the metrics of all workers of this server, and of its main process.

    In OpenMetrics' format if the client likes that better, else in Prometheus' own.
    """
    board: Board | None = request.app.ctx.worker.board
    if board is None:
        return error_response(
            503,
            "no_shared_memory",
            "The workers have no memory to share, and so nobody knows the metrics of all of them: "
            "see the log",
        )
    openmetrics = request.accept.match(_TEXT, _OPENMETRICS).mime == _OPENMETRICS
    families = []
    for family in exposition(board.collect(), openmetrics=openmetrics):
        families.append(family)
        await asyncio.sleep(0)  # with many workers it takes long, and others wait
    return HTTPResponse(
        "".join(families),
        content_type=OPENMETRICS_TYPE if openmetrics else TEXT_TYPE,
        headers={"Cache-Control": "no-store"},
    )
