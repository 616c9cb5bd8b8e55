"""The fan-out: real sessions over transports that note what is written."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sanic_chat.hub import Hub
from sanic_chat.room import Room
from sanic_chat.session import Session, State
from sanic_chat.websocket import CLOSE, TEXT, CloseCode, text_frame

from .frames import server_frames
from .sessions import RecordingOwner


class RecordingTransport(asyncio.Transport):
    """Takes every write at once; while it is stalled it holds them back, as a full socket does."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.stalled = False
        self._held: list[bytes] = []
        self._protocol: Session | None = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, Session)
        self._protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert (high, low) == (1, 0)

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self._held))

    def write(self, data: Any) -> None:
        if not self.stalled:
            self.writes.append(data)
            return
        self._held.append(data)
        if len(self._held) == 1 and self._protocol is not None:
            self._protocol.pause_writing()

    def resume(self) -> None:
        """The socket takes everything again."""
        self.stalled = False
        if self._held:
            self.writes += self._held
            self._held.clear()
            assert self._protocol is not None
            self._protocol.resume_writing()

    def abort(self) -> None:
        assert self._protocol is not None
        self._protocol.connection_lost(None)

    def texts(self) -> list[bytes]:
        """The messages written so far."""
        return [
            payload for opcode, payload in server_frames(b"".join(self.writes)) if opcode == TEXT
        ]


class HubOwner(RecordingOwner):
    """A hub with its rooms and sessions, and with loop turns that the test makes."""

    def __init__(self, *, slice_members: int = 256, **limits: Any) -> None:
        super().__init__(**limits)
        self.turn = self.soon
        self.hub = Hub(
            call_soon=self.turn.append,
            everyone=Room(b"global", None, b"null"),
            slice_members=slice_members,
        )
        self.gone: list[Room] = []

    def session_closing(self, session: Session) -> None:
        super().session_closing(session)
        self.gone += self.hub.remove(session)

    def open(
        self,
        *rooms: Room,
        echo: bool = True,
        system_events: bool = False,
        stalled: bool = False,
    ) -> Session:
        """A session in some rooms; a stalled one has one message in its transport already."""
        session = Session(self, sender=b'"anna"', echo=echo, system_events=system_events)
        transport = RecordingTransport()
        transport.set_protocol(session)
        session.connection_made(transport)
        self.hub.add(session)
        for room in rooms:
            self.hub.join(session, room)
        if stalled:
            self.stall(session)
        return session

    def stall(self, session: Session) -> None:
        transport_of(session).stalled = True
        session.send(text_frame(b"in the transport"))

    def end_turn(self) -> None:
        """Let the loop run what was called soon."""
        callbacks, self.turn[:] = self.turn[:], []
        for callback in callbacks:
            callback()

    def rest(self) -> None:
        """Let the loop turn until nothing is left to do."""
        turns = 0
        while self.turn:
            self.end_turn()
            turns += 1
            assert turns < 1000, "it never comes to rest"


def transport_of(session: Session) -> RecordingTransport:
    transport = session._transport
    assert isinstance(transport, RecordingTransport)
    return transport


def received(session: Session) -> list[bytes]:
    return transport_of(session).texts()


def room_called(name: str) -> Room:
    return Room(b"room:" + name.encode(), name, b'"%b"' % name.encode())


@pytest.fixture
def owner() -> HubOwner:
    return HubOwner(send_queue_messages=4)


@pytest.fixture
def a() -> Room:
    return room_called("a")


@pytest.fixture
def b() -> Room:
    return room_called("b")


def deliver(owner: HubOwner, room: Room, *messages: bytes, sender: Session | None = None) -> None:
    for message in messages:
        owner.hub.deliver(room, text_frame(message), sender=sender)


