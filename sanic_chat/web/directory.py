"""`GET /rooms`, `/room` and `/user`: what backends ask of all pods."""

from __future__ import annotations

from unicodedata import normalize

from sanic import Request

from ..cluster.directory import Directory
from ..protocol.api import RoomParameters, RoomsParameters, UserParameters
from ..protocol.api_requests import parse_query, parse_room
from .access import Answer


async def rooms(request: Request) -> Answer:
    """Answer with a page of the rooms that have members."""
    query = parse_query(request.query_string, RoomsParameters)
    prefix = normalize("NFC", query.prefix)  # as all names are
    return Answer(await _directory(request).rooms(prefix, query.after, query.limit))


async def room(request: Request) -> Answer:
    """Answer with a room's numbers, and a page of its members."""
    query = parse_query(request.query_string, RoomParameters)
    name = parse_room(query.name)
    return Answer(await _directory(request).room(name, query.after, query.limit))


async def user(request: Request) -> Answer:
    """Answer with a page of a user's sessions."""
    query = parse_query(request.query_string, UserParameters)
    return Answer(await _directory(request).user(query.id, query.after, query.limit))


def _directory(request: Request) -> Directory:
    directory: Directory = request.app.ctx.worker.pod.cluster.directory
    return directory
