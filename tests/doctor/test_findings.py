"""How checks are run: side by side, bounded, and whatever becomes of one of them."""

from __future__ import annotations

import asyncio
import threading
from typing import NoReturn

import pytest

from sanic_chat.doctor.findings import (
    Answer,
    Check,
    Finding,
    Status,
    Unanswerable,
    examine,
    exit_code,
    in_thread,
    judge,
    shared,
)

WELL = Finding(Status.WELL, "1", "2")


async def nothing() -> None:
    pass


def fall(_: None) -> NoReturn:
    raise ZeroDivisionError("a fault of the check's own")


def shrug(_: None) -> NoReturn:
    raise Unanswerable("nobody knows")


async def sleep(_: None) -> NoReturn:
    await asyncio.Event().wait()
    raise AssertionError


async def own_timeout(_: None) -> NoReturn:
    raise TimeoutError("of its own")


async def test_a_check_that_crashes_stops_no_other() -> None:
    """Nor does one that hangs, or cannot measure; each says what became of it, in its place."""
    runs = [fall, lambda _: WELL, shrug, sleep, own_timeout]
    checks = [Check(f"check-{number}", "it matters", run) for number, run in enumerate(runs)]
    answers = await examine(check.of(nothing, seconds=0.05) for check in checks)
    assert [answer.code for answer in answers] == [check.code for check in checks]
    assert [(one.finding.status, one.finding.measured) for one in answers] == [
        ("crashed", "ZeroDivisionError: a fault of the check's own"),
        ("well", "1"),
        ("unknown", "nobody knows"),
        ("unknown", "not measured within 0.05 s"),
        ("crashed", "TimeoutError: of its own"),
    ]


async def test_side_by_side() -> None:
    """Each of two may wait for the other."""
    ours, theirs = asyncio.Event(), asyncio.Event()

    async def one(_: None) -> Finding:
        ours.set()
        await theirs.wait()
        return WELL

    async def other(_: None) -> Finding:
        theirs.set()
        await ours.wait()
        return WELL

    answers = await examine(Check("x", "", run).of(nothing) for run in (one, other))
    assert [answer.finding for answer in answers] == [WELL, WELL]


async def test_a_subject_is_made_once() -> None:
    """Its error is that of all who ask; one of them that is gone takes it from nobody."""
    made = 0

    async def make() -> str:
        nonlocal made
        made += 1
        await asyncio.sleep(0.01)
        raise Unanswerable("there is none")

    subject = shared(make)
    first = asyncio.ensure_future(subject())
    await asyncio.sleep(0)
    first.cancel()
    answers = await examine(Check("x", "", lambda _: WELL).of(subject) for _ in range(3))
    assert {answer.finding.measured for answer in answers} == {"there is none"}
    assert made == 1


async def test_work_in_a_thread() -> None:
    """What it returns or raises comes back; work that hangs is left behind when nobody waits."""
    assert await in_thread(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 / 0)
    hanging = threading.Event()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(in_thread(hanging.wait), 0.01)
    hanging.set()


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (["well", "unknown"], 0),
        (["well", "warning"], 1),
        (["crashed"], 1),
        (["warning", "failure", "crashed"], 2),
        ([], 0),
    ],
)
def test_exit_codes(statuses: list[str], code: int) -> None:
    """What cannot be measured changes nothing."""
    answers = [Answer("x", "", Finding(Status(status), "")) for status in statuses]
    assert exit_code(answers) == code


def test_a_sentence_for_the_log() -> None:
    """One that says all, if there is something to say."""
    check = Check("size", "it does not fit", lambda n: judge(n < 2, f"{n} m", "2 m", "saw"))
    assert check.sentence(1) is None
    assert check.sentence(3) == "size: 3 m (needed: 2 m): it does not fit; to mend it: saw"
    assert Check("x", "", shrug).sentence(None) is None