class TestFanOut:
    def test_one_write_per_member_and_turn(self, owner: HubOwner, a: Room):
        """All messages of a loop turn reach each member in one write of the same bytes."""
        members = [owner.open(a) for _ in range(3)]
        deliver(owner, a, b"1", b"2", b"3")
        assert not any(transport_of(member).writes for member in members)
        owner.end_turn()
        writes = [transport_of(member).writes for member in members]
        assert [received(member) for member in members] == [[b"1", b"2", b"3"]] * 3
        assert [len(each) for each in writes] == [1, 1, 1]
        assert writes[0][0] is writes[1][0] is writes[2][0]

    def test_one_callback_per_turn(self, owner: HubOwner, a: Room, b: Room):
        """However much is delivered to however many rooms, the loop is asked once a turn."""
        owner.open(a), owner.open(b)
        deliver(owner, a, b"1", b"2")
        deliver(owner, b, b"3")
        assert len(owner.turn) == 1
        owner.end_turn()
        assert owner.turn == []
        deliver(owner, a, b"4")
        assert len(owner.turn) == 1

    def test_only_members(self, owner: HubOwner, a: Room, b: Room):
        """A room's messages reach its members; global ones everybody."""
        in_a, in_b, in_none = owner.open(a), owner.open(b), owner.open()
        deliver(owner, a, b"for a")
        deliver(owner, owner.hub.everyone, b"for all")
        owner.end_turn()
        assert received(in_a) == [b"for a", b"for all"]
        assert received(in_b) == received(in_none) == [b"for all"]

    def test_deliveries_are_counted(self, owner: HubOwner, a: Room):
        """`deliveries` counts each message once per session that was given it."""
        owner.open(a), owner.open(a), owner.open()
        muted = owner.open(a, echo=False)
        deliver(owner, a, b"1", b"2")
        deliver(owner, a, b"3", sender=muted)
        deliver(owner, owner.hub.everyone, b"4")
        owner.end_turn()
        assert owner.hub.deliveries == 2 * 3 + 2 + 4

    def test_an_empty_room(self, owner: HubOwner, a: Room):
        """What is delivered to a room without members goes nowhere."""
        deliver(owner, a, b"1")
        owner.end_turn()
        owner.open(a)
        owner.end_turn()
        assert owner.hub.deliveries == 0


class TestOrder:
    def test_in_one_room(self, owner: HubOwner, a: Room):
        """Messages of a room keep their order within and across turns."""
        member = owner.open(a)
        for number in range(10):
            deliver(owner, a, b"%d" % number)
            if number % 3 == 0:
                owner.end_turn()
        owner.end_turn()
        assert received(member) == [b"%d" % number for number in range(10)]

    def test_room_and_global(self, owner: HubOwner, a: Room):
        """Room and global messages keep their common order, whichever comes first."""
        member = owner.open(a)
        everyone = owner.hub.everyone
        for room, message in [(a, b"1"), (everyone, b"2"), (a, b"3"), (a, b"4"), (everyone, b"5")]:
            deliver(owner, room, message)
        owner.end_turn()
        assert received(member) == [b"1", b"2", b"3", b"4", b"5"]

    def test_two_rooms(self, owner: HubOwner, a: Room, b: Room):
        """A session in two rooms gets their messages in the order of delivery."""
        member = owner.open(a, b)
        for number, room in enumerate([a, b, a, a, b, b, a]):
            deliver(owner, room, b"%d" % number)
        owner.end_turn()
        assert received(member) == [b"%d" % number for number in range(7)]

    def test_a_room_joined_in_between(self, owner: HubOwner, a: Room, b: Room):
        """The order holds for a session that joins its second room in the middle of a turn."""
        member, other = owner.open(a), owner.open(b)
        deliver(owner, b, b"1")
        deliver(owner, a, b"2")
        owner.hub.join(member, b)
        deliver(owner, b, b"3")
        deliver(owner, a, b"4")
        deliver(owner, b, b"5")
        owner.end_turn()
        assert received(member) == [b"2", b"3", b"4", b"5"]
        assert received(other) == [b"1", b"3", b"5"]

    def test_rooms_without_common_members_share_a_turn(self, owner: HubOwner, a: Room, b: Room):
        """Rooms that nobody is in both of still get one write each."""
        in_a, in_b = owner.open(a), owner.open(b)
        for number, room in enumerate([a, b, a, b]):
            deliver(owner, room, b"%d" % number)
        owner.end_turn()
        assert len(transport_of(in_a).writes) == len(transport_of(in_b).writes) == 1

    def test_a_common_member_that_left_costs_nothing(self, owner: HubOwner, a: Room, b: Room):
        """Once the only common member is gone, two rooms share a turn again."""
        in_a, in_b, both = owner.open(a), owner.open(b), owner.open(a, b)
        owner.hub.leave(both, b)
        for number, room in enumerate([a, b, a, b]):
            deliver(owner, room, b"%d" % number)
        owner.end_turn()
        assert len(transport_of(in_a).writes) == len(transport_of(in_b).writes) == 1
        assert (a.shared, b.shared) == (0, 0)

    @pytest.mark.parametrize("announced_in", ["a", "c"], ids=["same room", "third room"])
    def test_a_delivery_during_an_overflow(self, a: Room, b: Room, announced_in: str):
        """What the owner delivers because somebody overflows keeps its place too."""
        c = room_called("c")
        announcements = a if announced_in == "a" else c
        owner = Announcer(announcements, send_queue_messages=1)
        member = owner.open(a, b, c)
        owner.open(b, stalled=True)
        deliver(owner, b, b"1", b"2")  # too many for the slow one
        deliver(owner, a, b"3")  # writes what is for b: the slow one closes, `bye` is delivered
        deliver(owner, announcements, b"4")
        deliver(owner, b, b"5")
        deliver(owner, a, b"6")
        owner.end_turn()
        assert received(member) == [b"1", b"2", b"bye", b"3", b"4", b"5", b"6"]


