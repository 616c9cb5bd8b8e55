"""Errors over HTTP: each is JSON with a `code` and a sentence.

May live here: how an error is written. Must not know why it happened.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus

from sanic import HTTPResponse, Request, json
from sanic.exceptions import SanicException
from sanic.handlers import ErrorHandler
from sanic.response import JSONResponse

from ..errors import RequestRefused

READS = ("GET", "HEAD")
"""The methods of a route that only reads (RFC 9110 section 9.3.2)."""
JSON = "json"
"""The format of errors, which routes are given: or Sanic looks for it in each handler's source."""


def error_response(
    status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> HTTPResponse:
    """Make the response of an error: `{"code": …, "message": …}`."""
    return json({"code": code, "message": message}, status=status, headers=headers)


def refusal_response(refusal: RequestRefused) -> HTTPResponse:
    """Make the response to a request that was refused."""
    body = {"code": refusal.code, "message": refusal.message}
    return _RefusalResponse(body, refusal.status, refusal.headers)


class _RefusalResponse(JSONResponse):
    """A response whose `Connection` names `Upgrade` if it has that (RFC 9110 section 7.8)."""

    @property
    def processed_headers(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the headers as they are sent. The Connection header is Sanic's own, made last."""
        for name, value in super().processed_headers:
            if name.lower() == b"connection" and "upgrade" in self.headers:
                value = b"Upgrade, " + value
            yield name, value


class JSONErrorHandler(ErrorHandler):
    """Renders the errors that Sanic raises. Errors of ours are logged, and not shown."""

    def default(self, request: Request, exception: Exception) -> HTTPResponse:
        self.log(request, exception)
        status = getattr(exception, "status_code", 500)
        phrase = HTTPStatus(status).phrase
        code = re.sub(r"\W+", "_", phrase).lower()
        known = isinstance(exception, SanicException) and status < 500
        message = str(exception) if known and str(exception) else phrase
        headers = getattr(exception, "headers", None)
        return error_response(status, code, message, dict(headers or {}))
