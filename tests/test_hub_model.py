"""The fan-out by property: any sequence of what can happen, beside a model that cannot err."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from sanic_chat.room import Room
from sanic_chat.session import Session, State
from sanic_chat.websocket import CloseCode, text_frame

from .test_hub import HubOwner, RecordingTransport, room_called, transport_of

QUEUE = 6
ROOMS = 3

indexes = st.integers(0, 10**6)
room_numbers = st.integers(0, ROOMS - 1)


@dataclass
class Expected:
    """What the model knows of a session."""

    session: Session
    transport: RecordingTransport
    rooms: set[int] = field(default_factory=set)
    messages: list[bytes] = field(default_factory=list)

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


class HubMachine(RuleBasedStateMachine):
    """Sessions come, join, leave, stall and go while messages are delivered to rooms and to all.

    An open session receives exactly what is delivered to its rooms while it is a member, in the
    order of delivery. One that is closed has received the first part of that. Where the oldest
    messages may be dropped, it is told of every gap in its place, with the right number.
    """

    slice_members = 256
    drop_oldest = False

    def __init__(self) -> None:
        super().__init__()
        self.owner = HubOwner(
            send_queue_messages=QUEUE,
            slice_members=self.slice_members,
            drop_oldest=self.drop_oldest,
        )
        self.rooms = [room_called(str(number)) for number in range(ROOMS)]
        self.known: list[Expected] = []
        self.closed: list[Expected] = []
        self.numbers = count()

    def pick(self, index: int) -> Expected:
        return self.known[index % len(self.known)]

    def room(self, number: int) -> Room:
        """The room's object; a new one once the last member has left, as a pod makes it."""
        room = self.rooms[number]
        if room.channel not in self.owner.hub.rooms:
            room = self.rooms[number] = room_called(str(number))
        return room

    def take_note_of_the_closed(self) -> None:
        """Sessions may close at any call; only those whose queue was full may."""
        for expected in [each for each in self.known if each.session.state is not State.OPEN]:
            assert not self.drop_oldest
            assert expected.unseen > QUEUE, "closed though its queue was not full"
            self.forget(expected)

    def forget(self, expected: Expected) -> None:
        self.known.remove(expected)
        self.closed.append(expected)

    @rule(echo=st.booleans(), first=st.none() | room_numbers)
    def a_session_opens(self, echo: bool, first: int | None) -> None:
        session = self.owner.open(echo=echo, system_events=True)
        expected = Expected(session, transport_of(session))
        self.known.append(expected)
        if first is not None:
            self.join(expected, first)
        self.take_note_of_the_closed()

    @precondition(lambda self: self.known)
    @rule(index=indexes, number=room_numbers)
    def a_session_joins(self, index: int, number: int) -> None:
        self.join(self.pick(index), number)
        self.take_note_of_the_closed()

    def join(self, expected: Expected, number: int) -> None:
        self.owner.hub.join(expected.session, self.room(number))
        expected.rooms.add(number)

    @precondition(lambda self: self.known)
    @rule(index=indexes, number=room_numbers)
    def a_session_leaves(self, index: int, number: int) -> None:
        expected = self.pick(index)
        others = [each for each in self.known if each is not expected and number in each.rooms]
        empty = self.owner.hub.leave(expected.session, self.rooms[number])
        was_member = number in expected.rooms
        expected.rooms.discard(number)
        self.take_note_of_the_closed()
        if all(other in self.known for other in others):
            assert empty == (was_member and not others)

    @rule(number=st.none() | room_numbers)
    def a_message_is_delivered(self, number: int | None) -> None:
        self.deliver(number, None)

    @precondition(lambda self: any(not each.session.echo for each in self.known))
    @rule(index=indexes, number=st.none() | room_numbers)
    def a_session_without_echo_speaks(self, index: int, number: int | None) -> None:
        speakers = [each for each in self.known if not each.session.echo]
        self.deliver(number, speakers[index % len(speakers)])

    def deliver(self, number: int | None, sender: Expected | None) -> None:
        message = b"%d" % next(self.numbers)
        room = self.owner.hub.everyone if number is None else self.room(number)
        self.owner.hub.deliver(room, text_frame(message), sender=sender.session if sender else None)
        self.take_note_of_the_closed()
        for expected in self.known:
            if expected is not sender and (number is None or number in expected.rooms):
                expected.messages.append(message)

    @precondition(lambda self: self.known)
    @rule(index=indexes)
    def a_client_stops_reading(self, index: int) -> None:
        self.pick(index).transport.stalled = True

    @precondition(lambda self: self.known)
    @rule(index=indexes)
    def a_client_reads_again(self, index: int) -> None:
        self.pick(index).transport.resume()

    @precondition(lambda self: self.known)
    @rule(index=indexes, lost=st.booleans())
    def a_session_closes(self, index: int, lost: bool) -> None:
        expected = self.pick(index)
        if lost:
            expected.session.connection_lost(None)
        else:
            expected.session.close(CloseCode.GOING_AWAY)
        self.forget(expected)

    @rule()
    def the_loop_turns_once(self) -> None:
        self.owner.end_turn()
        self.take_note_of_the_closed()
        for expected in self.known:
            expected.check()

    @rule()
    def the_loop_comes_to_rest(self) -> None:
        self.owner.rest()
        self.take_note_of_the_closed()
        for expected in self.known:
            if not expected.transport.stalled:
                assert expected.check() == len(expected.messages)
        for number, room in enumerate(self.rooms):
            members = {each.session for each in self.known if number in each.rooms}
            assert room.members.keys() == members
            assert (room.channel in self.owner.hub.rooms) == bool(members)
            assert room.shared == sum(len(member.rooms) > 1 for member in members)
            assert room.fan_outs == 0
        assert self.owner.hub.held_bytes == 0
        assert len(self.owner.send_queues) <= sum(e.transport.stalled for e in self.known)

    def teardown(self) -> None:
        self.the_loop_comes_to_rest()
        for expected in self.known:
            expected.transport.resume()
            assert expected.check() == len(expected.messages)
        assert self.owner.send_queues.held_bytes == 0
        for expected in self.closed:
            expected.check()
            assert expected.session not in self.owner.hub.everyone.members


class SlicedHubMachine(HubMachine):
    """The same, where a room of three members makes a long fan-out."""

    slice_members = 2


class DroppingHubMachine(SlicedHubMachine):
    """The same, where a slow consumer loses its oldest messages, and no session is closed."""

    drop_oldest = True


TestHubModel = HubMachine.TestCase
TestSlicedHubModel = SlicedHubMachine.TestCase
TestDroppingHubModel = DroppingHubMachine.TestCase
TestHubModel.settings = TestSlicedHubModel.settings = TestDroppingHubModel.settings = settings(
    max_examples=max(300, settings().max_examples),
    stateful_step_count=40,
    report_multiple_bugs=False,
)