class Announcer(HubOwner):
    """An owner that says `bye` in a room for every session that closes."""

    def __init__(self, room: Room, **limits: Any) -> None:
        super().__init__(**limits)
        self._room = room

    def session_closing(self, session: Session) -> None:
        super().session_closing(session)
        self.hub.deliver(self._room, text_frame(b"bye"))


class TestLongFanOuts:
    """Rooms of more than a slice, here of two members, are written to over several turns."""

    @pytest.fixture
    def owner(self) -> HubOwner:
        return HubOwner(slice_members=2, send_queue_messages=4)

    def test_slice_by_slice(self, owner: HubOwner, a: Room):
        """Each turn writes to one slice, and the first one does so at once."""
        members = [owner.open(a) for _ in range(6)]
        deliver(owner, a, b"1")
        served = []
        while owner.turn:
            owner.end_turn()
            served.append(sum(received(member) == [b"1"] for member in members))
        assert served == [2, 4, 6]
        assert owner.hub.deliveries == 6

    def test_a_short_one_overtakes(self, owner: HubOwner, a: Room, b: Room):
        """A small room gets its message in the turn it was delivered in, whatever else goes on."""
        large = [owner.open(a) for _ in range(20)]
        small = owner.open(b)
        deliver(owner, a, b"1")
        owner.end_turn()
        deliver(owner, b, b"2")
        owner.end_turn()
        assert received(small) == [b"2"]
        assert sum(received(member) == [b"1"] for member in large) == 4
        owner.rest()
        assert all(received(member) == [b"1"] for member in large)

    @pytest.mark.parametrize("last", ["b", "global"])
    def test_order_for_who_is_in_both(self, owner: HubOwner, a: Room, b: Room, last: str):
        """Who is in a large room and in the one that overtakes it gets them in order."""
        both, small = owner.open(a, b), owner.open(b)
        for _ in range(20):
            owner.open(a)
        deliver(owner, a, b"1")
        owner.end_turn()
        assert received(both) == []
        deliver(owner, b, b"2")
        owner.end_turn()
        assert received(both) == [b"1", b"2"]
        assert received(small) == [b"2"]
        deliver(owner, a, b"3")
        deliver(owner, owner.hub.everyone if last == "global" else b, b"4")
        owner.rest()
        assert received(both) == [b"1", b"2", b"3", b"4"]

    def test_what_comes_meanwhile_is_gathered(self, owner: HubOwner, a: Room):
        """What a room is given while its fan-out is under way makes one write per member."""
        members = [owner.open(a) for _ in range(6)]
        deliver(owner, a, b"1")
        owner.end_turn()
        deliver(owner, a, b"2")
        owner.end_turn()
        deliver(owner, a, b"3")
        owner.rest()
        assert all(received(member) == [b"1", b"2", b"3"] for member in members)
        assert all(len(transport_of(member).writes) == 2 for member in members)

    def test_who_spoke_last_comes_first(self, owner: HubOwner, a: Room):
        """The sender is in the first slice, wherever it joined."""
        members = [owner.open(a) for _ in range(9)]
        deliver(owner, a, b"1", sender=members[4])
        owner.end_turn()
        assert [received(member) for member in members].index([b"1"]) == 4

    def test_joining_and_leaving_in_between(self, owner: HubOwner, a: Room):
        """Who leaves while a fan-out is under way gets it; who joins does not."""
        members = [owner.open(a) for _ in range(6)]
        deliver(owner, a, b"1")
        owner.end_turn()
        late = owner.open(a)
        owner.hub.leave(members[0], a)
        assert received(members[0]) == [b"1"]
        members[1].close(CloseCode.GOING_AWAY)
        assert received(members[1]) == [b"1"]
        owner.rest()
        assert received(late) == []
        assert all(received(member) == [b"1"] for member in members)
        assert owner.hub.deliveries == 6
        assert a.fan_outs == 0

    def test_a_sender_without_echo(self, owner: HubOwner, a: Room):
        """Of a long fan-out, too, a sender that wants no echo gets the others' messages only."""
        muted = owner.open(a, echo=False)
        leaver = owner.open(a, echo=False)
        members = [owner.open(a) for _ in range(6)]
        deliver(owner, a, b"1", sender=muted)
        deliver(owner, a, b"2", sender=leaver)
        owner.end_turn()
        owner.hub.leave(leaver, a)
        owner.rest()
        assert received(muted) == [b"2"]
        assert received(leaver) == [b"1"]
        assert all(received(member) == [b"1", b"2"] for member in members)
        assert owner.hub.deliveries == 2 * 6 + 2

    def test_a_slow_consumer_in_two_long_fan_outs(self, owner: HubOwner, a: Room, b: Room):
        """A slow one that overflows in the first gets nothing of the second; both are counted."""
        slow = owner.open(a, b)
        others = [owner.open(a, b) for _ in range(4)]
        owner.stall(slow)
        deliver(owner, a, *[b"x"] * 5)
        deliver(owner, b, b"y")
        owner.rest()
        assert slow.state is State.CLOSING
        assert owner.dropped == {"slow_consumer": 6}
        assert all(received(other) == [b"x"] * 5 + [b"y"] for other in others)
        transport_of(slow).resume()
        assert received(slow) == [b"in the transport"]

    def test_catching_up(self, owner: HubOwner, a: Room):
        """`catch_up` gives one session all that was delivered for it, and the others later."""
        members = [owner.open(a) for _ in range(6)]
        deliver(owner, a, b"1")
        owner.end_turn()
        deliver(owner, a, b"2")
        owner.hub.catch_up(members[0])
        assert received(members[0]) == [b"1", b"2"]
        assert received(members[1]) == []
        owner.rest()
        assert all(received(member) == [b"1", b"2"] for member in members)


