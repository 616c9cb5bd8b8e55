"""Check of what Redis lets this user do, by doing it: under a name of our own, without a trace.

    commands on {prefix}:pod:{own ID} ─→ SUBSCRIBE to one channel of each kind ─→ what was refused

May live here: what a pod needs of an ACL. Must not know why a user was given what it has.
"""

from __future__ import annotations

import secrets
import shlex
from typing import NamedTuple

import hiredis

from ..broker.client import Command
from ..broker.connection import Reply
from ..broker.endpoint import Endpoint
from ..broker.refusals import is_about_the_command, is_withheld
from ..protocol.channels import RedisNames
from .findings import Check, Finding, Status, Unanswerable
from .redis_probe import RedisProbe, text_of

TRACE_MS = "2000"
"""The lifetime of the one key that is written, should Redis refuse to delete it."""

LIMIT = "the smallest ACL of docs/redis.md"


class Access(NamedTuple):
    """The way to a Redis, and the names of a deployment there."""

    endpoint: Endpoint
    prefix: str
    has_api: bool
    """Whether backends may publish by way of pods."""


class _Need(NamedTuple):
    command: Command
    place: str
    """The channels or keys that it is for, as an ACL has them."""
    is_vital: bool


async def acl(access: Access) -> Finding:
    """The commands, channels and keys that are refused, of those that a pod needs."""
    prefix, names = access.prefix, RedisNames(access.prefix)
    own = f"doctor-{secrets.token_hex(4)}"
    key, channel = names.pod_key(own.encode()), names.pod_channel(own)
    keys, pods, pod_channels = f"~{prefix}:pod:*", f"~{prefix}:pods", f"&{prefix}:pod:*"
    writing = [
        _Need(("PUBLISH", channel, ""), pod_channels, True),
        _Need(("SET", key, "", "PX", TRACE_MS), keys, False),
        _Need(("GETRANGE", key, "0", "1"), keys, False),
        _Need(("PEXPIRE", key, TRACE_MS), keys, False),
        # On a key that is a string these two only say so, if they are allowed.
        _Need(("SADD", key, own), keys, False),
        _Need(("SMEMBERS", names.pods_key), pods, False),
        _Need(("SREM", names.pods_key, own), pods, False),
        _Need(("DEL", key), keys, False),
    ]
    if access.has_api:
        needed = ("EVAL", "return 1", "1", names.once_key(own.encode()))
        writing.append(_Need(needed, f"~{prefix}:once:*", False))
    listening = [
        _Need(("SUBSCRIBE", names.global_channel), f"&{prefix}:global", True),
        _Need(("SUBSCRIBE", names.control_channel), f"&{prefix}:control", True),
        _Need(("SUBSCRIBE", channel), pod_channels, True),
        _Need(("SUBSCRIBE", names.room_channel(own)), f"&{prefix}:room:*", False),
        _Need(("UNSUBSCRIBE", channel), "", False),
    ]
    async with RedisProbe(access.endpoint) as probe:  # after SUBSCRIBE it is of no other use
        try:
            await probe.open()
        except OSError as error:
            raise Unanswerable(f"Redis cannot be asked: {error}") from None
        # Without SET the key would be made, and perhaps not deleted: SADD then stays untried.
        [was_set] = await probe.ask(writing[1].command)
        if isinstance(was_set, hiredis.ReplyError):
            writing = [need for need in writing if need.command[0] != "SADD"]
        needs = [*writing, *listening]
        replies = await probe.ask(*(need.command for need in needs))
    missing: dict[str, None] = {}
    is_vital = False
    for need, reply in zip(needs, replies, strict=True):
        if _is_refused(reply):
            missing[_rule(need, str(reply))] = None
            is_vital |= need.is_vital
    if not missing:
        return Finding(Status.WELL, "nothing that a pod needs is refused", LIMIT)
    return Finding(
        Status.FAILURE if is_vital else Status.WARNING,
        f"refused: {' '.join(missing)}",
        LIMIT,
        shlex.join(["redis-cli", "ACL", "SETUSER", access.endpoint.user, *missing]),
    )


def _is_refused(reply: Reply) -> bool:
    return isinstance(reply, hiredis.ReplyError) and is_withheld(str(reply))


def _rule(need: _Need, refusal: str) -> str:
    """The words that an ACL lacks."""
    if is_about_the_command(refusal) or not need.place:
        return f"+{text_of(need.command[0]).lower()}"
    return need.place


CHECKS = (
    Check(
        "redis_acl",
        "without its channels a pod is not ready, without a room's nobody joins it, and without "
        "keys there are no stats",
        acl,
    ),
)
