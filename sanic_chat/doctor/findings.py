"""Checks, and what they find.

    Check + its subject ─→ Question ─→ examine (side by side, each bounded in time) ─→ Answer

May live here: how checks are run, whatever becomes of them. Must not know what is checked.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from threading import Thread
from typing import Generic, NamedTuple, TypeVar

S = TypeVar("S")

CHECK_SECONDS = 15.0
"""The time that a check may take; what it waits for has bounds of its own, below it."""


class Status(StrEnum):
    """The weight of a finding."""

    WELL = "well"
    WARNING = "warning"
    FAILURE = "failure"
    UNKNOWN = "unknown"
    """It could not be measured, for a reason that the finding tells."""
    CRASHED = "crashed"
    """The check itself has failed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A measurement beside its limit, and the command that mends it if it is not well."""

    status: Status
    measured: str
    limit: str = ""
    mend: str = ""


class Unanswerable(Exception):
    """Something cannot be measured; the text says why."""


def judge(
    is_well: bool, measured: str, limit: str, mend: str, *, otherwise: Status = Status.WARNING
) -> Finding:
    """Make a finding that is well, or else a warning."""
    return Finding(Status.WELL if is_well else otherwise, measured, limit, "" if is_well else mend)


class Question(NamedTuple):
    """A check of one subject, ready to be asked."""

    code: str
    why: str
    ask: Callable[[], Awaitable[Finding]]
    seconds: float


class Answer(NamedTuple):
    """A check's code, why it matters, and what it has found."""

    code: str
    why: str
    finding: Finding


@dataclass(frozen=True, slots=True)
class Check(Generic[S]):
    """A check: its `code` for programs, `why` it matters, and the function that looks.

    `run` may be a coroutine function. It raises Unanswerable if it cannot measure. `why` begins in
    lower case and has no full stop, so that it fits into a sentence.
    """

    code: str
    why: str
    run: Callable[[S], Finding | Awaitable[Finding]]

    def of(
        self, subject: Callable[[], Awaitable[S]], *, seconds: float = CHECK_SECONDS
    ) -> Question:
        """Make it a question about a subject, which is made when it is asked for."""

        async def ask() -> Finding:
            found = self.run(await subject())
            return await found if inspect.isawaitable(found) else found

        return Question(self.code, self.why, ask, seconds)

    def sentence(self, subject: S) -> str | None:
        """The finding as a sentence for the log; None if it is well, or cannot be measured.

        For checks that are no coroutine functions.
        """
        try:
            found = self.run(subject)
        except (Unanswerable, OSError):
            return None
        assert isinstance(found, Finding)
        if found.status is Status.WELL:
            return None
        return (
            f"{self.code}: {found.measured} (needed: {found.limit}): {self.why}; to mend it: "
            f"{found.mend}"
        )


def shared(make: Callable[[], Awaitable[S]]) -> Callable[[], Awaitable[S]]:
    """Make a subject at most once, whoever asks for it first; its error is every asker's."""
    made: asyncio.Future[S] | None = None

    async def subject() -> S:
        nonlocal made
        if made is None:
            made = asyncio.ensure_future(make())
            made.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(made)

    return subject


async def in_thread(work: Callable[[], S]) -> S:
    """Return what blocking `work` returns, or raise what it raises.

    Unlike in the loop's own threads, work that hangs keeps nobody waiting but its caller, and not
    the process from ending.
    """
    result: Future[S] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    result.set_running_or_notify_cancel()
    Thread(target=run, name="doctor", daemon=True).start()
    return await asyncio.wrap_future(result)


async def examine(questions: Iterable[Question]) -> list[Answer]:
    """Ask all questions side by side; return the answers in their order. Raises nothing."""
    return list(await asyncio.gather(*map(_answer, questions)))


async def _answer(question: Question) -> Answer:
    try:
        async with asyncio.timeout(question.seconds) as bound:
            finding = await question.ask()
    except Unanswerable as reason:
        finding = Finding(Status.UNKNOWN, str(reason))
    except Exception as error:
        if isinstance(error, TimeoutError) and bound.expired():
            finding = Finding(Status.UNKNOWN, f"not measured within {question.seconds:g} s")
        else:
            finding = Finding(Status.CRASHED, f"{type(error).__name__}: {error}")
    return Answer(question.code, question.why, finding)


def exit_code(answers: Iterable[Answer]) -> int:
    """0 if all is well, as far as it could be measured; 1 if anything is to be looked at; 2 if
    anything does not work."""
    found = {answer.finding.status for answer in answers}
    if Status.FAILURE in found:
        return 2
    return 1 if found & {Status.WARNING, Status.CRASHED} else 0