class TestEcho:
    def test_the_sender_is_left_out(self, owner: HubOwner, a: Room):
        """A muted sender gets the others' messages of the turn, in order, and not its own."""
        muted, other = owner.open(a, echo=False), owner.open(a)
        deliver(owner, a, b"1")
        deliver(owner, a, b"mine", sender=muted)
        deliver(owner, a, b"2")
        owner.end_turn()
        assert received(muted) == [b"1", b"2"]
        assert received(other) == [b"1", b"mine", b"2"]
        assert len(transport_of(muted).writes) == 1

    def test_two_muted_senders(self, owner: HubOwner, a: Room):
        """Of two muted senders each gets the other's messages."""
        one, two = owner.open(a, echo=False), owner.open(a, echo=False)
        deliver(owner, a, b"1", sender=one)
        deliver(owner, a, b"2", sender=two)
        owner.end_turn()
        assert (received(one), received(two)) == ([b"2"], [b"1"])

    def test_nothing_to_write(self, owner: HubOwner, a: Room):
        """A muted sender that nobody else spoke to is not written to at all."""
        muted = owner.open(a, echo=False)
        deliver(owner, a, b"1", b"2", sender=muted)
        owner.end_turn()
        assert transport_of(muted).writes == []

    def test_muting_ends_with_the_turn(self, owner: HubOwner, a: Room):
        """A muted sender gets everything of a turn in which it did not speak."""
        muted = owner.open(a, echo=False)
        deliver(owner, a, b"mine", sender=muted)
        owner.end_turn()
        deliver(owner, a, b"1")
        owner.end_turn()
        assert received(muted) == [b"1"]

    def test_a_muted_sender_that_leaves(self, owner: HubOwner, a: Room):
        """A muted sender that leaves in the same turn does not come back by that."""
        muted, other = owner.open(a, echo=False), owner.open(a)
        deliver(owner, a, b"mine", sender=muted)
        owner.hub.leave(muted, a)
        deliver(owner, a, b"1")
        owner.end_turn()
        assert received(muted) == []
        assert received(other) == [b"mine", b"1"]


