"""Publishing for backends: what they send goes to Redis, and comes back to this pod like all else.

    posts ─→ envelopes ─→ Redis ─┬→ every pod with members there, this one too ─→ hub.deliver
                                 └→ (it has answered) ─→ an outcome for each

Nobody gets a message that Redis has not taken, so a backend may try again what was refused.

May live here: what a backend's message becomes, and when it is refused. Must not know who it is
from, nor HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Final

from ..broker.awaited import DUPLICATE, AwaitedPublisher, Outcome
from ..broker.broker import Broker
from ..broker.publisher import Drop
from ..errors import ApiRefused
from ..hub.channel import Channel
from ..hub.hub import Hub
from ..protocol.api import Failure, Published
from ..protocol.api_requests import Post
from ..protocol.channels import RedisNames
from ..protocol.message import MESSAGE_HEAD, encode_fields, json_text
from ..protocol.personal_room import PERSONAL
from ..protocol.stamp import Stamper
from .load import Load
from .rooms import Rooms

ANSWER_SECONDS: Final = 2.0
"""The time for which an answer of Redis is waited for."""

_FAILURES: Final = {
    Drop.REFUSED: Failure("redis_refuses", "Redis refuses to publish it; the log says why"),
    Drop.UNCONFIRMED: Failure(
        "unconfirmed", "Redis has not confirmed it, and it may have been published or not"
    ),
}


class Publishing:
    """Publishes for backends, over one pod's links; `retry_after` seconds later they may again."""

    def __init__(
        self,
        broker: Broker,
        *,
        hub: Hub,
        names: RedisNames,
        rooms: Rooms,
        load: Load,
        stamper: Stamper,
        has_personal_rooms: bool,
        retry_after: int,
    ) -> None:
        self._broker = broker
        self._publisher = AwaitedPublisher(broker.publisher)
        self._hub = hub
        self._names = names
        self._rooms = rooms
        self._load = load
        self._stamper = stamper
        self._has_personal_rooms = has_personal_rooms
        self._retry_after = {"Retry-After": str(retry_after)}

    async def publish(self, posts: Sequence[Post]) -> list[Published]:
        """Publish messages in their order; return the outcome of each, within two seconds.

        Raises ApiRefused, and publishes none of them, if Redis takes nothing now (`unavailable`),
        if this pod is behind (`congested`), or if one of them cannot be published here.
        """
        channels = {
            room: self._hub.everyone if room is None else self._rooms.channel(room)
            for post in posts
            for room in post.rooms
        }
        self._check(posts, channels.values())
        sent = [self._publish(post, [channels[room] for room in post.rooms]) for post in posts]
        await asyncio.wait(
            [outcome for _, outcomes in sent for outcome in outcomes], timeout=ANSWER_SECONDS
        )
        return [_published(id, outcomes) for id, outcomes in sent]

    def _check(self, posts: Sequence[Post], channels: Collection[Channel]) -> None:
        if not self._has_personal_rooms and any(
            channel.room is not None and channel.room.startswith(PERSONAL) for channel in channels
        ):
            raise ApiRefused(
                400, "no_personal_rooms", "There are no personal rooms (CHAT_PERSONAL_ROOMS)"
            )
        publisher = self._broker.publisher
        if publisher.link.in_a_cluster and any(post.message.id for post in posts):
            raise ApiRefused(
                501, "no_ids", "A node of a Redis Cluster keeps no IDs for all pods: leave out id"
            )
        if publisher.congested or any(map(self._load.must_hold, channels)):
            raise ApiRefused(
                503, "congested", "More is published than can be passed on", self._retry_after
            )
        if not (publisher.is_open and self._broker.is_connected):
            trouble = self._broker.trouble()
            why = "Redis answers nothing" if trouble is None else trouble.message
            raise ApiRefused(503, "unavailable", why, self._retry_after)

    def _publish(self, post: Post, channels: Sequence[Channel]) -> tuple[str, list[Outcome]]:
        message = post.message
        new_id, timestamp = self._stamper.stamp()
        id = message.id.encode() if message.id else new_id
        sender = json_text(message.sender)
        envelopes = [
            MESSAGE_HEAD
            + encode_fields(
                id, message.type.encode(), channel.json_room, sender, message.data, timestamp
            )
            for channel in channels
        ]
        pairs = [*zip((channel.name for channel in channels), envelopes, strict=True)]
        if message.id:
            outcomes = [self._publisher.publish_once(self._names.once_key(id), pairs)]
        else:
            outcomes = [self._publisher.publish(*pair) for pair in pairs]
        return id.decode(), outcomes


def _published(id: str, outcomes: Sequence[Outcome]) -> Published:
    subscribers = 0
    for outcome in outcomes:
        found = outcome.result() if outcome.done() else Drop.UNCONFIRMED
        if found is DUPLICATE:
            return Published(id, duplicate=True)
        if isinstance(found, Drop):
            return Published(id, error=_FAILURES[found])
        subscribers += found
    return Published(id, subscribers)
