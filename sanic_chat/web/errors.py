"""Every error over HTTP is JSON with a `code` and a sentence."""

from __future__ import annotations

import re
from http import HTTPStatus

from sanic import HTTPResponse, Request, json
from sanic.exceptions import SanicException
from sanic.handlers import ErrorHandler

from ..errors import UpgradeRefused


def error_response(
    status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> HTTPResponse:
    """The one shape of an error."""
    return json({"code": code, "message": message}, status=status, headers=headers)


def refusal_response(refusal: UpgradeRefused) -> HTTPResponse:
    """The HTTP answer to a handshake that was refused."""
    return error_response(refusal.status, refusal.code, refusal.message, refusal.headers)


class JSONErrorHandler(ErrorHandler):
    """Renders what Sanic itself refuses; what is our fault is logged, and not shown."""

    def default(self, request: Request, exception: Exception) -> HTTPResponse:
        self.log(request, exception)
        status = getattr(exception, "status_code", 500)
        phrase = HTTPStatus(status).phrase
        code = re.sub(r"\W+", "_", phrase).lower()
        known = isinstance(exception, SanicException) and status < 500
        message = str(exception) if known and str(exception) else phrase
        headers = getattr(exception, "headers", None)
        return error_response(status, code, message, dict(headers or {}))