class TestRooms:
    def test_joining_twice(self, owner: HubOwner, a: Room):
        """Joining twice is joining once."""
        member = owner.open(a)
        owner.hub.join(member, a)
        deliver(owner, a, b"1")
        owner.end_turn()
        assert received(member) == [b"1"]
        assert member.rooms == (a,)
        assert owner.hub.leave(member, a)
        assert not a.members

    def test_the_last_leave(self, owner: HubOwner, a: Room):
        """A room is there from its first member to its last."""
        assert a.channel not in owner.hub.rooms
        one, two = owner.open(a), owner.open(a)
        assert owner.hub.rooms[a.channel] is a
        assert owner.hub.leave(one, a) is False
        assert owner.hub.leave(one, a) is False, "it was no member any more"
        assert owner.hub.leave(two, a) is True
        assert a.channel not in owner.hub.rooms

    def test_removing(self, owner: HubOwner, a: Room, b: Room):
        """A session that goes leaves every room, and the rooms that are empty then are told."""
        gone = owner.open(a, b)
        stays = owner.open(b)
        assert owner.hub.remove(gone) == [a]
        deliver(owner, owner.hub.everyone, b"1")
        owner.end_turn()
        assert received(gone) == []
        assert received(stays) == [b"1"]
        assert set(owner.hub.rooms) == {owner.hub.everyone.channel, b.channel}

    def test_the_global_room_stays(self, owner: HubOwner):
        """The global room is there without anybody in it."""
        owner.hub.remove(owner.open())
        assert owner.hub.rooms == {owner.hub.everyone.channel: owner.hub.everyone}

    @pytest.mark.parametrize("rooms", [0, 1], ids=["first room", "second room"])
    def test_what_came_before_a_join(self, owner: HubOwner, a: Room, b: Room, rooms: int):
        """What was delivered before a session joined, in the same turn, is not for it."""
        owner.open(a)
        late = owner.open(*[b][:rooms])
        deliver(owner, a, b"before")
        owner.hub.join(late, a)
        deliver(owner, a, b"after")
        owner.end_turn()
        assert received(late) == [b"after"]

    def test_what_came_before_an_opening(self, owner: HubOwner):
        """A global message that was delivered before a session was there is not for it."""
        deliver(owner, owner.hub.everyone, b"before")
        late = owner.open()
        deliver(owner, owner.hub.everyone, b"after")
        owner.end_turn()
        assert received(late) == [b"after"]

    def test_what_came_before_a_leave(self, owner: HubOwner, a: Room):
        """What was delivered while a session was a member reaches it, though it left since."""
        member = owner.open(a)
        deliver(owner, a, b"before")
        owner.hub.leave(member, a)
        deliver(owner, a, b"after")
        owner.end_turn()
        assert received(member) == [b"before"]


