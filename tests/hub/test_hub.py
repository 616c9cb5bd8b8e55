"""The hub: who gets what, and in which order, by real sessions over recording transports."""

from __future__ import annotations

import pytest

from sanic_chat.hub.channel import Channel
from sanic_chat.websocket.frames import text_frame

from ..support.hub import Announcer, HubHandler, channel_of, deliver
from ..support.transports import received, transport_of


class TestFanOut:
    def test_one_write_per_member_and_turn(self, handler: HubHandler, a: Channel):
        """All messages of a loop turn reach each member in one write of the same bytes."""
        members = [handler.open(a) for _ in range(3)]
        deliver(handler, a, b"1", b"2", b"3")
        assert not any(transport_of(member).writes for member in members)
        handler.end_turn()
        writes = [transport_of(member).writes for member in members]
        assert [received(member) for member in members] == [[b"1", b"2", b"3"]] * 3
        assert [len(each) for each in writes] == [1, 1, 1]
        assert writes[0][0] is writes[1][0] is writes[2][0]

    def test_one_callback_per_turn(self, handler: HubHandler, a: Channel, b: Channel):
        """However much is delivered to however many rooms, the loop is asked once a turn."""
        handler.open(a), handler.open(b)
        deliver(handler, a, b"1", b"2")
        deliver(handler, b, b"3")
        assert len(handler.turn) == 1
        handler.end_turn()
        assert handler.turn == []
        deliver(handler, a, b"4")
        assert len(handler.turn) == 1

    def test_only_members(self, handler: HubHandler, a: Channel, b: Channel):
        """A room's messages reach its members; global ones everybody."""
        in_a, in_b, in_none = handler.open(a), handler.open(b), handler.open()
        deliver(handler, a, b"for a")
        deliver(handler, handler.hub.everyone, b"for all")
        handler.end_turn()
        assert received(in_a) == [b"for a", b"for all"]
        assert received(in_b) == received(in_none) == [b"for all"]

    def test_deliveries_are_counted(self, handler: HubHandler, a: Channel):
        """`deliveries` counts each message once per session that was given it."""
        handler.open(a), handler.open(a), handler.open()
        muted = handler.open(a, echo=False)
        deliver(handler, a, b"1", b"2")
        deliver(handler, a, b"3", sender=muted)
        deliver(handler, handler.hub.everyone, b"4")
        handler.end_turn()
        assert handler.hub.deliveries == 2 * 3 + 2 + 4

    def test_an_empty_room(self, handler: HubHandler, a: Channel):
        """What is delivered to a room without members goes nowhere."""
        deliver(handler, a, b"1")
        handler.end_turn()
        handler.open(a)
        handler.end_turn()
        assert handler.hub.deliveries == 0


class TestOrder:
    def test_in_one_room(self, handler: HubHandler, a: Channel):
        """Messages of a room keep their order within and across turns."""
        member = handler.open(a)
        for number in range(10):
            deliver(handler, a, b"%d" % number)
            if number % 3 == 0:
                handler.end_turn()
        handler.end_turn()
        assert received(member) == [b"%d" % number for number in range(10)]

    def test_room_and_global(self, handler: HubHandler, a: Channel):
        """Room and global messages keep their common order, whichever comes first."""
        member = handler.open(a)
        everyone = handler.hub.everyone
        for room, message in [(a, b"1"), (everyone, b"2"), (a, b"3"), (a, b"4"), (everyone, b"5")]:
            deliver(handler, room, message)
        handler.end_turn()
        assert received(member) == [b"1", b"2", b"3", b"4", b"5"]

    def test_two_rooms(self, handler: HubHandler, a: Channel, b: Channel):
        """A session in two rooms gets their messages in the order of delivery."""
        member = handler.open(a, b)
        for number, room in enumerate([a, b, a, a, b, b, a]):
            deliver(handler, room, b"%d" % number)
        handler.end_turn()
        assert received(member) == [b"%d" % number for number in range(7)]

    def test_a_room_joined_in_between(self, handler: HubHandler, a: Channel, b: Channel):
        """The order holds for a session that joins its second room in the middle of a turn."""
        member, other = handler.open(a), handler.open(b)
        deliver(handler, b, b"1")
        deliver(handler, a, b"2")
        handler.hub.join(member, b)
        deliver(handler, b, b"3")
        deliver(handler, a, b"4")
        deliver(handler, b, b"5")
        handler.end_turn()
        assert received(member) == [b"2", b"3", b"4", b"5"]
        assert received(other) == [b"1", b"3", b"5"]

    def test_rooms_without_common_members_share_a_turn(
        self, handler: HubHandler, a: Channel, b: Channel
    ):
        """Rooms that nobody is in both of still get one write each."""
        in_a, in_b = handler.open(a), handler.open(b)
        for number, room in enumerate([a, b, a, b]):
            deliver(handler, room, b"%d" % number)
        handler.end_turn()
        assert len(transport_of(in_a).writes) == len(transport_of(in_b).writes) == 1

    def test_a_common_member_that_left_costs_nothing(
        self, handler: HubHandler, a: Channel, b: Channel
    ):
        """Once the only common member is gone, two rooms share a turn again."""
        in_a, in_b, both = handler.open(a), handler.open(b), handler.open(a, b)
        handler.hub.leave(both, b)
        for number, room in enumerate([a, b, a, b]):
            deliver(handler, room, b"%d" % number)
        handler.end_turn()
        assert len(transport_of(in_a).writes) == len(transport_of(in_b).writes) == 1
        assert (a.shared, b.shared) == (0, 0)

    def test_a_delivery_during_an_overflow(self, a: Channel, b: Channel):
        """What the handler delivers because somebody overflows comes in the next turn."""
        handler = Announcer(a, send_queue_messages=1)
        member = handler.open(a, b)
        handler.open(b, stalled=True)
        deliver(handler, b, b"1", b"2")  # too many for the slow one
        deliver(handler, a, b"3")
        handler.end_turn()
        assert received(member) == [b"1", b"2", b"3"]
        deliver(handler, b, b"4")
        handler.rest()
        assert received(member) == [b"1", b"2", b"3", b"bye", b"4"]


