"""Publications: what a backend publishes, checked, and made into an envelope.

    room or user, data, type, sender, id ─→ make_publication ─→ channel, payload

May live here: what a backend may say, and to whom. Must not know how it gets to Redis.
"""

from __future__ import annotations

from typing import NamedTuple

from ..errors import BadMessage
from .channels import RedisNames
from .message import (
    MAX_SENDER_CHARACTERS,
    MESSAGE_HEAD,
    MESSAGE_TYPES,
    NULL,
    SERVER_NAME,
    UUID,
    MessageType,
    encode_fields,
    json_text,
)
from .personal_room import MAX_USER_CHARACTERS, personal_room
from .room_name import check_room_name
from .stamp import Stamper

PUBLICATION_TYPE: MessageType = "notification"
"""The type of what a backend publishes, unless it says another."""


class Publication(NamedTuple):
    """A message of a backend, ready for Redis."""

    id: str
    """A UUID, the same on every pod."""
    channel: bytes
    payload: bytes
    """The envelope; that it has no pod's ID makes every pod deliver it."""


def make_publication(
    names: RedisNames,
    room: str | None,
    data: bytes,
    *,
    type: str = PUBLICATION_TYPE,
    sender: str = SERVER_NAME,
    id: str | None = None,
    max_message_bytes: int,
) -> Publication:
    """Make a publication to a room, or to everybody if it is None. `data` is JSON.

    Raises BadMessage with a sentence that says what is allowed: `bad_room`, `bad_id`, or
    `bad_message` for a type, sender or size that pods or clients would not take.
    """
    if type not in MESSAGE_TYPES:
        raise BadMessage(
            "bad_message",
            f"The type of a message is one of {', '.join(MESSAGE_TYPES)}, and not {type!r:.40}",
        )
    if id is not None and not UUID.fullmatch(id):
        raise BadMessage("bad_id", f"The id of a message is a UUID, and not {id!r:.80}")
    if len(data) > max_message_bytes:
        raise BadMessage(
            "bad_message",
            f"The data has {len(data)} bytes as JSON; allowed are {max_message_bytes} "
            "(CHAT_MAX_MESSAGE_BYTES, of which pods drop what is larger)",
        )
    try:
        name = None if room is None else check_room_name(room)
    except ValueError as error:
        raise BadMessage("bad_room", str(error)) from None
    # A stamper for each: one that is shared would have to be locked, and made anew by a fork.
    own_id, timestamp = Stamper().stamp()
    fields = encode_fields(
        id=own_id if id is None else id.encode(),
        type=type.encode(),
        room=NULL if name is None else json_text(name),
        sender=_sender(sender),
        data=data,
        timestamp=timestamp,
    )
    return Publication(
        id=own_id.decode() if id is None else id,
        channel=names.global_channel if name is None else names.room_channel(name),
        payload=MESSAGE_HEAD + fields,
    )


def room_of(user: str) -> str:
    """Return the personal room of a user. Raises BadMessage `bad_room` for what is no user."""
    try:
        if isinstance(user, str) and 0 < len(user) <= MAX_USER_CHARACTERS:
            return personal_room(user)
    except UnicodeEncodeError:
        pass
    raise BadMessage(
        "bad_room",
        f"A user is text of 1 to {MAX_USER_CHARACTERS} characters, and not {user!r:.80}",
    )


def _sender(sender: str) -> bytes:
    try:
        if isinstance(sender, str) and 0 < len(sender) <= MAX_SENDER_CHARACTERS:
            return json_text(sender)
    except UnicodeEncodeError:
        pass
    raise BadMessage(
        "bad_message",
        f"A sender is text of 1 to {MAX_SENDER_CHARACTERS} characters, and not {sender!r:.80}",
    )
