"""The fan-out by property: any sequence of what can happen, beside a model that cannot err."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from sanic_chat.hub.channel import Channel
from sanic_chat.session.inbound import State
from sanic_chat.session.session import Session
from sanic_chat.websocket.frames import CloseCode, text_frame

from ..support.hub import HubHandler, channel_of, explode, stack_depth
from ..support.transports import RecordingTransport, transport_of

QUEUE = 6
MANY_ROOMS = 20
CROWD = 16
STACK = 30
"""Frames that may be on the stack when a session closes, however many others are being closed."""

indexes = st.integers(0, 10**6)
room_numbers = st.integers(0, MANY_ROOMS - 1)
"""Numbers of rooms; where there are fewer rooms, they have several."""
channel_numbers = st.none() | room_numbers
"""The same; None: the global channel."""


@dataclass
class Expected:
    """What the model knows of a session."""

    session: Session
    transport: RecordingTransport
    rooms: set[int] = field(default_factory=set)
    messages: list[bytes] = field(default_factory=list)
    friend: Expected | None = None
    """Who goes when it goes."""
    is_broken: bool = False
    """Whether writing to it raises an error."""
    raises: bool = False
    """Whether its handler raises an error when it is told of its end."""

    @property
    def unseen(self) -> int:
        """Messages that are its own and that its transport has not taken."""
        return len(self.messages) - len(self.transport.texts())

    def check(self) -> int:
        """How many of its messages it has got, or been told at their place that they are missing.

        Nothing else may have come, nor in another order.
        """
        told = 0
        for text in self.transport.texts():
            if text.startswith(b"gap "):
                told += int(text.split()[-1])
            else:
                assert text == self.messages[told]
                told += 1
        assert told <= len(self.messages)
        return told


class UnrulyHandler(HubHandler):
    """A handler that does in its calls what it likes: it announces, closes others, and raises."""

    def __init__(self, machine: HubMachine, **limits: Any) -> None:
        super().__init__(**limits)
        self.refused = 0
        """Messages that full send queues did not take."""
        self._machine = machine

    def messages_dropped(self, session: Session, messages: int, reason: str) -> None:
        super().messages_dropped(session, messages, reason)
        is_open = session.state is State.OPEN  # what a queue had taken is dropped afterwards
        if reason == "slow_consumer" and is_open and not self._machine.drop_oldest:
            self.refused += messages

    def session_closing(self, session: Session) -> None:
        super().session_closing(session)
        self._machine.a_session_went(session)


class HubMachine(RuleBasedStateMachine):
    """Sessions come, join, leave, stall, break and go while messages are delivered.

    An open session receives exactly what is delivered to its rooms while it is a member, in the
    order of delivery. One that is closed has received the first part of that. Where the oldest
    messages may be dropped, it is told of every gap in its place, with the right number. Whoever
    goes is announced in its rooms, and may take a friend with it; writing to it may raise errors,
    and so may its handler. Nothing of that reaches anybody else, nor does the stack grow by it.
    """

    room_count = 3
    slice_members = 256
    write_messages = 1000
    ready_messages = 0
    drop_oldest = False

    def __init__(self) -> None:
        super().__init__()
        self.handler = UnrulyHandler(
            self,
            send_queue_messages=QUEUE,
            slice_members=self.slice_members,
            write_messages=self.write_messages,
            ready_messages=self.ready_messages,
            drop_oldest=self.drop_oldest,
        )
        self.rooms = [channel_of(str(number)) for number in range(self.room_count)]
        self.known: list[Expected] = []
        self.closed: list[Expected] = []
        self.kicked: list[Expected] = []
        self.numbers = count()
        self.owed = 0
        """Messages that sessions were to get, each counted once per session."""
        self.depth = stack_depth()
        self.deepest = 0

    def a_session_went(self, session: Session) -> None:
        """Its handler announces it in its rooms, closes its friend, and may raise an error."""
        self.deepest = max(self.deepest, stack_depth() - self.depth)
        [gone] = [each for each in self.known if each.session is session]
        for number in gone.rooms:
            self.announce(number)
        friend = gone.friend
        if friend is not None and friend.session.state is State.OPEN:
            friend.friend = None  # it goes alone
            self.kicked.append(friend)
            friend.transport.abort()
        if gone.raises:
            explode()

    def announce(self, number: int) -> None:
        room = self.handler.hub.channels.get(self.rooms[number].name)
        if room is not None:
            message = b"%d" % next(self.numbers)
            self.handler.hub.deliver(room, text_frame(message))
            for expected in self.known:
                if number in expected.rooms and expected.session.state is State.OPEN:
                    self.owe(expected, message)

    def owe(self, expected: Expected, message: bytes) -> None:
        expected.messages.append(message)
        self.owed += 1

    def pick(self, index: int) -> Expected:
        return self.known[index % len(self.known)]

    def room(self, number: int) -> Channel:
        """The room's object; a new one once the last member has left, as a pod makes it."""
        room = self.rooms[number]
        if room.name not in self.handler.hub.channels:
            room = self.rooms[number] = channel_of(str(number))
        return room

    def take_note_of_the_closed(self) -> None:
        """Sessions may close at any call; only those whose queue was full may."""
        assert self.deepest < STACK
        assert {type(error) for error in self.handler.failures} <= {RuntimeError}  # `explode`'s
        for expected in [each for each in self.known if each.session.state is not State.OPEN]:
            assert not expected.session.channels
            if not (expected.is_broken or expected in self.kicked):
                assert not self.drop_oldest
                assert expected.unseen > QUEUE, "closed though its queue was not full"
            self.forget(expected)

    def forget(self, expected: Expected) -> None:
        self.known.remove(expected)
        self.closed.append(expected)

    @rule(echo=st.booleans(), first=st.none() | room_numbers)
    def a_session_opens(self, echo: bool, first: int | None) -> None:
        self.open(echo, first)
        self.take_note_of_the_closed()

    def open(self, echo: bool, first: int | None) -> Expected:
        session = self.handler.open(echo=echo, system_events=True)
        expected = Expected(session, transport_of(session))
        self.known.append(expected)
        if first is not None:
            self.join(expected, first)
        return expected

    @rule(number=room_numbers)
    def a_crowd_fills_its_queues(self, number: int) -> None:
        """None of it reads, and one message more closes it all, each of which is announced."""
        for _ in range(CROWD):
            self.open(True, number).transport.stalled = True
        self.deliver(number, None)  # is in the transports
        self.the_loop_comes_to_rest()
        for _ in range(QUEUE):
            self.deliver(number, None)
        self.the_loop_comes_to_rest()

    @precondition(lambda self: self.known)
    @rule(index=indexes, number=room_numbers)
    def a_session_joins(self, index: int, number: int) -> None:
        self.join(self.pick(index), number)
        self.take_note_of_the_closed()

    def join(self, expected: Expected, number: int) -> None:
        number %= self.room_count
        self.handler.hub.join(expected.session, self.room(number))
        expected.rooms.add(number)

    @precondition(lambda self: self.known)
    @rule(index=indexes, numbers=st.lists(room_numbers, min_size=2, max_size=MANY_ROOMS))
    def a_session_joins_many(self, index: int, numbers: list[int]) -> None:
        expected = self.pick(index)
        for number in numbers:
            self.join(expected, number)
        self.take_note_of_the_closed()

    @precondition(lambda self: self.known)
    @rule(index=indexes, number=room_numbers)
    def a_session_leaves(self, index: int, number: int) -> None:
        self.leave(self.pick(index), number)

    @precondition(lambda self: self.known)
    @rule(index=indexes, but=room_numbers)
    def a_session_leaves_all_but_one(self, index: int, but: int) -> None:
        expected = self.pick(index)
        for number in sorted(expected.rooms - {but % self.room_count}):
            self.leave(expected, number)

    def leave(self, expected: Expected, number: int) -> None:
        number %= self.room_count
        others = [each for each in self.known if each is not expected and number in each.rooms]
        self.handler.gone.clear()
        self.handler.hub.leave(expected.session, self.rooms[number])
        was_member = number in expected.rooms
        expected.rooms.discard(number)
        self.take_note_of_the_closed()
        if all(other in self.known for other in [expected, *others]):
            is_empty = was_member and not others
            assert self.handler.gone == [self.rooms[number]] * is_empty

    @rule(number=channel_numbers)
    def a_message_is_delivered(self, number: int | None) -> None:
        self.deliver(number, None)

    @rule(numbers=st.lists(channel_numbers, min_size=2, max_size=MANY_ROOMS))
    def many_are_delivered_in_mixed_order(self, numbers: list[int | None]) -> None:
        for number in numbers:
            self.deliver(number, None)

    @precondition(lambda self: any(not each.session.echo for each in self.known))
    @rule(index=indexes, number=channel_numbers)
    def a_session_without_echo_speaks(self, index: int, number: int | None) -> None:
        speakers = [each for each in self.known if not each.session.echo]
        self.deliver(number, speakers[index % len(speakers)])

    def deliver(self, number: int | None, sender: Expected | None) -> None:
        message = b"%d" % next(self.numbers)
        if number is not None:
            number %= self.room_count
        room = self.handler.hub.everyone if number is None else self.room(number)
        self.handler.hub.deliver(
            room, text_frame(message), sender=sender.session if sender else None
        )
        self.take_note_of_the_closed()
        for expected in self.known:
            if expected is not sender and (number is None or number in expected.rooms):
                self.owe(expected, message)

    @precondition(lambda self: self.known)
    @rule(index=indexes)
    def a_client_stops_reading(self, index: int) -> None:
        self.pick(index).transport.stalled = True

    @precondition(lambda self: self.known)
    @rule(index=indexes)
    def a_client_reads_again(self, index: int) -> None:
        self.pick(index).transport.resume()
        self.take_note_of_the_closed()

    @precondition(lambda self: self.known)
    @rule(index=indexes)
    def a_session_breaks(self, index: int) -> None:
        """From now on an error is raised when it is written to."""
        expected = self.pick(index)
        expected.is_broken = True
        expected.session.write = explode

    @precondition(lambda self: self.known)
    @rule(index=indexes, other=indexes)
    def two_become_friends(self, index: int, other: int) -> None:
        """When the one goes, the other is reset in the same call."""
        self.pick(index).friend = self.pick(other)

    @precondition(lambda self: self.known)
    @rule(index=indexes)
    def a_handler_is_going_to_raise(self, index: int) -> None:
        self.pick(index).raises = True

    @precondition(lambda self: self.known)
    @rule(index=indexes, lost=st.booleans())
    def a_session_closes(self, index: int, lost: bool) -> None:
        expected = self.pick(index)
        with suppress(RuntimeError):  # of its handler, if that raises
            if lost:
                self.kicked.append(expected)
                expected.transport.abort()
            else:
                self.handler.hub.catch_up(expected.session)
                self.kicked.append(expected)
                expected.session.close(CloseCode.GOING_AWAY)
        self.take_note_of_the_closed()

    @precondition(lambda self: len(self.known) > 1)
    @rule()
    def all_are_reset_but_one(self) -> None:
        for expected in self.known[1:]:
            if expected.session.state is State.OPEN:
                self.kicked.append(expected)
                with suppress(RuntimeError):
                    expected.transport.abort()
        self.take_note_of_the_closed()

    @rule()
    def the_loop_turns_once(self) -> None:
        self.handler.end_turn()
        self.take_note_of_the_closed()
        for expected in self.known:
            expected.check()

    @rule()
    def the_loop_comes_to_rest(self) -> None:
        self.handler.rest()
        self.take_note_of_the_closed()
        for expected in self.known:
            if not expected.transport.stalled:
                assert expected.check() == len(expected.messages)
        for number, room in enumerate(self.rooms):
            members = {each.session for each in self.known if number in each.rooms}
            assert room.members.keys() == members
            assert (room.name in self.handler.hub.channels) == bool(members)
            assert room.shared == sum(len(member.channels) > 1 for member in members)
            assert room.fan_outs == 0
        hub = self.handler.hub
        assert hub.held_bytes == 0
        assert hub.deliveries + hub.undelivered + self.handler.refused == self.owed
        assert len(self.handler.send_queues) <= sum(e.transport.stalled for e in self.known)

    def teardown(self) -> None:
        for expected in self.known:
            expected.transport.resume()  # which some do not survive
        self.the_loop_comes_to_rest()
        assert self.handler.send_queues.held_bytes == 0
        for expected in self.closed:
            expected.check()
            assert expected.session not in self.handler.hub.everyone.members


