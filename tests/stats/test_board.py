"""The board: what each process shows there, and what any of them reads."""

from __future__ import annotations

import asyncio

import pytest

from sanic_chat.process.slots import LoneSlot, Written
from sanic_chat.stats import board as board_module
from sanic_chat.stats.board import Board
from sanic_chat.stats.metrics import encode_metrics

from ..support.harness import eventually
from ..support.metrics import main_metrics, worker_metrics


class OtherSlots(LoneSlot):
    """The own slot, as number 0, and what others have written."""

    def __init__(self, *others: Written) -> None:
        super().__init__()
        self._others = list(others)

    def read(self) -> list[Written]:
        return super().read() + self._others


def test_who_asks_reads_all():
    """One that is asked writes first, so that its own figures are those of this moment."""
    written = []

    def snapshot():
        written.append(worker_metrics(fan_outs=len(written)))
        return written[-1]

    others = OtherSlots(
        Written(3, 0.5, encode_metrics(worker_metrics(fan_outs=30))),
        Written(512, 0.25, encode_metrics(main_metrics(workers=2))),
    )
    board = Board(others, snapshot)
    for number in (0, 1):
        own, other, main = board.collect()
        assert (own.name, own.metrics.fan_outs) == ("0", number)
        assert (other.name, other.age, other.metrics.fan_outs) == ("3", 0.5, 30)
        assert (main.name, main.metrics.workers) == ("main", 2)


def test_what_cannot_be_read_is_left_out(caplog):
    """It is said once, and all else is told."""
    others = OtherSlots(Written(1, 0, b"nonsense"), Written(2, 0, encode_metrics(worker_metrics())))
    board = Board(others, worker_metrics)
    for _ in range(3):
        assert [entry.name for entry in board.collect()] == ["0", "2"]
    assert caplog.text.count("Left the metrics of a process out") == 1


def test_what_is_too_long_is_said(caplog):
    """A worker whose metrics fit into no slot tells those of the others."""

    class SmallSlots(OtherSlots):
        def write(self, content: bytes) -> None:
            raise ValueError("too long")

    board = Board(SmallSlots(Written(1, 0, encode_metrics(worker_metrics()))), worker_metrics)
    for _ in range(3):
        assert [entry.name for entry in board.collect()] == ["1"]
    assert caplog.text.count("are not written: too long") == 1


async def test_it_writes_without_being_asked(monkeypatch):
    """From its start to its end, and at last once more."""
    monkeypatch.setattr(board_module, "WRITE_SECONDS", 0.01)
    count = 0

    def snapshot():
        nonlocal count
        count += 1
        return worker_metrics(fan_outs=count)

    slots = LoneSlot()
    board = Board(slots, snapshot)
    board.start()
    assert count == 1
    await eventually(lambda: count >= 4, "it writes again and again")
    before = count
    board.close()
    assert count == before + 1
    await asyncio.sleep(0.05)
    assert count == before + 1
    board.close()
    assert count == before + 1


async def test_an_error_does_not_end_it(monkeypatch):
    """A snapshot that fails is the loop's to report; the next one is written."""
    monkeypatch.setattr(board_module, "WRITE_SECONDS", 0.01)
    failed = asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failed.set())
    good = False

    def snapshot():
        if good:
            return worker_metrics()
        raise ZeroDivisionError

    slots = LoneSlot()
    board = Board(slots, snapshot)
    with pytest.raises(ZeroDivisionError):
        board.start()
    await failed.wait()
    good = True
    await eventually(slots.read, "it writes")
    board.close()
