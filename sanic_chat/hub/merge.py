"""Frames of several channels for one member, in the order of delivery.

    channels ─→ in_several ─→ members, each with its channels ─→ merge ─→ runs

May live here: who gets frames of several channels in a turn, and their order. Must not know when
they are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from operator import itemgetter

from .channel import Channel, Member
from .fanout import Run


def in_several(
    ready: list[Channel], gathering: list[Channel], everyone: Channel
) -> dict[Member, list[Channel]]:
    """The members that get frames of several channels now, each with these channels.

    `ready` are written to now, and `gathering` keep what is pending: a member that gets frames of
    those alone is none.
    """
    channels = [*ready, *gathering]
    if not everyone.pending:
        channels = [channel for channel in channels if channel.shared]
    if len(channels) < 2:
        return {}
    *smaller, largest = sorted(channels, key=lambda channel: len(channel.members))
    pending: dict[Member, list[Channel]] = {}
    for channel in smaller:
        for member in channel.members:
            if member in pending:
                pending[member].append(channel)
            else:
                pending[member] = [channel]
    for member in _in_both(pending, largest.members):
        pending[member].append(largest)
    later = set(gathering)
    return {
        member: channels
        for member, channels in pending.items()
        if len(channels) > 1 and not (later and later.issuperset(channels))
    }


def _in_both(members: Mapping[Member, object], others: Mapping[Member, object]) -> list[Member]:
    """The members that are in both."""
    if len(others) < len(members):
        return [member for member in others if member in members]
    return [member for member in members if member in others]


def merge(channels: list[Channel], member: Member) -> list[Run]:
    """The runs that are pending for a member in some channels, in the order of delivery."""
    if len(channels) == 1:
        frames = [frame for _, frame in channels[0].pending_for(member)]
        return [(b"".join(frames), len(frames), channels[0])] if frames else []
    items = [
        (place, channel, frame)
        for channel in channels
        for place, frame in channel.pending_for(member)
    ]
    items.sort(key=itemgetter(0))
    runs: list[Run] = []
    for channel, run in groupby(items, itemgetter(1)):
        frames = [frame for _, _, frame in run]
        runs.append((b"".join(frames), len(frames), channel))
    return runs
