"""The writing of a fan-out: slice by slice, joined, and in spite of errors."""

from __future__ import annotations

import pytest

from sanic_chat.hub.channel import Channel
from sanic_chat.session.inbound import State
from sanic_chat.session.session import Session
from sanic_chat.websocket.frames import CloseCode

from ..support.frames import server_frames
from ..support.hub import Announcer, HubHandler, deliver, explode, short_stack
from ..support.transports import received, transport_of


class TestLongFanOuts:
    """Rooms of more than a slice, here of two members, are written to over several turns."""

    @pytest.fixture
    def handler(self) -> HubHandler:
        return HubHandler(slice_members=2, send_queue_messages=4)

    def test_slice_by_slice(self, handler: HubHandler, a: Channel):
        """Each turn writes to one slice, and the first one does so at once."""
        members = [handler.open(a) for _ in range(6)]
        deliver(handler, a, b"1")
        served = []
        while handler.turn:
            handler.end_turn()
            served.append(sum(received(member) == [b"1"] for member in members))
        assert served == [2, 4, 6]
        assert handler.hub.deliveries == 6

    def test_a_short_one_overtakes(self, handler: HubHandler, a: Channel, b: Channel):
        """A small room gets its message in the turn it was delivered in, whatever else goes on."""
        large = [handler.open(a) for _ in range(20)]
        small = handler.open(b)
        deliver(handler, a, b"1")
        handler.end_turn()
        deliver(handler, b, b"2")
        handler.end_turn()
        assert received(small) == [b"2"]
        assert sum(received(member) == [b"1"] for member in large) == 4
        handler.rest()
        assert all(received(member) == [b"1"] for member in large)

    @pytest.mark.parametrize("last", ["b", "global"])
    def test_order_for_who_is_in_both(self, handler: HubHandler, a: Channel, b: Channel, last: str):
        """Who is in a large room and in the one that overtakes it gets them in order."""
        both, small = handler.open(a, b), handler.open(b)
        for _ in range(20):
            handler.open(a)
        deliver(handler, a, b"1")
        handler.end_turn()
        assert received(both) == []
        deliver(handler, b, b"2")
        handler.end_turn()
        assert received(both) == [b"1", b"2"]
        assert received(small) == [b"2"]
        deliver(handler, a, b"3")
        deliver(handler, handler.hub.everyone if last == "global" else b, b"4")
        handler.rest()
        assert received(both) == [b"1", b"2", b"3", b"4"]

    def test_what_comes_meanwhile_is_gathered(self, handler: HubHandler, a: Channel):
        """What a room is given while its fan-out is under way makes one write per member."""
        members = [handler.open(a) for _ in range(6)]
        deliver(handler, a, b"1")
        handler.end_turn()
        deliver(handler, a, b"2")
        handler.end_turn()
        deliver(handler, a, b"3")
        handler.rest()
        assert all(received(member) == [b"1", b"2", b"3"] for member in members)
        assert all(len(transport_of(member).writes) == 2 for member in members)

    def test_who_spoke_last_comes_first(self, handler: HubHandler, a: Channel):
        """The sender is in the first slice, wherever it joined."""
        members = [handler.open(a) for _ in range(9)]
        deliver(handler, a, b"1", sender=members[4])
        handler.end_turn()
        assert [received(member) for member in members].index([b"1"]) == 4

    def test_joining_and_leaving_in_between(self, handler: HubHandler, a: Channel):
        """Who leaves while a fan-out is under way gets it; who joins does not."""
        members = [handler.open(a) for _ in range(6)]
        deliver(handler, a, b"1")
        handler.end_turn()
        late = handler.open(a)
        handler.hub.leave(members[0], a)
        assert received(members[0]) == [b"1"]
        handler.hub.catch_up(members[1])
        members[1].close(CloseCode.GOING_AWAY)
        assert received(members[1]) == [b"1"]
        handler.rest()
        assert received(late) == []
        assert all(received(member) == [b"1"] for member in members)
        assert handler.hub.deliveries == 6
        assert a.fan_outs == 0

    def test_a_sender_without_echo(self, handler: HubHandler, a: Channel):
        """Of a long fan-out, too, a sender that wants no echo gets the others' messages only."""
        muted = handler.open(a, echo=False)
        leaver = handler.open(a, echo=False)
        members = [handler.open(a) for _ in range(6)]
        deliver(handler, a, b"1", sender=muted)
        deliver(handler, a, b"2", sender=leaver)
        handler.end_turn()
        handler.hub.leave(leaver, a)
        handler.rest()
        assert received(muted) == [b"2"]
        assert received(leaver) == [b"1"]
        assert all(received(member) == [b"1", b"2"] for member in members)
        assert handler.hub.deliveries == 2 * 6 + 2

    def test_a_slow_consumer_in_two_long_fan_outs(
        self, handler: HubHandler, a: Channel, b: Channel
    ):
        """A slow one that overflows in the first gets nothing of the second; both are counted."""
        slow = handler.open(a, b)
        others = [handler.open(a, b) for _ in range(4)]
        handler.stall(slow)
        deliver(handler, a, *[b"x"] * 5)
        deliver(handler, b, b"y")
        handler.rest()
        assert slow.state is State.CLOSING
        assert handler.dropped == {"slow_consumer": 6}
        assert all(received(other) == [b"x"] * 5 + [b"y"] for other in others)
        transport_of(slow).resume()
        assert received(slow) == [b"in the transport"]

    def test_catching_up(self, handler: HubHandler, a: Channel):
        """`catch_up` gives one session all that was delivered for it, and the others later."""
        members = [handler.open(a) for _ in range(6)]
        deliver(handler, a, b"1")
        handler.end_turn()
        deliver(handler, a, b"2")
        handler.hub.catch_up(members[0])
        assert received(members[0]) == [b"1", b"2"]
        assert received(members[1]) == []
        handler.rest()
        assert all(received(member) == [b"1", b"2"] for member in members)