class TestSlowConsumers:
    def test_only_the_slow_one_is_closed(self, owner: HubOwner, a: Room):
        """A full queue closes its session with 1013, and the others get everything."""
        fast, slow = owner.open(a), owner.open(a, stalled=True)
        for number in range(5):
            deliver(owner, a, b"%d" % number)
            owner.end_turn()
        assert slow.state is State.CLOSING
        assert owner.dropped == {"slow_consumer": 5}
        assert a.members.keys() == owner.hub.everyone.members.keys() == {fast}
        deliver(owner, a, b"5")
        owner.end_turn()
        assert received(fast) == [b"%d" % number for number in range(6)]
        transport_of(slow).resume()
        frames = server_frames(b"".join(transport_of(slow).writes))
        assert [opcode for opcode, _ in frames] == [TEXT, CLOSE]
        assert int.from_bytes(frames[1][1][:2], "big") == CloseCode.TRY_AGAIN_LATER

    def test_a_turn_with_too_much(self, owner: HubOwner, a: Room):
        """One turn with more messages than the queue holds closes the slow one as well."""
        slow = owner.open(a, stalled=True)
        deliver(owner, a, *[b"x"] * 5)
        owner.end_turn()
        assert slow.state is State.CLOSING
        assert owner.dropped == {"slow_consumer": 5}
        assert owner.gone == [a]

    def test_a_queue_of_a_muted_sender(self, owner: HubOwner, a: Room):
        """A muted sender's own messages take no place in its queue."""
        slow = owner.open(a, echo=False, stalled=True)
        deliver(owner, a, *[b"mine"] * 10, sender=slow)
        deliver(owner, a, *[b"x"] * 4)
        owner.end_turn()
        assert slow.state is State.OPEN
        deliver(owner, a, b"mine", sender=slow)
        deliver(owner, a, b"x")
        owner.end_turn()
        assert slow.state is State.CLOSING

    def test_a_queue_is_flushed_in_order(self, owner: HubOwner, a: Room):
        """What waited and what comes afterwards keep their order."""
        slow = owner.open(a, stalled=True)
        deliver(owner, a, b"1")
        owner.end_turn()
        deliver(owner, owner.hub.everyone, b"2")
        owner.end_turn()
        transport_of(slow).resume()
        deliver(owner, a, b"3")
        owner.end_turn()
        assert received(slow) == [b"in the transport", b"1", b"2", b"3"]

    def test_several_at_once(self, owner: HubOwner, a: Room, b: Room):
        """Several slow sessions in several rooms are closed in one turn, each once."""
        slow = [owner.open(a, b, stalled=True) for _ in range(3)]
        fast = owner.open(a, b)
        deliver(owner, a, *[b"x"] * 5)
        deliver(owner, b, *[b"y"] * 5)
        owner.end_turn()
        assert sorted(map(id, (session for _, session in owner.ends))) == sorted(map(id, slow))
        assert received(fast) == [b"x"] * 5 + [b"y"] * 5

    def test_a_slow_session_that_joins(self, owner: HubOwner, a: Room, b: Room):
        """A session that overflows in the moment it joins a room does not stay in that room."""
        slow = owner.open(a, stalled=True)
        fast = owner.open(b)
        deliver(owner, a, *[b"x"] * 5)
        owner.hub.join(slow, b)
        assert slow.state is State.CLOSING
        assert b.members.keys() == {fast}
        assert slow.rooms == ()
        slow.connection_lost(None)
        deliver(owner, b, b"1")
        owner.end_turn()
        assert received(fast) == [b"1"]


class TestDropOldest:
    """Slow consumers that lose their oldest messages."""

    @pytest.fixture
    def owner(self) -> HubOwner:
        return HubOwner(send_queue_messages=4, drop_oldest=True)

    def test_the_slow_one_stays(self, owner: HubOwner, a: Room):
        """The slow one gets the newest messages and, where others are missing, how many."""
        fast = owner.open(a)
        slow = owner.open(a, stalled=True, system_events=True)
        for number in range(9):
            deliver(owner, a, b"%d" % number)
            owner.end_turn()
        assert slow.state is State.OPEN
        assert owner.dropped == {"slow_consumer": 5}
        transport_of(slow).resume()
        deliver(owner, a, b"9")
        owner.end_turn()
        assert received(fast) == [b"%d" % number for number in range(10)]
        assert received(slow) == [
            b"in the transport", b"gap a slow 5", b"5", b"6", b"7", b"8", b"9",
        ]  # fmt: skip

    def test_a_turn_with_too_much(self, owner: HubOwner, a: Room, b: Room):
        """Of a turn with more messages than the queue holds the last ones are kept."""
        slow = owner.open(a, b, stalled=True, system_events=True)
        deliver(owner, b, b"old")
        deliver(owner, a, *[b"%d" % number for number in range(6)])
        owner.end_turn()
        transport_of(slow).resume()
        assert received(slow)[1:] == [
            b"gap b slow 1", b"gap a slow 2", b"2", b"3", b"4", b"5",
        ]  # fmt: skip

    def test_a_close_comes_after_what_is_left(self, owner: HubOwner, a: Room):
        """An orderly close sends the gap, what is still queued, and then the close frame."""
        slow = owner.open(a, stalled=True, system_events=True)
        for number in range(6):
            deliver(owner, a, b"%d" % number)
            owner.end_turn()
        slow.close(CloseCode.GOING_AWAY)
        transport_of(slow).resume()
        assert received(slow)[1:] == [b"gap a slow 2", b"2", b"3", b"4", b"5"]
        frames = server_frames(b"".join(transport_of(slow).writes))
        assert frames[-1] == (CLOSE, (1001).to_bytes(2, "big"))


