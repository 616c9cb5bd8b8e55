"""Slots: processes that read what others have written, whatever becomes of these."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any

import pytest

from sanic_chat.process import slots as slots_module
from sanic_chat.process.slots import MAIN, MAX_BYTES, SLOTS, LoneSlot, SharedSlots

from ..support.harness import DEADLINE, wait_until

SPAWN = multiprocessing.get_context("spawn")


def act(handle: Connection, orders: Connection) -> None:
    """In a process of its own: do what is asked, and answer with what came of it."""
    slots = SharedSlots(handle)
    while True:
        name, arguments = orders.recv()
        orders.send(getattr(slots, name)(*arguments))


def write_without_end(handle: Connection, told: Connection) -> None:
    """In a process of its own: write contents of all lengths, each of one byte again and again."""
    slots = SharedSlots(handle)
    slots.claim()
    number = 0
    while True:
        number += 1
        slots.write(bytes((number % 256,)) * (number % 701 * 20 + 1))
        if number == 10:
            told.send(None)


class Actor:
    """A process that has slots too."""

    def __init__(self, slots: SharedSlots, context: BaseContext = SPAWN) -> None:
        self._orders, theirs = multiprocessing.Pipe()
        self.process: Any = context.Process(  # type: ignore[attr-defined]
            target=act, args=(slots.handle, theirs), daemon=True
        )
        self.process.start()
        theirs.close()

    def do(self, name: str, *arguments: Any) -> Any:
        """Call a method of its slots."""
        self._orders.send((name, arguments))
        assert self._orders.poll(DEADLINE), "it answers"
        return self._orders.recv()

    def end(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.join()
        self._orders.close()


@pytest.fixture
def slots() -> SharedSlots:
    """Slots of this process; it has claimed none of them."""
    return SharedSlots.create()


@pytest.fixture
def start(slots: SharedSlots) -> Iterator[Callable[..., Actor]]:
    """Start processes with the same slots."""
    actors: list[Actor] = []

    def start(**options: Any) -> Actor:
        actors.append(Actor(slots, **options))
        return actors[-1]

    yield start
    for actor in actors:
        if actor.process.is_alive():
            actor.end()


def contents(slots: SharedSlots | Actor) -> dict[int, bytes]:
    """What is read in each slot."""
    written = slots.do("read") if isinstance(slots, Actor) else slots.read()
    return {slot: content for slot, _, content in written}


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_everybody_reads_all(slots, start, method):
    """Each process has a slot of its own, and any of them reads what all have written last."""
    first, second = (start(context=multiprocessing.get_context(method)) for _ in range(2))
    assert slots.claim((MAIN,))
    assert first.do("claim")
    assert second.do("claim")
    assert contents(first) == {}  # claimed, and nothing written
    slots.write(b"main")
    for actor, content in ((first, b"old"), (first, b"one"), (second, b"two")):
        actor.do("write", content)
    for reader in (slots, first, second):
        assert contents(reader) == {0: b"one", 1: b"two", MAIN: b"main"}
    assert {slot for slot, age, _ in slots.read() if 0 <= age < DEADLINE} == {0, 1, MAIN}


def test_a_killed_process(slots, start):
    """Its slot is not read any more, and is the next one that is claimed, with nothing in it."""
    first, second = start(), start()
    for actor in (first, second):
        actor.do("claim")
        for _ in range(5):
            actor.do("write", b"mine")
    first.end()
    assert contents(slots) == contents(second) == {1: b"mine"}
    successor = start()
    successor.do("claim")
    assert contents(second) == {1: b"mine"}
    successor.do("write", b"new")
    assert contents(slots) == {0: b"new", 1: b"mine"}


def test_a_stopped_process(slots, start):
    """It keeps its slot, of which the age tells that it writes nothing."""
    actor = start()
    actor.do("claim")
    actor.do("write", b"before")
    os.kill(actor.process.pid, signal.SIGSTOP)
    [(_, age, _)] = slots.read()
    wait_until(lambda: slots.read()[0].age > age + 0.1, "the content gets older")
    assert contents(slots) == {0: b"before"}
    other = start()
    other.do("claim")
    other.do("write", b"beside it")
    assert contents(slots) == {0: b"before", 1: b"beside it"}
    os.kill(actor.process.pid, signal.SIGCONT)
    actor.do("write", b"after")
    assert contents(slots)[0] == b"after"


@pytest.mark.parametrize("cut", ["head", "content"])
def test_a_write_that_never_ends(slots, cut):
    """Who is stopped, or killed, in the middle of a write leaves what it wrote before."""
    slots.claim()
    for number in (1, 2, 3):
        slots.write(b"content %d" % number)
    newest = slots_module._pages(0)[3 % 2]
    where = newest if cut == "head" else newest + slots_module._CONTENT_AT
    slots._memory[where : where + 4] = b"\xff\xfe\xfd\xfc"
    assert contents(slots) == {0: b"content 2"}
    slots.write(b"content 4")
    assert contents(slots) == {0: b"content 4"}


def test_no_content_is_torn(slots):
    """What is read while others write, as fast as they can, is always whole."""
    told, theirs = multiprocessing.Pipe()
    writers = [
        SPAWN.Process(target=write_without_end, args=(slots.handle, theirs), daemon=True)
        for _ in range(2)
    ]
    for writer in writers:
        writer.start()
    try:
        for _ in writers:
            assert told.poll(DEADLINE)
            told.recv()
        seen = set()
        end = time.monotonic() + 0.5
        while time.monotonic() < end or len(seen) < 20:
            for slot, _, content in slots.read():
                assert content == content[:1] * len(content)
                seen.add((slot, content[:1], len(content)))
    finally:
        for writer in writers:
            writer.kill()
            writer.join()


def test_no_slot_is_left(slots, start):
    """Who finds all taken is told so, and those that there are go on."""
    first, second = start(), start()
    assert first.do("claim", (0,)) is True
    assert second.do("claim", (0,)) is False
    first.do("write", b"here")
    assert contents(slots) == {0: b"here"}
    assert SLOTS >= 256


def test_what_is_too_long(slots):
    """It is refused, and nothing changes."""
    slots.claim()
    slots.write(b"x" * MAX_BYTES)
    with pytest.raises(ValueError, match="bytes; a slot has"):
        slots.write(b"y" * (MAX_BYTES + 1))
    assert contents(slots) == {0: b"x" * MAX_BYTES}


def test_slots_of_another_version(slots):
    """Memory that is arranged in another way is not taken for slots."""
    file = slots.handle.fileno()
    os.pwrite(file, b"sanic_chat slots, next", 0)
    with pytest.raises(OSError, match="layout"):
        SharedSlots(slots.handle)
    os.ftruncate(file, 4096)
    with pytest.raises(OSError, match="size"):
        SharedSlots(slots.handle)


def test_without_memfd(monkeypatch, tmp_path):
    """Elsewhere than on Linux a temporary file takes its place, which has no name."""
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    slots = SharedSlots.create()
    slots.claim()
    slots.write(b"in a file")
    assert contents(slots) == {0: b"in a file"}
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(OSError, match="missing"):
        SharedSlots.create()


def test_no_file_is_needed(monkeypatch):
    """On Linux no directory is: the server may run on a file system that cannot be written to."""
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    assert SharedSlots.create().claim()


def test_unused_slots_take_no_memory(slots):
    """The kernel gives only what was written to."""
    slots.claim()
    slots.write(b"x" * 2000)
    slots.read()
    assert os.fstat(slots.handle.fileno()).st_blocks * 512 < 64 * 1024


def test_a_process_that_is_alone():
    """It reads what it wrote, as it would among others."""
    slot = LoneSlot()
    assert slot.read() == []
    slot.write(b"old")
    slot.write(b"new")
    [(number, age, content)] = slot.read()
    assert (number, content) == (0, b"new")
    assert 0 <= age < DEADLINE
