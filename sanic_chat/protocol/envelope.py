"""Envelopes: the JSON that pods exchange over Redis, a message and the ID of the pod that sent it.

May live here: the shape of an envelope, and the start of a pod's own. Must not know channels, nor
what is done with an envelope.
"""

from __future__ import annotations

import re

import msgspec

from ..errors import BadEnvelope
from .message import EXAMPLE, MAX_SENDER_CHARACTERS, UUID, MessageType, json_text

MAX_POD_ID_CHARACTERS = 128
"""The bound of a pod's ID; POD_ID has at most 64, and a random part follows."""

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """The fields of an envelope. All but `data` may be missing, since anybody may publish.

    Unknown keys are ignored, and so is `room`: the channel says which room it is.
    """

    data: msgspec.Raw
    pod_id: str = ""
    id: str = ""
    type: MessageType = "notification"
    sender: str = msgspec.field(name="from", default="server")
    timestamp: str = ""


_envelope_decoder = msgspec.json.Decoder(Envelope)


def parse_envelope(payload: bytes) -> Envelope:
    """Read the payload of a Redis message. Raises BadEnvelope with the reason, a sentence.

    `id` is empty or a UUID, `timestamp` empty or an RFC 3339 date-time, and `sender` has at most
    `MAX_SENDER_CHARACTERS` characters.
    """
    try:
        payload.decode()
        envelope = _envelope_decoder.decode(payload)
    except UnicodeDecodeError:
        raise BadEnvelope("it is not UTF-8") from None
    except RecursionError:
        raise BadEnvelope("the JSON is nested too deeply") from None
    except msgspec.DecodeError as error:
        raise BadEnvelope(f"{error}; {EXAMPLE}") from None
    if envelope.id and not UUID.fullmatch(envelope.id):
        raise BadEnvelope("its id is not a UUID")
    if envelope.timestamp and not _TIMESTAMP.fullmatch(envelope.timestamp):
        raise BadEnvelope("its timestamp is not an RFC 3339 date-time")
    if len(envelope.sender) > MAX_SENDER_CHARACTERS:
        raise BadEnvelope(f"its from has over {MAX_SENDER_CHARACTERS} characters")
    return envelope


def envelope_head(pod_id: str) -> bytes:
    """The start of every envelope of a pod; `encode_fields` makes the rest."""
    return b'{"pod_id":%b,' % json_text(pod_id)
