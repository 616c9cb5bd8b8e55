"""The routes of the HTTP API, which backends use with a key."""

from __future__ import annotations

from sanic import Blueprint

from .access import for_key
from .directory import room, rooms, user
from .errors import READS
from .ports import for_admins
from .publish import publish


def api_blueprint(*, url_prefix: str) -> Blueprint:
    """Make the routes of the API under a prefix."""
    blueprint = Blueprint("api", url_prefix=url_prefix)
    for handler in (rooms, room, user):
        blueprint.add_route(for_admins(for_key("read", handler)), f"/{handler.__name__}", READS)
    # As streams, so that no body is read before the key.
    blueprint.add_route(for_admins(for_key("publish", publish)), "/publish", ("POST",), stream=True)
    return blueprint
