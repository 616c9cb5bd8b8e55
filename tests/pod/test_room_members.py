"""Who is in a room of this pod, as presence sees it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from sanic_chat.hub.channel import Channel
from sanic_chat.pod.room_members import RoomMembers
from sanic_chat.pod.users import Users
from sanic_chat.protocol.channels import RedisNames
from sanic_chat.protocol.identity import Identity
from sanic_chat.protocol.message import json_text
from sanic_chat.protocol.presence import Info

NAMES = RedisNames("realtime")


class FakeSession:
    """A session, as far as it is looked at; each is another one."""

    def __init__(self, user: str, client_id: str, identity: Identity) -> None:
        self.user, self.client_id, self.identity = user, client_id, identity
        self.sender = json_text(user)


class Room:
    """A room, and the users of a pod."""

    def __init__(self) -> None:
        self.channel = Channel(NAMES.room_channel("a"), "a", b'"a"')
        self.registry = Users(sessions_per_user=0)
        hub = SimpleNamespace(channels={self.channel.name: self.channel})
        self.members = RoomMembers(cast(Any, hub), self.registry, NAMES)

    def connect(self, user: str, id: str, info: bytes | None, *, joins: bool = True) -> None:
        """A session of a user, in the room or not."""
        session: Any = FakeSession(user, id, Identity(user, info=info))
        self.registry.add(session)
        if joins:
            self.channel.members[session] = None


def test_users_are_counted_and_not_sessions() -> None:
    """Each user of the room once, with the sessions that are in the room."""
    room = Room()
    room.connect("anna", "1", None)
    room.connect("anna", "2", None)
    room.connect("anna", "3", None, joins=False)
    room.connect("bert", "4", None, joins=False)
    assert room.members.users("a") == {"anna"}
    assert room.members.presences("a", "anna") == (2, None)
    assert room.members.presences("a", "bert") == (0, None)


def test_the_newest_session_tells() -> None:
    """The info is that of the newest session in the room that has one."""
    room = Room()
    room.connect("anna", "1", b'{"n":1}')
    room.connect("anna", "3", b'{"n":3}', joins=False)
    room.connect("anna", "2", b'{"n":2}')
    room.connect("anna", "4", None)
    assert room.members.presences("a", "anna") == (3, Info.of("2", b'{"n":2}'))


def test_a_room_that_there_is_not() -> None:
    """Nobody is in it."""
    room = Room()
    assert (room.members.users("b"), room.members.presences("b", "anna")) == (set(), (0, None))
