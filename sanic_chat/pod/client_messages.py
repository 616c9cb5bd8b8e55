"""Client messages: to whom each goes, and its way to all pods.

    message ─→ publish ─┬→ hub.deliver (members here, in this loop turn)
                        └→ publisher (everybody else)

May live here: which channel a message is for, who may speak there, and what is made of it. Must not
know commands, nor how bytes come in.
"""

from __future__ import annotations

from msgspec import UNSET

from ..broker.publisher import Publisher
from ..errors import BadMessage
from ..hub.channel import Channel
from ..hub.hub import Hub
from ..protocol.events import RESERVED_EVENTS, is_ours
from ..protocol.message import MESSAGE_HEAD, ClientMessage, encode_fields, parse_room_name
from ..protocol.personal_room import PERSONAL, resolve
from ..protocol.stamp import Stamper
from ..session.session import Session
from ..websocket.frames import text_frame
from .access import Access
from .receipts import Receipts
from .rooms import Rooms


class ClientMessages:
    """Publishes what the sessions of one pod say."""

    def __init__(
        self,
        hub: Hub,
        publisher: Publisher,
        *,
        rooms: Rooms,
        access: Access,
        receipts: Receipts,
        stamper: Stamper,
        envelope_head: bytes,
    ) -> None:
        self.published = 0
        """The messages of clients that were passed on."""
        self._hub = hub
        self._publish = publisher.publish
        self._rooms = rooms
        self._access = access
        self._receipts = receipts
        self._stamper = stamper
        self._envelope_head = envelope_head

    def publish(self, session: Session, message: ClientMessage) -> Channel:
        """Publish what a session says; return the channel that it was for.

        Raises BadMessage: `bad_room`, `not_in_room`, `reserved_event`, or `forbidden_publish` to
        everybody, or in a room.
        """
        channel = session.default_channel  # nearly always the one
        if message.room is not UNSET or channel is None or session not in channel.members:
            channel = self._target(session, message)
        identity = session.identity
        if identity is not None and identity.permissions is not None and channel.room is not None:
            self._check(session, channel.room, message)
        if message.type == "presence" and is_ours(message.data):
            raise BadMessage(
                "reserved_event",
                f"Presence events named {' and '.join(RESERVED_EVENTS)} are the server's own",
                message.id or None,
            )
        id, timestamp = self._stamper.stamp()
        if message.id:
            id = message.id.encode()
        fields = encode_fields(
            id, message.type.encode(), channel.json_room, session.sender, message.data, timestamp
        )
        self.published += 1
        receipt = self._receipts.ask(session, id, channel) if message.ack else (session, id)
        if channel.members:
            self._hub.deliver(channel, text_frame(fields, MESSAGE_HEAD), session)
        self._publish(channel.name, fields, receipt, self._envelope_head)
        return channel

    def _check(self, session: Session, room: str, message: ClientMessage) -> None:
        if not self._rooms.may(session, "publish", room):
            raise BadMessage(
                "forbidden_publish",
                f"You are not allowed to speak in room {room!r}",
                message.id or None,
            )

    def _target(self, session: Session, message: ClientMessage) -> Channel:
        wanted = message.room
        channel = session.default_channel
        if wanted is None or (wanted is UNSET and channel is None):
            identity = session.identity
            if (
                identity is not None or not self._access.global_publish
            ) and not self._access.may_speak_to_everybody(identity):
                raise BadMessage(
                    "forbidden_publish",
                    "You are not allowed to speak to everybody; name a room",
                    message.id or None,
                )
            return self._hub.everyone
        if not isinstance(wanted, str):  # left out
            assert channel is not None
            wanted = channel.room or ""
        elif channel is None or channel.room != wanted or session not in channel.members:
            wanted = resolve(parse_room_name(wanted, message), session.user)
            channel = self._rooms.find(session, wanted)
            if channel is None and wanted.startswith(PERSONAL):
                self._check(session, wanted, message)
                return self._rooms.channel(wanted)
        if channel is None or session not in channel.members:
            raise BadMessage("not_in_room", f"You are not in room {wanted!r}", message.id or None)
        return channel