class SlicedHubMachine(HubMachine):
    """The same, where a room of three members makes a long fan-out, of two messages at most."""

    slice_members = 2
    write_messages = 2


class DroppingHubMachine(SlicedHubMachine):
    """The same, where a slow consumer loses its oldest messages, and no session is closed."""

    drop_oldest = True


class WritingHubMachine(HubMachine):
    """The same, where a write has two messages at most, and three if all keep up."""

    write_messages = 2
    ready_messages = 3


class ManyRoomsHubMachine(HubMachine):
    """The same, where there are many rooms, and a session may be in all of them."""

    room_count = MANY_ROOMS


class SlicedManyRoomsHubMachine(SlicedHubMachine):
    """The same, where fan-outs of these are long ones too."""

    room_count = MANY_ROOMS


TestHubModel = HubMachine.TestCase
TestSlicedHubModel = SlicedHubMachine.TestCase
TestDroppingHubModel = DroppingHubMachine.TestCase
TestWritingHubModel = WritingHubMachine.TestCase
TestManyRoomsHubModel = ManyRoomsHubMachine.TestCase
TestSlicedManyRoomsHubModel = SlicedManyRoomsHubMachine.TestCase
_SETTINGS = settings(
    max_examples=settings().max_examples, stateful_step_count=40, report_multiple_bugs=False
)
TestHubModel.settings = TestSlicedHubModel.settings = TestDroppingHubModel.settings = _SETTINGS
TestWritingHubModel.settings = TestManyRoomsHubModel.settings = (
    TestSlicedManyRoomsHubModel.settings
) = _SETTINGS
