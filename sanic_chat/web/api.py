"""The routes of the HTTP API, which backends use with a key."""

from __future__ import annotations

from sanic import Blueprint

from .access import for_key
from .publish import publish


def api_blueprint(*, url_prefix: str) -> Blueprint:
    """Make the routes of the API under a prefix."""
    blueprint = Blueprint("api", url_prefix=url_prefix)
    # As streams, so that no body is read before the key.
    blueprint.add_route(for_key("publish", publish), "/publish", ("POST",), stream=True)
    return blueprint
