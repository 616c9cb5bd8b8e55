"""Questions that a pod asks all pods, and their replies, as they stand in control envelopes.

May live here: the JSON of both, whatever is asked. Must not know what the kinds of questions mean.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from ..errors import BadEnvelope

T = TypeVar("T")

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


encode = msgspec.json.Encoder().encode


def decode(content: bytes, type: type[T]) -> T:
    """Read JSON as a type. Raises BadEnvelope with the reason, a sentence."""
    try:
        return msgspec.json.decode(content, type=type)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadEnvelope(str(error)) from None


def encode_question(id: str, kind: str, arguments: object) -> bytes:
    """A question as JSON."""
    return encode({"id": id, "kind": kind, "arguments": arguments})


def parse_question(content: bytes) -> Question:
    """Read a question. Raises BadEnvelope with the reason, a sentence."""
    question = decode(content, Question)
    if len(question.id) != ID_DIGITS:
        raise BadEnvelope(f"its question has an ID of {len(question.id)} characters")
    return question


def encode_reply(id: str, answer: bytes | None) -> bytes:
    """A reply as JSON; `answer` is JSON already, or None if the pod can't tell."""
    return encode(Reply(id, msgspec.UNSET if answer is None else msgspec.Raw(answer)))


def parse_reply(content: bytes) -> tuple[str, bytes | None]:
    """Read a reply: the question's ID, and the answer. Raises BadEnvelope with the reason."""
    reply = decode(content, Reply)
    if isinstance(reply.answer, msgspec.UnsetType):
        return reply.id, None
    if len(reply.answer) > MAX_REPLY_BYTES:
        raise BadEnvelope(f"its answer has {len(reply.answer)} bytes")
    return reply.id, bytes(reply.answer)