class TestEcho:
    def test_the_sender_is_left_out(self, handler: HubHandler, a: Channel):
        """A muted sender gets the others' messages of the turn, in order, and not its own."""
        muted, other = handler.open(a, echo=False), handler.open(a)
        deliver(handler, a, b"1")
        deliver(handler, a, b"mine", sender=muted)
        deliver(handler, a, b"2")
        handler.end_turn()
        assert received(muted) == [b"1", b"2"]
        assert received(other) == [b"1", b"mine", b"2"]
        assert len(transport_of(muted).writes) == 1

    def test_two_muted_senders(self, handler: HubHandler, a: Channel):
        """Of two muted senders each gets the other's messages."""
        one, two = handler.open(a, echo=False), handler.open(a, echo=False)
        deliver(handler, a, b"1", sender=one)
        deliver(handler, a, b"2", sender=two)
        handler.end_turn()
        assert (received(one), received(two)) == ([b"2"], [b"1"])

    def test_nothing_to_write(self, handler: HubHandler, a: Channel):
        """A muted sender that nobody else spoke to is not written to at all."""
        muted = handler.open(a, echo=False)
        deliver(handler, a, b"1", b"2", sender=muted)
        handler.end_turn()
        assert transport_of(muted).writes == []

    def test_muting_ends_with_the_turn(self, handler: HubHandler, a: Channel):
        """A muted sender gets everything of a turn in which it did not speak."""
        muted = handler.open(a, echo=False)
        deliver(handler, a, b"mine", sender=muted)
        handler.end_turn()
        deliver(handler, a, b"1")
        handler.end_turn()
        assert received(muted) == [b"1"]

    def test_a_muted_sender_that_leaves(self, handler: HubHandler, a: Channel):
        """A muted sender that leaves in the same turn does not come back by that."""
        muted, other = handler.open(a, echo=False), handler.open(a)
        deliver(handler, a, b"mine", sender=muted)
        handler.hub.leave(muted, a)
        deliver(handler, a, b"1")
        handler.end_turn()
        assert received(muted) == []
        assert received(other) == [b"mine", b"1"]