class TestManyAtOnce:
    """However many are closed in a turn, and whatever their closing causes, the stack is short."""

    @pytest.mark.parametrize("slice_members", [256, 10_000], ids=["slices", "at once"])
    def test_five_thousand_slow_ones(self, a: Channel, b: Channel, slice_members: int):
        """Each close announces something to all the others, who are as slow."""
        handler = Announcer(a, send_queue_messages=3, slice_members=slice_members)
        slow = [handler.open(a, b, stalled=True) for _ in range(5000)]
        fast = handler.open(a)
        deliver(handler, a, b"1", b"2", b"3", b"4")
        with short_stack(60):
            handler.rest()
        assert {session.state for session in slow} == {State.CLOSING}
        assert len(handler.ends) == 5000
        assert a.members.keys() == handler.hub.everyone.members.keys() == {fast}
        assert handler.gone == [b]
        assert received(fast) == [b"1", b"2", b"3", b"4"] + [b"bye"] * 5000
        assert handler.hub.held_bytes == 0
        assert len(handler.send_queues) == 0

    def test_all_of_them_are_reset(self, a: Channel):
        """A room that loses nearly all members in one turn tells those who are left."""
        handler = Announcer(a, slice_members=256)
        crowd = [handler.open(a) for _ in range(3000)]
        deliver(handler, a, b"1")
        handler.end_turn()
        with short_stack(60):
            for session in crowd[:2900]:
                session.connection_lost(None)
            handler.rest()
        assert [received(session) for session in crowd[2900:]] == [[b"1"] + [b"bye"] * 2900] * 100
        assert handler.hub.held_bytes == 0


class TestErrors:
    """An error at one member is that member's end, and nobody else's."""

    @pytest.mark.parametrize("members", [3, 6], ids=["at once", "in slices"])
    @pytest.mark.parametrize("raising", ["write", "enqueue", "overflow"])
    def test_at_one_member(
        self, monkeypatch: pytest.MonkeyPatch, a: Channel, b: Channel, raising: str, members: int
    ):
        """The others get the message, the one is closed and in no room, and the sums are right."""
        handler = HubHandler(slice_members=4, send_queue_messages=4)
        good = [handler.open(a, b) for _ in range(members - 1)]
        bad = handler.open(a, b, stalled=raising != "write")
        if raising == "write":
            bad.write = explode
        else:
            monkeypatch.setattr(
                Session, raising, lambda session, *arguments: explode() if session is bad else True
            )
        deliver(handler, a, *[b"1"] * 5)
        deliver(handler, handler.hub.everyone, b"2")
        handler.rest()
        assert [received(session) for session in good] == [[b"1"] * 5 + [b"2"]] * (members - 1)
        assert bad.state is State.CLOSING
        assert len(handler.failures) == 1
        assert bad.channels == ()
        everyone = handler.hub.everyone
        assert a.members.keys() == b.members.keys() == everyone.members.keys() == set(good)
        assert handler.hub.held_bytes == 0
        assert handler.hub.deliveries == 6 * (members - 1)
        deliver(handler, b, b"3")
        handler.rest()
        assert all(received(session)[-1] == b"3" for session in good)

    def test_at_who_catches_up(self, handler: HubHandler, a: Channel):
        """An error while one session catches up is its own as well."""
        good, bad = handler.open(a), handler.open(a)
        bad.write = explode
        deliver(handler, a, b"1")
        handler.hub.catch_up(bad)
        assert bad.state is State.CLOSING
        handler.rest()
        assert received(good) == [b"1"]

    def test_an_owner_that_raises_when_it_closes(self, a: Channel):
        """A member whose end raises an error is in no room afterwards all the same."""

        class Raising(HubHandler):
            def session_closing(self, session: Session) -> None:
                self.ends.append(("closing", session))
                explode()

        handler = Raising(send_queue_messages=4)
        good = handler.open(a)
        slow = [handler.open(a, stalled=True) for _ in range(3)]
        deliver(handler, a, *[b"1"] * 5)
        handler.rest()
        assert len(slow) == len(handler.ends)
        assert a.members.keys() == handler.hub.everyone.members.keys() == {good}
        assert received(good) == [b"1"] * 5


