"""`sanic_chat.publish` and `sanic_chat.apublish`: a message to clients, from any program.

May live here: what callers give, and what they get back. Must not know sockets.
"""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from ..config import readers
from ..config.declaration import read_values
from ..config.settings import Config
from ..errors import BadMessage, ConfigError
from ..protocol.channels import RedisNames
from ..protocol.message import SERVER_NAME, MessageType
from ..protocol.publication import PUBLICATION_TYPE, Publication, make_publication, room_of
from .connections import async_connections, connections

TIMEOUT_SECONDS = 5.0
"""The time for getting a connection, and again for getting the answer, unless a caller says so."""

_SETTINGS = {setting.name: setting for setting in fields(Config)}


class Published(NamedTuple):
    """A message that Redis has passed on."""

    id: str
    """The `id` that every client sees."""
    subscribers: int
    """The Redis subscriptions that got it: pods with members there, and whoever else listens."""


def publish(
    room: str | None,
    data: Any,
    *,
    user: str | msgspec.UnsetType = msgspec.UNSET,
    type: MessageType = PUBLICATION_TYPE,
    sender: str = SERVER_NAME,
    id: str | UUID | None = None,
    url: str | None = None,
    prefix: str | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> Published:
    """Publish a message to a room; to everybody if `room` is None, or to all tabs of `user` then.

    `data` is any JSON value, or what msgspec writes as one. `url` is REDIS_URL, or else that
    variable, and so are `prefix` and CHAT_REDIS_PREFIX. Any thread may call it, and any process,
    also one that was forked. It is published once at most, and blocks for twice `timeout` seconds
    at most, beside what the system takes to look up a name.

    Raises BadMessage or ConfigError for what is not allowed; NotPublished if it surely reached
    nobody; PublishUnconfirmed if it was sent and nobody knows.
    """
    server = _server(url)
    publication = _publication(room, data, user, type, sender, id, prefix)
    return Published(publication.id, connections(server, timeout).publish(publication))


async def apublish(
    room: str | None,
    data: Any,
    *,
    user: str | msgspec.UnsetType = msgspec.UNSET,
    type: MessageType = PUBLICATION_TYPE,
    sender: str = SERVER_NAME,
    id: str | UUID | None = None,
    url: str | None = None,
    prefix: str | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> Published:
    """Publish as `publish` does, without blocking the event loop.

    Of one event loop, messages leave in the order of the calls. One that is cancelled may have
    been published.
    """
    server = _server(url)
    publication = _publication(room, data, user, type, sender, id, prefix)
    kept = await async_connections(server, timeout)
    return Published(publication.id, await kept.publish(publication))


def _publication(
    room: str | None,
    data: Any,
    user: str | msgspec.UnsetType,
    type: str,
    sender: str,
    id: str | UUID | None,
    prefix: str | None,
) -> Publication:
    if user is not msgspec.UNSET:
        if room is not None:
            raise BadMessage("bad_message", "A message goes to a room or to a user: room is None")
        room = room_of(user)
    return make_publication(
        RedisNames(_prefix(prefix)),
        room,
        _encoded(data),
        type=type,
        sender=sender,
        id=None if id is None else str(id),
        max_message_bytes=_setting("max_message_bytes"),
    )


def _encoded(data: Any) -> bytes:
    try:
        return msgspec.json.encode(data)
    except RecursionError:
        reason = "it is nested too deeply"
    except (TypeError, ValueError, OverflowError) as error:  # half a surrogate pair is a ValueError
        reason = str(error)
    raise BadMessage(
        "bad_message",
        f"The data is no JSON value: {reason:.100}; allowed are None, True, False, numbers, text, "
        "lists, dicts with keys of text, and times, UUIDs, enums and dataclasses, made of these",
    )


def _server(url: str | None) -> str:
    found: str | None = _setting("redis_url") if url is None else url
    if not found:
        raise ConfigError(
            "REDIS_URL is not set: give the server and who publishes the same Redis. The embedded "
            "one is the server's own"
        )
    return found


def _prefix(prefix: str | None) -> str:
    if prefix is None:
        return str(_setting("redis_prefix"))
    try:
        return str(readers.redis_prefix(prefix))
    except readers.NotAllowed as allowed:
        raise ConfigError(f"prefix is {prefix!r}; allowed is {allowed}") from None


def _setting(name: str) -> Any:
    """The value of a setting in the environment. Raises ConfigError."""
    return read_values([_SETTINGS[name]], os.environ).get(name, _SETTINGS[name].default)
