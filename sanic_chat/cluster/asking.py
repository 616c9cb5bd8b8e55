"""Asking: a question to all living pods, and their answers.

    ask ─→ the control channel ─→ (each pod) the handler of that kind ─→ the asker's own channel
     └──→ the handler of that kind here                                          │
    outcome ←── all have answered, or a second is over ←─────────────────────────┘

May live here: who is still to answer, and for how long. Must not know what is asked.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeVar

from ..errors import BadEnvelope, TooManyQuestions
from ..logs.logger import RateLimitedWarning
from ..protocol.asking import (
    ID_DIGITS,
    MAX_REPLY_BYTES,
    decode,
    encode,
    encode_question,
    encode_reply,
    parse_question,
    parse_reply,
)
from ..protocol.pages import cut
from .control import Control

PATIENCE_SECONDS = 1.0
"""The time for which answers are waited for."""

MAX_MISSING_BYTES = 3 * 1024
"""The bytes of the IDs of missing pods that are told; of others only that some are missing."""

MAX_QUESTIONS = 4
"""The questions of one pod that may be under way at the same time, but for those that act."""

MAX_ACTIONS = 64
"""The same of those that act, beside the others: they have small answers, and are urgent."""

QUESTION, REPLY = "question", "reply"
"""The kinds of what pods say to each other here."""

A = TypeVar("A")
T = TypeVar("T")


class Outcome(NamedTuple, Generic[T]):
    """The outcome of a question."""

    answers: dict[str, T]
    """The answers, by pod ID."""
    complete: bool
    """Whether all living pods have answered, and this one knows them all."""
    missing: list[str]
    """The IDs of the living pods that have not answered, or can't tell: the first of them."""


class _Handler(NamedTuple):
    """The part that answers a kind of question."""

    arguments: Any
    """The type of its argument."""
    answer: Callable[[Any], Any]
    acts: bool
    """Whether it does something, and not only tells."""


class _Pending:
    """A question that is under way."""

    def __init__(self, type: Any, awaited: set[str], replies: int, *, acts: bool) -> None:
        self.type = type
        """The type of the answers."""
        self.acts = acts
        self.answers: dict[str, Any] = {}
        self.is_over = asyncio.Event()
        self.awaited = awaited
        """The pods that have not replied."""
        self.unable: set[str] = set()
        """The pods that have replied that they can't tell."""
        self._replies = replies

    def replied(self, pod_id: str) -> None:
        """Note that a pod has replied, or need not any more."""
        self.awaited.discard(pod_id)
        if not self.awaited and len(self.answers) + len(self.unable) >= self._replies:
            self.is_over.set()


class Asking:
    """Asks for one pod, and answers what others ask.

    A pod that has nothing to tell answers too, so who does not answer is known. A reply that comes
    too late, or to no question, is counted as `late_answer`. `is_proven()`: whether what other pods
    publish arrives here, and all of them are known.
    """

    def __init__(
        self,
        pod_id: str,
        control: Control,
        *,
        is_proven: Callable[[], bool],
        dropped: Counter[str],
    ) -> None:
        self._pod_id = pod_id
        self._control = control
        self._is_proven = is_proven
        self._dropped = dropped
        self._handlers: dict[str, _Handler] = {}
        self._pending: dict[str, _Pending] = {}
        self._failure = RateLimitedWarning()
        control.handle(QUESTION, self._asked)
        control.handle(REPLY, self._replied)
        control.on_goodbye.append(self._said_goodbye)

    def handle(
        self, kind: str, arguments: type[A], answer: Callable[[A], object], *, acts: bool = False
    ) -> None:
        """Have a kind of question answered. `arguments` is the type of what `answer` is given.

        It returns what becomes at most `MAX_REPLY_BYTES` of JSON; if it raises, this pod can't
        tell. Each kind has one. `acts`: whether it does something, and so does not wait for those
        that only tell.
        """
        assert kind not in self._handlers
        self._handlers[kind] = _Handler(arguments, answer, acts)

    async def ask(
        self, kind: str, arguments: object, type: type[T], *, replies: int = 1
    ) -> Outcome[T]:
        """Ask all pods, this one included, and return when all have answered, or after a second.

        `type` is that of the answers. Raises TooManyQuestions while `MAX_QUESTIONS` are under way;
        if it acts, while `MAX_ACTIONS` are that act too. A pod that says goodbye meanwhile is not
        missing. While this pod is cut off from others, the outcome is not complete, whoever is
        missing. It waits for so many `replies` in any case: a pod that has just started has not
        heard everybody yet.
        """
        handler = self._handlers.get(kind)
        acts = handler is not None and handler.acts
        most = MAX_ACTIONS if acts else MAX_QUESTIONS
        if sum(pending.acts is acts for pending in self._pending.values()) >= most:
            raise TooManyQuestions(
                f"{most} questions to all pods are under way, the most at a time: "
                "ask again in a second"
            )
        id = secrets.token_hex(ID_DIGITS // 2)
        was_proven = self._is_proven()
        awaited = {self._pod_id, *self._control.living()}
        pending = self._pending[id] = _Pending(type, awaited, replies, acts=acts)
        try:
            self._control.send(QUESTION, encode_question(id, kind, arguments))
            self._note(pending, self._pod_id, self._answer(kind, encode(arguments)))
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await pending.is_over.wait()
        finally:
            del self._pending[id]
        missing = sorted(pending.awaited | pending.unable)
        complete = not missing and was_proven and self._is_proven()
        told = cut(missing, len(missing), room=MAX_MISSING_BYTES).entries
        return Outcome(pending.answers, complete, told)

    def _asked(self, pod_id: str, content: bytes) -> None:
        question = parse_question(content)
        answer = self._answer(question.kind, bytes(question.arguments))
        self._control.send_to(pod_id, REPLY, encode_reply(question.id, answer))

    def _answer(self, kind: str, arguments: bytes) -> bytes | None:
        """Return the answer to a question, or None if there is none to be had here."""
        handler = self._handlers.get(kind)
        if handler is None:
            return None
        try:
            answer = encode(handler.answer(decode(arguments, handler.arguments)))
            if len(answer) > MAX_REPLY_BYTES:
                raise ValueError(f"the answer has {len(answer)} bytes")
        except BadEnvelope:
            self._dropped["bad_envelope"] += 1
            return None
        except Exception as error:
            self._failure.log("A question of kind %r failed: %.200r", kind, error, error=error)
            return None
        return answer

    def _replied(self, pod_id: str, content: bytes) -> None:
        id, answer = parse_reply(content)
        pending = self._pending.get(id)
        if pending is None:
            self._dropped["late_answer"] += 1
        else:
            self._note(pending, pod_id, answer)

    def _note(self, pending: _Pending, pod_id: str, answer: bytes | None) -> None:
        if answer is None:
            pending.unable.add(pod_id)
        else:
            pending.answers[pod_id] = decode(answer, pending.type)
        pending.replied(pod_id)

    def _said_goodbye(self, pod_id: str) -> None:
        for pending in self._pending.values():
            pending.replied(pod_id)