class TestJoinedWrites:
    """What a room is given in one turn is joined, but for one write only so much of it."""

    def test_messages(self, a: Channel):
        """Of many small messages each write has the bound, and they keep their order."""
        handler = HubHandler(write_messages=3)
        member, muted = handler.open(a), handler.open(a, echo=False)
        messages = [b"%d" % number for number in range(8)]
        deliver(handler, a, *messages[:4])
        deliver(handler, a, messages[4], sender=muted)
        deliver(handler, a, *messages[5:])
        handler.end_turn()
        assert received(member) == messages[:3]
        late = handler.open(a)
        handler.rest()
        assert received(member) == messages
        assert received(muted) == messages[:4] + messages[5:]
        assert received(late) == []
        assert len(transport_of(member).writes) == 3
        assert handler.hub.held_bytes == 0

    @pytest.mark.parametrize(("stalled", "most"), [(False, 5), (True, 3)], ids=["all", "not all"])
    def test_members_that_all_keep_up(self, a: Channel, stalled: bool, most: int):
        """They get more in one write, which their empty queues could take. It is fewer writes."""
        handler = HubHandler(write_messages=3, ready_messages=5)
        member = handler.open(a)
        handler.open(a, stalled=stalled)
        deliver(handler, a, *[b"%d" % number for number in range(8)])
        handler.end_turn()
        assert len(received(member)) == most
        handler.rest()
        assert received(member) == [b"%d" % number for number in range(8)]

    def test_a_long_fan_out(self, a: Channel):
        """Whoever is written to in a later turn may not keep up by then: it gets no more."""
        handler = HubHandler(write_messages=3, ready_messages=5, slice_members=1)
        members = [handler.open(a), handler.open(a)]
        deliver(handler, a, *[b"%d" % number for number in range(5)])
        handler.end_turn()
        handler.end_turn()
        assert [len(received(member)) for member in members] == [3, 3]

    def test_bytes(self, a: Channel):
        """A large message goes alone, and several only if they fit together."""
        handler = HubHandler(write_bytes=1000)
        member = handler.open(a)
        sizes = [400, 400, 400, 5000, 10]
        deliver(handler, a, *[b"x" * size for size in sizes])
        handler.rest()
        assert list(map(len, received(member))) == sizes
        writes = [[len(t) for _, t in server_frames(w)] for w in transport_of(member).writes]
        assert writes == [[400, 400], [400], [5000], [10]]

    def test_order_over_rooms(self, a: Channel, b: Channel):
        """Who is in several rooms gets what has to wait for a write of its own in order too."""
        handler = HubHandler(write_messages=2)
        both, one = handler.open(a, b), handler.open(a)
        for number in range(9):
            deliver(handler, b if number == 5 else a, b"%d" % number)
        handler.end_turn()
        assert received(both) == [b"%d" % number for number in range(9)]
        assert received(one) == [b"0", b"1"]
        handler.rest()
        assert received(one) == [b"%d" % number for number in range(9) if number != 5]
        assert received(both) == [b"%d" % number for number in range(9)]

    def test_it_is_behind(self, a: Channel, b: Channel):
        """A room with more than one write takes is behind, others are not."""
        handler = HubHandler(write_messages=2)
        handler.open(a), handler.open(b)
        deliver(handler, a, b"1", b"2", b"3", b"4", b"5")
        deliver(handler, b, b"1")
        handler.end_turn()
        deliver(handler, b, b"2")
        assert handler.hub.is_behind(a)
        assert not handler.hub.is_behind(b)
        handler.rest()
        assert not handler.hub.is_behind(a)
