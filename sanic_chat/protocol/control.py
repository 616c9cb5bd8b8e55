"""Control envelopes: the JSON that pods say to each other, and not to clients.

An envelope has no `data`, so a pod that knows no control channel drops it. Beside `pod_id` it has
a key for each kind of thing that it says.

May live here: the shape that all of them share. Must not know what any kind means.
"""

from __future__ import annotations

import msgspec

from ..errors import BadEnvelope
from .envelope import MAX_POD_ID_CHARACTERS
from .message import json_text

MAX_CONTROL_BYTES = 64 * 1024
"""The bound of a control envelope."""

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_id = msgspec.json.Decoder(str).decode


def parse_control(payload: bytes) -> tuple[str, dict[str, bytes]]:
    """Read a control envelope: who says it, and the JSON of each kind.

    Raises BadEnvelope with the reason, a sentence.
    """
    if len(payload) > MAX_CONTROL_BYTES:
        raise BadEnvelope(f"it has {len(payload)} bytes")
    try:
        payload.decode()  # JSON that is only passed on is not looked at again
        fields = _decode_fields(payload)
        if "pod_id" not in fields:
            raise BadEnvelope("it has no pod_id")
        pod_id = _decode_id(fields.pop("pod_id"))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadEnvelope(str(error)) from None
    if not 0 < len(pod_id) <= MAX_POD_ID_CHARACTERS:
        raise BadEnvelope(f"its pod_id has {len(pod_id)} characters")
    return pod_id, {kind: bytes(content) for kind, content in fields.items()}


def control_fields(kind: str, content: bytes) -> bytes:
    """The rest of an envelope that says one thing, JSON; `envelope_head` makes its start."""
    return b'"%b":%b}' % (kind.encode(), content)


def canary_envelope(pod_id: str, number: int, words: bytes) -> bytes:
    """The envelope of a canary, which says `words`, JSON, too.

    It does not begin as the other envelopes of its pod do, so its own pod does not take it for an
    echo.
    """
    return b'{"canary":%b,"number":%d,"pod_id":%b}' % (words, number, json_text(pod_id))
