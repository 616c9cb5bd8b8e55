"""One request over HTTP, and its answer; or the end of the command, with a sentence.

May live here: how a server is asked, and what it may say instead of an answer. Must not know what
it is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .output import NOBODY_THERE, REFUSED, fail

TIMEOUT_SECONDS = 10.0
"""The time that a server may take to accept us, or to answer."""

MAX_REFUSAL_BYTES = 2000
"""The bytes of a refusal that are looked at."""


def ask(
    where: str, *, headers: Mapping[str, str], body: Any = None, hints: Mapping[str, str] = {}
) -> bytes:
    """Return what a URL answers to a GET, or to a POST of `body` as JSON.

    `hints` are put behind refusals with these codes. Exits with 1 if it refuses, with 3 if nobody
    is there. No redirect is followed: who we are is told to nobody else.
    """
    # Only here: --help needs none of it.
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

    class NoRedirects(HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    shown = where.partition("?")[0]
    data = None if body is None else json.dumps(body).encode()
    request = Request(where, data, {"Content-Type": "application/json", **headers})
    try:
        with build_opener(ProxyHandler({}), NoRedirects).open(
            request, timeout=TIMEOUT_SECONDS
        ) as answer:
            found: bytes = answer.read()
    except HTTPError as error:
        refusal = sentence(error.read(MAX_REFUSAL_BYTES))
        hint = hints.get(refusal.partition(":")[0], "")
        fail(f"{shown} answers {error.code}: {refusal}{hint}", REFUSED)
    except (URLError, OSError, HTTPException) as error:
        cause = error.reason if isinstance(error, URLError) else error
        fail(f"{shown} is not there: {cause}", NOBODY_THERE)
    return found


def sentence(body: bytes) -> str:
    """Return code and sentence of a server's refusal; of anybody else's what it says."""
    try:
        refusal = json.loads(body)
        return f"{refusal['code']}: {refusal['message']}"
    except (ValueError, KeyError, TypeError):
        return body[:500].decode(errors="replace")