class TestRooms:
    def test_joining_twice(self, handler: HubHandler, a: Channel):
        """Joining twice is joining once."""
        member = handler.open(a)
        handler.hub.join(member, a)
        deliver(handler, a, b"1")
        handler.end_turn()
        assert received(member) == [b"1"]
        assert member.channels == (a,)
        handler.hub.leave(member, a)
        assert handler.gone == [a]
        assert not a.members

    def test_the_last_leave(self, handler: HubHandler, a: Channel):
        """A room is there from its first member to its last."""
        assert a.name not in handler.hub.channels
        one, two = handler.open(a), handler.open(a)
        assert handler.hub.channels[a.name] is a
        handler.hub.leave(one, a)
        handler.hub.leave(one, a)
        assert handler.gone == [], "it was no member any more the second time"
        handler.hub.leave(two, a)
        assert handler.gone == [a]
        assert a.name not in handler.hub.channels

    def test_removing(self, handler: HubHandler, a: Channel, b: Channel):
        """A session that goes leaves every room, and the rooms that are empty then are told."""
        gone = handler.open(a, b)
        stays = handler.open(b)
        handler.hub.remove(gone)
        assert handler.gone == [a]
        deliver(handler, handler.hub.everyone, b"1")
        handler.end_turn()
        assert received(gone) == []
        assert received(stays) == [b"1"]
        assert set(handler.hub.channels) == {handler.hub.everyone.name, b.name}

    def test_what_it_was_still_to_get_is_counted(self, handler: HubHandler, a: Channel, b: Channel):
        """Messages that were delivered for a session that is removed are undelivered ones."""
        session, other = handler.open(a, b), handler.open(a)
        deliver(handler, a, b"1", b"2")
        deliver(handler, b, b"3")
        handler.hub.remove(session)
        handler.rest()
        assert (received(session), received(other)) == ([], [b"1", b"2"])
        assert handler.hub.undelivered == 3

    def test_the_global_room_stays(self, handler: HubHandler):
        """The global room is there without anybody in it."""
        handler.hub.remove(handler.open())
        assert handler.hub.channels == {handler.hub.everyone.name: handler.hub.everyone}

    @pytest.mark.parametrize("rooms", [0, 1], ids=["first room", "second room"])
    def test_what_came_before_a_join(self, handler: HubHandler, a: Channel, b: Channel, rooms: int):
        """What was delivered before a session joined, in the same turn, is not for it."""
        handler.open(a)
        late = handler.open(*[b][:rooms])
        deliver(handler, a, b"before")
        handler.hub.join(late, a)
        deliver(handler, a, b"after")
        handler.end_turn()
        assert received(late) == [b"after"]

    def test_what_came_before_an_opening(self, handler: HubHandler):
        """A global message that was delivered before a session was there is not for it."""
        deliver(handler, handler.hub.everyone, b"before")
        late = handler.open()
        deliver(handler, handler.hub.everyone, b"after")
        handler.end_turn()
        assert received(late) == [b"after"]

    def test_what_came_before_a_leave(self, handler: HubHandler, a: Channel):
        """What was delivered while a session was a member reaches it, though it left since."""
        member = handler.open(a)
        deliver(handler, a, b"before")
        handler.hub.leave(member, a)
        deliver(handler, a, b"after")
        handler.end_turn()
        assert received(member) == [b"before"]


class TestRoomsThatShareMembers:
    """Being in many rooms costs the other members of these rooms no write."""

    def test_rooms_in_turn(self, a: Channel, b: Channel):
        """Two rooms with the same members, spoken in by turns, are one write a turn and member."""
        handler = HubHandler(slice_members=5)
        members = [handler.open(a, b) for _ in range(12)]
        for number in range(40):
            deliver(handler, (a, b)[number % 2], b"%d" % number)
        handler.rest()
        for member in members:
            assert received(member) == [b"%d" % number for number in range(40)]
            assert len(transport_of(member).writes) == 1
        writes = {id(transport_of(member).writes[0]) for member in members}
        assert len(writes) == 1, "all are written the same bytes"

    def test_a_room_of_ones_own(self, handler: HubHandler, a: Channel):
        """That each member has a room of its own, and speaks there, leaves the others alone."""
        own = [channel_of(str(number)) for number in range(10)]
        members = [handler.open(a, room) for room in own]
        expected: list[list[bytes]] = [[] for _ in members]
        for number in range(60):
            text = b"%d" % number
            if number % 3:
                deliver(handler, own[number % 4], text)
                expected[number % 4].append(text)
            else:
                deliver(handler, a, text)
                for messages in expected:
                    messages.append(text)
        handler.rest()
        assert [received(member) for member in members] == expected
        assert {len(transport_of(member).writes) for member in members} == {1}

    def test_commands(self, handler: HubHandler, a: Channel):
        """One that catches up again and again is written to, and nobody else is."""
        talker, *others = [handler.open(a) for _ in range(5)]
        for number in range(30):
            deliver(handler, a, b"%d" % number, sender=talker)
            handler.hub.catch_up(talker)
            talker.send(text_frame(b"pong"))
        handler.rest()
        assert [len(transport_of(other).writes) for other in others] == [1] * 4
        assert received(talker) == [
            text for number in range(30) for text in (b"%d" % number, b"pong")
        ]

    def test_global_messages_are_not_overtaken_for_ever(self, a: Channel, b: Channel):
        """Rooms that are always busy let a global message through."""
        handler = HubHandler(slice_members=2)
        for _ in range(6):
            handler.open(a), handler.open(b)
        bystander = handler.open()
        deliver(handler, a, b"a")
        handler.end_turn()
        deliver(handler, handler.hub.everyone, b"for all")
        for _ in range(30):
            deliver(handler, a, b"a")
            deliver(handler, b, b"b")
            handler.end_turn()
        assert received(bystander) == [b"for all"]


async def test_members_of_one_channel_share_a_tuple() -> None:
    """Who is in one room only, as nearly all are, has no tuple of its own."""
    handler = HubHandler()
    a, b = channel_of("a"), channel_of("b")
    first, second, third = handler.open(a), handler.open(a), handler.open(a)
    assert first.channels is second.channels is third.channels == (a,)
    handler.hub.join(second, b)
    assert (first.channels, second.channels, third.channels) == ((a,), (a, b), (a,))
    handler.hub.remove(first)
    fourth = handler.open(a)
    assert (fourth.channels, handler.open(a).channels) == ((a,), (a,))
