"""Who gets frames of several channels in a turn, and their order."""

from __future__ import annotations

from typing import Any

from sanic_chat.hub.channel import Channel
from sanic_chat.hub.merge import in_several, merge


def channel(name: str, members: str, frames: dict[int, bytes] | None = None) -> Channel:
    """A channel whose members are letters, with frames at places in the order of delivery."""
    made = Channel(name.encode(), name, b"")
    found: Any = dict.fromkeys(members)
    made.members = found
    made.shared = len(members)
    made.pending = [*(frames or {}).items()]
    return made


def letters(found: dict[Any, list[Channel]]) -> dict[str, str]:
    return {
        member: "".join(sorted(each.name.decode() for each in channels))
        for member, channels in found.items()
    }


NOBODY = channel("*", "")


def test_who_is_in_several() -> None:
    """Members of two channels or more that are written to, whichever is the larger."""
    a, b, c = channel("a", "uvw"), channel("b", "vwxyz"), channel("c", "w")
    assert letters(in_several([a, b, c], [], NOBODY)) == {"v": "ab", "w": "abc"}


def test_channels_that_gather() -> None:
    """Who gets frames of a channel that is written to gets those of the others with them."""
    a, b, c = channel("a", "uv"), channel("b", "vw"), channel("c", "wx")
    assert letters(in_several([a], [b, c], NOBODY)) == {"v": "ab"}


def test_nobody_is_looked_for_in_channels_without_common_members() -> None:
    a, b = channel("a", "uv"), channel("b", "vw")
    a.shared = 0
    assert in_several([a, b], [], NOBODY) == {}
    assert in_several([b], [], NOBODY) == {}


def test_the_global_channel() -> None:
    """Everybody is in it, and so in several, once it has something."""
    everyone = channel("*", "uvw", {0: b"0"})
    a = channel("a", "v")
    a.shared = 0
    assert letters(in_several([a, everyone], [], everyone)) == {"v": "*a"}


def test_runs_in_the_order_of_delivery() -> None:
    """Frames of one channel in a row are one run; those that a member has already are left out."""
    a, b = channel("a", "u", {0: b"0", 1: b"1", 4: b"4"}), channel("b", "u", {2: b"2", 3: b"3"})
    member: Any = "u"
    assert merge([a, b], member) == [(b"01", 2, a), (b"23", 2, b), (b"4", 1, a)]
    a.skip(member)
    assert merge([a, b], member) == [(b"23", 2, b)]
    assert merge([a], member) == []
