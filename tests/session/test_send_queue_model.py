"""Send queues that drop the oldest, by property: beside lists that cannot err."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count, groupby

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sanic_chat.hub.channel import Channel
from sanic_chat.session.send_queue import (
    ENTRY_BYTES,
    FLUSH_BYTES,
    OVERLOAD,
    SLOW,
    Missed,
    SendQueue,
)
from sanic_chat.websocket.frames import text_frame

from ..support.frames import server_frames
from ..support.send_queues import EVERYONE, A, B, opened, pool, taken
from ..support.sessions import gap_frames


@dataclass
class Unit:
    """One message, or what is missing."""

    text: bytes
    entry: tuple[int, int]  # which push, and of which bytes object
    room: Channel | None = None
    missed: Missed | None = None

    @property
    def size(self) -> int:
        return len(text_frame(self.text))


@dataclass
class Model:
    """A queue as a plain list of single messages and gaps."""

    queue: SendQueue
    units: list[Unit] = field(default_factory=list)
    unsent: int = 0
    in_flight: int = 0

    @property
    def messages(self) -> list[Unit]:
        return [unit for unit in self.units if unit.missed is None]

    def own(self) -> list[Unit]:
        return [unit for unit in self.messages if unit.room is None]

    def droppable(self) -> list[Unit]:
        return [unit for unit in self.messages if unit.room is not None]

    def drop(self, unit: Unit, reason: str) -> None:
        """In place of the message there is a gap."""
        assert unit.room is not None
        gap = Unit(b"", unit.entry, missed={(unit.room.room, reason): 1})
        self.units[self.units.index(unit)] = gap

    def expected(self) -> list[bytes]:
        """The payloads to come; neighbouring gaps are one."""
        texts: list[bytes] = []
        for is_gap, units in groupby(self.units, key=lambda unit: unit.missed is not None):
            if not is_gap:
                texts += [unit.text for unit in units]
                continue
            missed: Missed = {}
            for unit in units:
                assert unit.missed is not None
                for where, number in unit.missed.items():
                    missed[where] = missed.get(where, 0) + number
            texts += [payload for _, payload in server_frames(gap_frames(missed))]
        return texts


MESSAGES, BYTES = 8, 40_000
sizes = st.sampled_from([0, 10, 200, 5_000, 12_000, 30_000, 50_000])
rooms = st.sampled_from([A, B, EVERYONE])
indexes = st.integers(0, 2)


class QueueMachine(RuleBasedStateMachine):
    """Three queues that drop the oldest, beside lists that cannot err."""

    def __init__(self) -> None:
        super().__init__()
        self.queues = pool(messages=MESSAGES, bytes=BYTES)
        self.models = [Model(opened(self.queues)) for _ in range(3)]
        self.numbers = count()
        self.pushed: dict[int, bytes] = {}  # by id(), which no other object gets while it is here

    def texts(self, sizes: list[int]) -> list[bytes]:
        return [b"%d" % next(self.numbers) + b"x" * size for size in sizes]

    @rule(
        index=st.none() | indexes,
        room=rooms,
        sizes=st.lists(sizes, min_size=1, max_size=MESSAGES + 2),
    )
    def a_room_gets_messages(self, index: int | None, room: Channel, sizes: list[int]) -> None:
        texts = self.texts(sizes)
        frames = b"".join(map(text_frame, texts))
        for model in self.models if index is None else [self.models[index]]:
            entry = (next(self.numbers), id(frames))
            self.push(model, frames, [Unit(text, entry, room) for text in texts])

    def push(self, model: Model, frames: bytes, new: list[Unit]) -> None:
        self.pushed[id(frames)] = frames
        free_messages = MESSAGES - model.in_flight - len(model.own())
        free_bytes = BYTES - model.unsent - sum(unit.size for unit in model.own())
        dropped, lost = 0, []
        while len(new) > free_messages or sum(unit.size for unit in new) > free_bytes:
            lost.append(new.pop(0))
            if not new:
                break
        model.units += lost
        for unit in lost:
            model.drop(unit, SLOW)
        while new and (
            len(new) + len(model.droppable()) > free_messages
            or sum(unit.size for unit in new + model.droppable()) > free_bytes
        ):
            model.drop(model.droppable()[0], SLOW)
            dropped += 1
        model.units += new
        number = len(new) + len(lost)
        room = (new or lost)[0].room
        assert model.queue.push(frames, number, room, unsent=model.unsent) == dropped + len(lost)

    @rule(index=indexes, size=sizes, messages=st.booleans())
    def a_client_gets_an_answer(self, index: int, size: int, messages: bool) -> None:
        model = self.models[index]
        [text] = self.texts([size])
        frames = text_frame(text)
        unit = Unit(text, (next(self.numbers), id(frames)))
        own = [*model.own(), unit]
        if (
            len(own) + model.in_flight > MESSAGES
            or sum(unit.size for unit in own) + model.unsent > BYTES
        ):
            assert model.queue.push(frames, 1, None, unsent=model.unsent) is None
            return
        self.push(model, frames, [unit])

    @precondition(lambda self: any(model.units for model in self.models))
    @rule(index=indexes, stays=st.integers(0, 20_000))
    def a_client_reads(self, index: int, stays: int) -> None:
        """The queue gives what one write takes; some of that stays in the transport."""
        model = self.models[index]
        expected = model.expected()
        frames = model.queue.take() if expected else b""
        got = [payload for _, payload in server_frames(frames)]
        assert got == expected[: len(got)]
        texts = [text for text in got if not text.startswith(b"gap ")]
        gone = 0
        left = iter(texts)
        awaited = next(left, None)
        while awaited is not None:
            if model.units[gone].text == awaited and model.units[gone].missed is None:
                awaited = next(left, None)
            gone += 1
        taken = [unit for unit in model.units[:gone] if unit.missed is None]
        if not any(unit.missed is None for unit in model.units[gone:]):
            gone = len(model.units)
        del model.units[:gone]
        in_flight = len(taken)
        assert len({unit.entry for unit in taken}) == 1 or (
            sum(unit.size for unit in taken) <= FLUSH_BYTES
        )
        model.unsent = min(stays, len(frames))
        model.in_flight = in_flight if model.unsent else 0
        model.queue.transport_holds(model.unsent)

    @rule(index=indexes)
    def there_is_an_overload(self, index: int) -> None:
        model = self.models[index]
        droppable = model.droppable()
        for unit in droppable:
            model.drop(unit, OVERLOAD)
        assert model.queue.drop() == len(droppable)

    @invariant()
    def all_bounds_and_sums_hold(self) -> None:
        entries: set[tuple[int, int]] = set()
        for model in self.models:
            messages = model.messages
            assert model.queue.messages == len(messages)
            assert model.queue.bytes == sum(unit.size for unit in messages)
            assert model.queue.waiting_messages <= MESSAGES
            assert model.queue.bytes <= BYTES
            assert model.queue.is_empty == (not model.units)
            entries.update(unit.entry for unit in messages)
        assert self.queues.held_bytes == (
            sum(model.unsent for model in self.models)
            + sum(len(self.pushed[frames]) for frames in {frames for _, frames in entries})
            + ENTRY_BYTES * len(entries)
        )

    def teardown(self) -> None:
        for model in self.models:
            assert taken(model.queue) == model.expected()
            model.queue.close()
        assert self.queues.held_bytes == 0
        assert len(self.queues) == 0


TestSendQueueModel = QueueMachine.TestCase
TestSendQueueModel.settings = settings(
    max_examples=max(150, settings().max_examples),
    stateful_step_count=30,
    report_multiple_bugs=False,
)