class TestOverload:
    """All send queues together hold more than they may."""

    TEXT = b"x" * 10_000

    @pytest.fixture
    def owner(self, drop_oldest: bool) -> HubOwner:
        return HubOwner(send_queue_total_bytes=100_000, drop_oldest=drop_oldest)

    def overload(self, owner: HubOwner, a: Room, b: Room) -> tuple[Session, Session]:
        """Two slow consumers, the first of which is the slower one by far."""
        fat = owner.open(a, stalled=True, system_events=True)
        thin = owner.open(b, stalled=True, system_events=True)
        for _ in range(8):
            deliver(owner, a, self.TEXT)
        deliver(owner, b, self.TEXT)
        owner.rest()
        assert (fat.state, thin.state) == (State.OPEN, State.OPEN)
        deliver(owner, b, self.TEXT)
        owner.rest()
        return fat, thin

    @pytest.mark.parametrize("drop_oldest", [False])
    def test_the_fattest_is_closed(self, owner: HubOwner, a: Room, b: Room):
        """The client with the most waiting for it is closed with 1013, and says why."""
        fat, thin = self.overload(owner, a, b)
        assert (fat.state, thin.state) == (State.CLOSING, State.OPEN)
        assert owner.dropped == {"overload": 8}
        transport_of(fat).resume()
        assert received(fat) == [b"in the transport"]
        opcode, payload = server_frames(b"".join(transport_of(fat).writes))[-1]
        assert (opcode, int.from_bytes(payload[:2], "big")) == (CLOSE, 1013)
        assert payload[2:].startswith(b"overload")
        transport_of(thin).resume()
        assert received(thin) == [b"in the transport", self.TEXT, self.TEXT]

    @pytest.mark.parametrize("drop_oldest", [True])
    def test_the_fattest_loses_its_queue(self, owner: HubOwner, a: Room, b: Room):
        """The client with the most waiting for it loses that, is told so, and stays."""
        fat, thin = self.overload(owner, a, b)
        assert (fat.state, thin.state) == (State.OPEN, State.OPEN)
        assert owner.dropped == {"overload": 8}
        deliver(owner, a, b"later")
        owner.rest()
        for session in (fat, thin):
            transport_of(session).resume()
        assert received(fat) == [b"in the transport", b"gap a overload 8", b"later"]
        assert received(thin) == [b"in the transport", self.TEXT, self.TEXT]
        assert owner.send_queues.held_bytes == 0

    @pytest.mark.parametrize("drop_oldest", [True])
    def test_who_has_nothing_to_drop_is_closed(self, owner: HubOwner, a: Room):
        """What the transport holds cannot be dropped: its client goes."""
        session = owner.open(a)
        transport_of(session).stalled = True
        deliver(owner, a, b"x" * 200_000)
        owner.rest()
        assert session.state is State.CLOSING
        assert len(owner.send_queues) == 0

    @pytest.mark.parametrize("drop_oldest", [False, True])
    def test_a_room_full_of_slow_ones(self, owner: HubOwner, a: Room):
        """The same messages in many queues are no overload: they are in memory once."""
        slow = [owner.open(a, stalled=True) for _ in range(50)]
        deliver(owner, a, *[self.TEXT] * 5)
        owner.rest()
        for session in slow:
            assert session.state is State.OPEN
            transport_of(session).resume()
            assert len(received(session)) == 6
        assert owner.dropped == {}

    @pytest.mark.parametrize("drop_oldest", [False, True])
    def test_stalled_while_it_closes(self, owner: HubOwner, a: Room, b: Room):
        """A client whose socket is full with the first of what its close sends gets the rest."""
        session = owner.open(a, b)
        deliver(owner, a, b"1")
        deliver(owner, b, b"2")
        transport_of(session).stalled = True
        session.close(CloseCode.GOING_AWAY)
        assert len(owner.send_queues) == 0
        transport_of(session).resume()
        assert received(session) == [b"1", b"2"]
        frames = server_frames(b"".join(transport_of(session).writes))
        assert frames[-1] == (CLOSE, (1001).to_bytes(2, "big"))
