"""Messages and envelopes: the JSON that clients and pods exchange, without any I/O.

May live here: what a client may send, what an envelope on Redis may look like, and how the
bytes of a message are put together. Must not know sockets, Sanic, Redis or who is in which room.

`data` is never decoded and encoded again: it travels byte for byte as it was sent.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec
import ujson

from .errors import BadEnvelope, BadMessage
from .names import ROOM_NAME_RULE, normalise_room_name

MESSAGE_TYPES: Final = ("chat", "presence", "notification", "system")
MessageType = Literal["chat", "presence", "notification", "system"]

SERVER_SENDER: Final = b'"server"'
"""`from`, as JSON, of what no client sent."""

NULL: Final = b"null"

OPENING: Final = b"{"
"""What a message begins with; see `build_members`."""

_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)

MAX_SENDER_CHARACTERS = 256


class ClientMessage(msgspec.Struct, frozen=True, gc=False):
    """What a client sent. Unknown keys are ignored; of a key given twice the last one counts."""

    data: msgspec.Raw
    type: MessageType = "chat"
    room: str | msgspec.UnsetType | None = msgspec.UNSET
    """UNSET: the session's own room; None: everybody."""
    id: str | msgspec.UnsetType = msgspec.UNSET


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """What stood on a Redis channel. Whoever publishes by hand may leave out all but `data`.

    `room` is not read: the channel says which room it is.
    """

    data: msgspec.Raw
    pod_id: str = ""
    id: str = ""
    type: MessageType = "notification"
    sender: str = msgspec.field(name="from", default="server")
    timestamp: str = ""


class Command(msgspec.Struct, frozen=True, gc=False):
    """The `data` of a client's system message: what it asks of the server."""

    action: str
    room: str | None = None


_decode_client_message = msgspec.json.Decoder(ClientMessage).decode
_envelope_decoder = msgspec.json.Decoder(Envelope)
_command_decoder = msgspec.json.Decoder(Command)


def parse_message(payload: bytes) -> ClientMessage:
    """Read a client's message; `payload` must be valid UTF-8, which the frame parser checks.

    Raises BadMessage: `bad_json` if it is no JSON (RFC 8259), `bad_message` if it is JSON of
    another shape, `bad_id` if its id is no UUID.
    """
    try:
        message = _decode_client_message(payload)
    except msgspec.ValidationError as error:
        raise BadMessage(
            "bad_message", f'{error}; a message is like {{"data": "hi"}}', _id_of(payload)
        ) from None
    except msgspec.DecodeError as error:
        raise BadMessage("bad_json", _sentence(error)) from None
    except RecursionError:
        raise BadMessage("bad_json", "The JSON is nested too deeply") from None
    if message.id is not msgspec.UNSET and not _UUID.fullmatch(message.id):
        raise BadMessage("bad_id", "The id of a message is a UUID, or left out")
    return message


def parse_command(message: ClientMessage) -> Command:
    """Read a system message's `data`. Raises BadMessage `bad_command`."""
    try:
        return _command_decoder.decode(message.data)
    except msgspec.DecodeError as error:  # a ValidationError is one too
        raise BadMessage(
            "bad_command",
            f'{error}; a system message is like {{"type": "system", "data": {{"action": "ping"}}}}',
            message.id or None,
        ) from None


def parse_room_name(text: str | None, message: ClientMessage) -> str:
    """The room that a message names, normalised. Raises BadMessage `bad_room`."""
    name = None if text is None else normalise_room_name(text)
    if name is None:
        raise BadMessage("bad_room", f"Not a room name: {ROOM_NAME_RULE}", message.id or None)
    return name


def parse_envelope(payload: bytes) -> Envelope:
    """Read what stood on a Redis channel. Raises BadEnvelope with the reason."""
    try:
        payload.decode()
        envelope = _envelope_decoder.decode(payload)
    except UnicodeDecodeError:
        raise BadEnvelope("it is not UTF-8") from None
    except RecursionError:
        raise BadEnvelope("the JSON is nested too deeply") from None
    except msgspec.DecodeError as error:
        raise BadEnvelope(str(error)) from None
    if envelope.id and not _UUID.fullmatch(envelope.id):
        raise BadEnvelope("its id is not a UUID")
    if envelope.timestamp and not _TIMESTAMP.fullmatch(envelope.timestamp):
        raise BadEnvelope("its timestamp is not an RFC 3339 date-time")
    if len(envelope.sender) > MAX_SENDER_CHARACTERS:
        raise BadEnvelope(f"its from has over {MAX_SENDER_CHARACTERS} characters")
    return envelope


def build_members(
    id: bytes, type: bytes, room: bytes, sender: bytes, data: Any, timestamp: bytes
) -> bytes:
    """The members of a message, always the same six in the same order, up to its closing brace.

    `OPENING + members` is the message and `envelope_head(pod_id) + members` its envelope: both are
    left to who copies it anyway. `room`, `sender` and `data` are JSON already; `id`, `type` and
    `timestamp` stand for themselves.
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


def envelope_head(pod_id: str) -> bytes:
    """What a pod's envelopes begin with; see `build_members`."""
    return b'{"pod_id":%b,' % json_text(pod_id)


def json_text(text: str | None) -> bytes:
    """A string, or None, as JSON in UTF-8."""
    return msgspec.json.encode(text)


def json_value(text: bytes) -> Any:
    """What `json_text` was made of."""
    return msgspec.json.decode(text)


def json_bytes(value: object) -> bytes:
    """Something the server itself says, as compact JSON in UTF-8."""
    return ujson.dumps(value, ensure_ascii=False, escape_forward_slashes=False).encode()


def _sentence(error: msgspec.DecodeError) -> str:
    # For a lone surrogate msgspec reports the end of the input, which would send people astray.
    text = str(error)
    return "The JSON is truncated, or has half a surrogate pair" if "truncated" in text else text


def _id_of(payload: bytes) -> str | None:
    """The id of a message that is refused for something else, so that its sender can tell which."""
    try:
        id = msgspec.json.decode(payload).get("id")
    except (msgspec.DecodeError, RecursionError, AttributeError):
        return None
    return id if isinstance(id, str) and _UUID.fullmatch(id) else None
