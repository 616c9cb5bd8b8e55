"""Publishing for somebody who waits for what becomes of it, and may try again.

    publish, publish_once ─→ publisher.call ─→ Redis ─→ a number of subscriptions, or why not

With a key of its own, what is tried twice is published once: Redis notes the key and publishes in
one step, so a key that is noted says for certain that its envelopes went out.

May live here: what is asked of Redis for that, and what an answer means. Must not know what is
published, nor who waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import chain
from typing import Final

import hiredis

from .connection import Reply
from .publisher import Drop, Publisher

REMEMBERED_MS: Final = 60_000
"""The time for which a key is noted."""

PUBLISH_ONCE: Final = b"""\
if not redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1]) then return false end
local count = 0
for i = 2, #ARGV, 2 do
    local told = redis.pcall('PUBLISH', ARGV[i], ARGV[i + 1])
    if type(told) == 'table' then redis.call('DEL', KEYS[1]) return told end
    count = count + told
end
return count"""
"""Publishes to channels (from the second argument on, each with its envelope) unless the key is
noted; answers with the number of subscriptions, or nil. If a channel is refused nothing is noted,
and what was not published yet is not."""

DUPLICATE: Final = None
"""The outcome of a key that was noted before."""

Outcome = asyncio.Future[int | Drop | None]
"""The number of subscriptions that Redis has handed it to, `DUPLICATE`, or why it is not certain to
have been published."""


class AwaitedPublisher:
    """Publishes over a publisher's link, behind what was published before. Only while `is_open`.

    What is not certain to have been published counts in the publisher's `dropped`.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._loop = asyncio.get_running_loop()

    @property
    def is_open(self) -> bool:
        """Whether what is published now leaves at once, and is not too much."""
        return self._publisher.is_open and not self._publisher.congested

    def publish(self, channel: bytes, envelope: bytes) -> Outcome:
        """Publish an envelope."""
        return self._call("PUBLISH", (channel, envelope), 1)

    def publish_once(self, key: bytes, messages: Sequence[tuple[bytes, bytes]]) -> Outcome:
        """Publish to channels, each its envelope, all or none: none if the key is noted."""
        arguments = (PUBLISH_ONCE, b"1", key, b"%d" % REMEMBERED_MS, *chain(*messages))
        return self._call("EVAL", arguments, len(messages))

    def _call(self, command: str, arguments: tuple[bytes, ...], envelopes: int) -> Outcome:
        publisher = self._publisher
        outcome: Outcome = self._loop.create_future()

        def is_dropped(why: Drop) -> None:
            publisher.dropped[why] += envelopes
            if not outcome.done():
                outcome.set_result(why)

        def answered(reply: Reply) -> None:
            if isinstance(reply, hiredis.ReplyError):
                publisher.link.refused(command, reply)
                is_dropped(Drop.REFUSED)
                return
            if type(reply) is not int and reply is not DUPLICATE:
                publisher.link.rebuild(f"it answered {command} with {reply!r:.100}")
                is_dropped(Drop.UNCONFIRMED)
                return
            publisher.link.accepted(command)
            if reply is not DUPLICATE:
                publisher.published += envelopes
            if not outcome.done():
                outcome.set_result(reply)

        publisher.call((command, *arguments), answered, lambda: is_dropped(Drop.UNCONFIRMED))
        return outcome
