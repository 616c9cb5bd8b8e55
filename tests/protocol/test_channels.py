"""The names on Redis: those of the contract, and no two the same."""

from __future__ import annotations

from sanic_chat.protocol.channels import RedisNames


def test_channels_and_keys():
    """The names on Redis are those of the contract, in UTF-8."""
    names = RedisNames("realtime")
    assert names.global_channel == b"realtime:global"
    assert names.room_channel("lobby") == b"realtime:room:lobby"
    assert names.room_channel("é") == b"realtime:room:\xc3\xa9"
    assert names.presence_channel("é") == b"realtime:presence:\xc3\xa9"
    assert names.pod_channel("pod-1") == b"realtime:pod:pod-1"
    assert names.pod_key(b"pod-1") == b"realtime:pod:pod-1"
    assert names.pods_key == b"realtime:pods"


def test_no_room_is_another_kind_of_channel():
    """A room called like the global channel, or like a presence channel, is a room of its own."""
    names = RedisNames("realtime")
    rooms = ["global", "room:a", "presence:a", "a"]
    channels = set(map(names.room_channel, rooms))
    others = {*map(names.presence_channel, rooms), names.global_channel, names.pod_channel("a")}
    assert len(channels | others) == 2 * len(rooms) + 2
    assert all(map(names.is_room, channels))
    assert not any(map(names.is_room, others))


def test_no_name_is_another_deployments():
    """Whatever rooms are called, names with different prefixes differ."""
    prefixes = ["a", "a-room", "room", "realtime", "realtime-global"]
    rooms = ["a", "room:a", "a:room:a", "-room:a", "global"]
    channels = [
        channel
        for names in map(RedisNames, prefixes)
        for channel in (
            names.global_channel,
            *map(names.room_channel, rooms),
            *map(names.presence_channel, rooms),
        )
    ]
    assert len(set(channels)) == len(channels)
