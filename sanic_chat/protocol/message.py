"""Messages: the JSON that clients send and receive.

May live here: the shape of a message, what is wrong with one, and how its bytes are put together.
Must not know who is in which room.

`data` is never decoded and encoded again: it travels byte for byte as it was sent.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec

from ..errors import BadMessage
from .personal_room import MAX_USER_CHARACTERS
from .room_name import ROOM_NAME_RULE, normalise_room_name

MESSAGE_TYPES: Final = ("chat", "presence", "notification", "system")
MessageType = Literal["chat", "presence", "notification", "system"]

SERVER_NAME: Final = "server"
"""The `from` of messages that no client sent. No client has this ID."""

SERVER_SENDER: Final = b'"server"'
"""`SERVER_NAME` as JSON."""

NULL: Final = b"null"

MESSAGE_HEAD: Final = b"{"
"""The start of every message; `encode_fields` makes the rest."""

UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
MESSAGE_OVERHEAD_BYTES = 5120
"""The bytes that a message may have over its client's: other keys, the frame, the queue entry.

The keys have 4.8 KiB at most: in the personal room of a user of 256 characters each is 12 bytes of
the room's name, and of a user of as many who speaks there each is 6 of `from`.
"""

MAX_SENDER_CHARACTERS = MAX_USER_CHARACTERS
"""The bound of `from`, which a token's `sub` and an envelope have to keep to."""


class ClientMessage(msgspec.Struct, frozen=True, gc=False):
    """A message as a client sends it. Unknown keys are ignored; of a key twice the last counts."""

    data: msgspec.Raw
    type: MessageType = "chat"
    room: str | msgspec.UnsetType | None = msgspec.UNSET
    """UNSET: the room that the session connected to; None: everybody."""
    id: str | msgspec.UnsetType = msgspec.UNSET
    ack: bool = False
    """Whether the sender wants a receipt."""


EXAMPLE: Final = 'a message is like {"data": "hi"}'
"""The end of a sentence about a message that cannot be read."""

_decode_client_message = msgspec.json.Decoder(ClientMessage).decode


def parse_message(payload: bytes) -> ClientMessage:
    """Read a client's message; `payload` must be valid UTF-8, which the frame parser checks.

    The room's name is not checked (see `parse_room_name`). Raises BadMessage: `bad_json` if it is
    no JSON (RFC 8259), `bad_message` if it is JSON of another shape, `bad_id` if its id is no UUID,
    or missing though it asks for an `ack`.
    """
    try:
        message = _decode_client_message(payload)
    except msgspec.ValidationError as error:
        raise BadMessage("bad_message", f"{error}; {EXAMPLE}", _id_of(payload)) from None
    except msgspec.DecodeError as error:
        raise BadMessage("bad_json", f"{_sentence(error)}; {EXAMPLE}") from None
    except RecursionError:
        raise BadMessage("bad_json", "The JSON is nested too deeply") from None
    if message.id is not msgspec.UNSET and not UUID.fullmatch(message.id):
        raise BadMessage("bad_id", "The id of a message is a UUID, or left out")
    if message.ack and message.id is msgspec.UNSET:
        raise BadMessage("bad_id", "A message that asks for an ack has an id, a UUID")
    return message


def parse_room_name(text: str | None, message: ClientMessage) -> str:
    """Normalise the room name in a message. Raises BadMessage `bad_room` if it is none."""
    name = None if text is None else normalise_room_name(text)
    if name is None:
        raise BadMessage("bad_room", f"Not a room name: {ROOM_NAME_RULE}", message.id or None)
    return name


def encode_fields(
    id: bytes, type: bytes, room: bytes, sender: bytes, data: Any, timestamp: bytes
) -> bytes:
    """Encode the six fields of a message, in their order, with the brace that closes it.

    `MESSAGE_HEAD + fields` is the message, and `envelope_head(pod_id) + fields` its envelope. The
    caller joins them, where it copies the bytes anyway. `room`, `sender` and `data` are JSON;
    `id`, `type` and `timestamp` are put between quotes as they are.
    """
    return b"".join(
        (
            b'"id":"',
            id,
            b'","type":"',
            type,
            b'","room":',
            room,
            b',"from":',
            sender,
            b',"data":',
            data,
            b',"timestamp":"',
            timestamp,
            b'"}',
        )
    )


def json_text(text: str | None) -> bytes:
    """Encode a string, or None, as JSON in UTF-8."""
    return msgspec.json.encode(text)


def _sentence(error: msgspec.DecodeError) -> str:
    # For a lone surrogate msgspec reports the end of the input, which would send people astray.
    text = str(error)
    return "The JSON is truncated, or has half a surrogate pair" if "truncated" in text else text


def _id_of(payload: bytes) -> str | None:
    """The id of a message that is refused for another reason; None if it cannot be read."""
    try:
        id = msgspec.json.decode(payload).get("id")
    except (msgspec.DecodeError, RecursionError, AttributeError):
        return None
    return id if isinstance(id, str) and UUID.fullmatch(id) else None
