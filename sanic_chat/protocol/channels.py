"""The names of a deployment's channels and keys on Redis.

May live here: how a name is made, and told apart from others. Must not know what is published on a
channel or kept in a key.
"""

from __future__ import annotations


class RedisNames:
    """The names of one deployment; all begin with its prefix and a colon.

    Two deployments share no name if their prefixes differ, since a prefix has no colon in it.
    Names of rooms are expected in their normal form (`normalise_room_name`).
    """

    __slots__ = (
        "_newcomers",
        "_once",
        "_pod",
        "_presence",
        "control_channel",
        "global_channel",
        "lifecycle_channel",
        "pods_key",
        "room_prefix",
        "tell_channel",
    )

    def __init__(self, prefix: str) -> None:
        start = prefix.encode() + b":"
        self.global_channel = start + b"global"
        self.control_channel = start + b"control"
        """The channel on which pods speak to all pods, and never of what clients say."""
        self.lifecycle_channel = start + b"lifecycle"
        """The channel on which pods tell backends of sessions that open and close."""
        self.tell_channel = start + b"lifecycle:tell"
        """The channel on which a backend has all pods tell of the sessions that they have."""
        self.room_prefix = start + b"room:"
        """The start of the channel of every room, and of no other."""
        self.pods_key = start + b"pods"
        """The Redis set of all pods' IDs. Each pod's report is in its own key, and expires."""
        self._once = start + b"once:"
        self._presence = start + b"presence:"
        self._newcomers = start + b"newcomers:"
        self._pod = start + b"pod:"  # of channels and of keys, which Redis keeps apart

    def room_channel(self, room: str) -> bytes:
        """The channel of a room."""
        return self.room_prefix + room.encode()

    def is_room(self, channel: bytes) -> bool:
        """Whether a channel of this deployment is that of a room."""
        return channel.startswith(self.room_prefix)

    def presence_channel(self, room: str) -> bytes:
        """The channel of who is told of changes in a room; in this pod's hub only."""
        return self._presence + room.encode()

    def newcomers_channel(self, room: str) -> bytes:
        """The channel of who waits to be told who is in a room; in this pod's hub only."""
        return self._newcomers + room.encode()

    def pod_channel(self, pod_id: str) -> bytes:
        """The channel on which other pods speak to this one."""
        return self._pod + pod_id.encode()

    def pod_key(self, pod_id: bytes) -> bytes:
        """The key of a pod's report, which expires once the pod is gone."""
        return self._pod + pod_id

    def once_key(self, id: bytes) -> bytes:
        """The key that notes, for a minute, that a message of this ID was published."""
        return self._once + id.lower()
