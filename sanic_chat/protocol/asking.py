"""Questions that a pod asks all pods, and their replies, as they stand in control envelopes.

May live here: the JSON of both, whatever is asked. Must not know what the kinds of questions mean.
"""

from __future__ import annotations

import msgspec

from ..errors import BadEnvelope

MAX_REPLY_BYTES = 32 * 1024
"""The bound of a reply, as JSON."""

ID_DIGITS = 16
"""The hexadecimal digits of a question's ID, all random: 64 bits."""


class Question(msgspec.Struct, frozen=True):
    """A wish of a pod to know something, or to have it done."""

    id: str
    kind: str
    arguments: msgspec.Raw


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """The words of one pod to a question."""

    id: str
    answer: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """Left out by a pod that can't tell: it is of another version, or has failed."""


_decode_question = msgspec.json.Decoder(Question).decode
_decode_reply = msgspec.json.Decoder(Reply).decode
_encode = msgspec.json.Encoder().encode


def encode_question(id: str, kind: str, arguments: bytes) -> bytes:
    """A question as JSON; `arguments` are JSON already."""
    return _encode(Question(id, kind, msgspec.Raw(arguments)))


def parse_question(content: bytes) -> Question:
    """Read a question. Raises BadEnvelope with the reason, a sentence."""
    try:
        question = _decode_question(content)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadEnvelope(str(error)) from None
    if len(question.id) != ID_DIGITS:
        raise BadEnvelope(f"its question has an ID of {len(question.id)} characters")
    return question


def encode_reply(id: str, answer: bytes | None) -> bytes:
    """A reply as JSON; `answer` is JSON already, or None if the pod can't tell."""
    return _encode(Reply(id, msgspec.UNSET if answer is None else msgspec.Raw(answer)))


def parse_reply(content: bytes) -> tuple[str, bytes | None]:
    """Read a reply: the question's ID, and the answer. Raises BadEnvelope with the reason."""
    try:
        reply = _decode_reply(content)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadEnvelope(str(error)) from None
    if isinstance(reply.answer, msgspec.UnsetType):
        return reply.id, None
    if len(reply.answer) > MAX_REPLY_BYTES:
        raise BadEnvelope(f"its answer has {len(reply.answer)} bytes")
    return reply.id, bytes(reply.answer)
