"""Members that are behind: what is kept for them, and when it is too much."""

from __future__ import annotations

import pytest

from sanic_chat.hub.channel import Channel
from sanic_chat.session.inbound import State
from sanic_chat.session.session import Session
from sanic_chat.websocket.frames import CLOSE, TEXT, CloseCode

from ..support.frames import server_frames
from ..support.hub import HubHandler, deliver
from ..support.transports import received, transport_of


class TestSlowConsumers:
    def test_only_the_slow_one_is_closed(self, handler: HubHandler, a: Channel):
        """A full queue closes its session with 1013, and the others get everything."""
        fast, slow = handler.open(a), handler.open(a, stalled=True)
        for number in range(5):
            deliver(handler, a, b"%d" % number)
            handler.end_turn()
        assert slow.state is State.CLOSING
        assert handler.dropped == {"slow_consumer": 5}
        assert a.members.keys() == handler.hub.everyone.members.keys() == {fast}
        deliver(handler, a, b"5")
        handler.end_turn()
        assert received(fast) == [b"%d" % number for number in range(6)]
        transport_of(slow).resume()
        frames = server_frames(b"".join(transport_of(slow).writes))
        assert [opcode for opcode, _ in frames] == [TEXT, CLOSE]
        assert int.from_bytes(frames[1][1][:2], "big") == CloseCode.TRY_AGAIN_LATER

    def test_a_turn_with_too_much(self, handler: HubHandler, a: Channel):
        """One turn with more messages than the queue holds closes the slow one as well."""
        slow = handler.open(a, stalled=True)
        deliver(handler, a, *[b"x"] * 5)
        handler.end_turn()
        assert slow.state is State.CLOSING
        assert handler.dropped == {"slow_consumer": 5}
        assert handler.gone == [a]

    def test_a_queue_of_a_muted_sender(self, handler: HubHandler, a: Channel):
        """A muted sender's own messages take no place in its queue."""
        slow = handler.open(a, echo=False, stalled=True)
        deliver(handler, a, *[b"mine"] * 10, sender=slow)
        deliver(handler, a, *[b"x"] * 4)
        handler.end_turn()
        assert slow.state is State.OPEN
        deliver(handler, a, b"mine", sender=slow)
        deliver(handler, a, b"x")
        handler.end_turn()
        assert slow.state is State.CLOSING

    def test_a_queue_is_flushed_in_order(self, handler: HubHandler, a: Channel):
        """What waited and what comes afterwards keep their order."""
        slow = handler.open(a, stalled=True)
        deliver(handler, a, b"1")
        handler.end_turn()
        deliver(handler, handler.hub.everyone, b"2")
        handler.end_turn()
        transport_of(slow).resume()
        deliver(handler, a, b"3")
        handler.end_turn()
        assert received(slow) == [b"in the transport", b"1", b"2", b"3"]

    def test_several_at_once(self, handler: HubHandler, a: Channel, b: Channel):
        """Several slow sessions in several rooms are closed in one turn, each once."""
        slow = [handler.open(a, b, stalled=True) for _ in range(3)]
        fast = handler.open(a, b)
        deliver(handler, a, *[b"x"] * 5)
        deliver(handler, b, *[b"y"] * 5)
        handler.end_turn()
        assert sorted(map(id, (session for _, session in handler.ends))) == sorted(map(id, slow))
        assert received(fast) == [b"x"] * 5 + [b"y"] * 5

    def test_a_slow_session_that_joins(self, handler: HubHandler, a: Channel, b: Channel):
        """Joining closes nobody; who overflows in that turn is in no room afterwards."""
        slow = handler.open(a, stalled=True)
        fast = handler.open(b)
        deliver(handler, a, *[b"x"] * 5)
        assert handler.hub.join(slow, b)
        assert slow.state is State.OPEN
        handler.end_turn()
        assert slow.state is State.CLOSING
        assert b.members.keys() == {fast}
        assert slow.channels == ()
        assert handler.gone == [a]
        assert not handler.hub.join(slow, b), "it was removed"
        deliver(handler, b, b"1")
        handler.end_turn()
        assert received(fast) == [b"1"]


class TestDropOldest:
    """Slow consumers that lose their oldest messages."""

    @pytest.fixture
    def handler(self) -> HubHandler:
        return HubHandler(send_queue_messages=4, drop_oldest=True)

    def test_the_slow_one_stays(self, handler: HubHandler, a: Channel):
        """The slow one gets the newest messages and, where others are missing, how many."""
        fast = handler.open(a)
        slow = handler.open(a, stalled=True, system_events=True)
        for number in range(9):
            deliver(handler, a, b"%d" % number)
            handler.end_turn()
        assert slow.state is State.OPEN
        assert handler.dropped == {"slow_consumer": 5}
        transport_of(slow).resume()
        deliver(handler, a, b"9")
        handler.end_turn()
        assert received(fast) == [b"%d" % number for number in range(10)]
        assert received(slow) == [
            b"in the transport", b"gap a slow 5", b"5", b"6", b"7", b"8", b"9",
        ]  # fmt: skip

    def test_a_turn_with_too_much(self, handler: HubHandler, a: Channel, b: Channel):
        """Of a turn with more messages than the queue holds the last ones are kept."""
        slow = handler.open(a, b, stalled=True, system_events=True)
        deliver(handler, b, b"old")
        deliver(handler, a, *[b"%d" % number for number in range(6)])
        handler.end_turn()
        transport_of(slow).resume()
        assert received(slow)[1:] == [
            b"gap b slow 1", b"gap a slow 2", b"2", b"3", b"4", b"5",
        ]  # fmt: skip

    def test_a_close_comes_after_what_is_left(self, handler: HubHandler, a: Channel):
        """An orderly close sends the gap, what is still queued, and then the close frame."""
        slow = handler.open(a, stalled=True, system_events=True)
        for number in range(6):
            deliver(handler, a, b"%d" % number)
            handler.end_turn()
        slow.close(CloseCode.GOING_AWAY)
        transport_of(slow).resume()
        assert received(slow)[1:] == [b"gap a slow 2", b"2", b"3", b"4", b"5"]
        frames = server_frames(b"".join(transport_of(slow).writes))
        assert frames[-1] == (CLOSE, (1001).to_bytes(2, "big"))


class TestOverload:
    """All send queues together hold more than they may."""

    TEXT = b"x" * 10_000

    @pytest.fixture
    def handler(self, drop_oldest: bool) -> HubHandler:
        return HubHandler(send_queue_total_bytes=100_000, drop_oldest=drop_oldest)

    def overload(self, handler: HubHandler, a: Channel, b: Channel) -> tuple[Session, Session]:
        """Two slow consumers, the first of which is the slower one by far."""
        fat = handler.open(a, stalled=True, system_events=True)
        thin = handler.open(b, stalled=True, system_events=True)
        for _ in range(8):
            deliver(handler, a, self.TEXT)
        deliver(handler, b, self.TEXT)
        handler.rest()
        assert (fat.state, thin.state) == (State.OPEN, State.OPEN)
        deliver(handler, b, self.TEXT)
        handler.rest()
        return fat, thin

    @pytest.mark.parametrize("drop_oldest", [False])
    def test_the_fattest_is_closed(self, handler: HubHandler, a: Channel, b: Channel):
        """The client with the most waiting for it is closed with 1013, and says why."""
        fat, thin = self.overload(handler, a, b)
        assert (fat.state, thin.state) == (State.CLOSING, State.OPEN)
        assert handler.dropped == {"overload": 8}
        transport_of(fat).resume()
        assert received(fat) == [b"in the transport"]
        opcode, payload = server_frames(b"".join(transport_of(fat).writes))[-1]
        assert (opcode, int.from_bytes(payload[:2], "big")) == (CLOSE, 1013)
        assert payload[2:].startswith(b"overload")
        transport_of(thin).resume()
        assert received(thin) == [b"in the transport", self.TEXT, self.TEXT]

    @pytest.mark.parametrize("drop_oldest", [True])
    def test_the_fattest_loses_its_queue(self, handler: HubHandler, a: Channel, b: Channel):
        """The client with the most waiting for it loses that, is told so, and stays."""
        fat, thin = self.overload(handler, a, b)
        assert (fat.state, thin.state) == (State.OPEN, State.OPEN)
        assert handler.dropped == {"overload": 8}
        deliver(handler, a, b"later")
        handler.rest()
        for session in (fat, thin):
            transport_of(session).resume()
        assert received(fat) == [b"in the transport", b"gap a overload 8", b"later"]
        assert received(thin) == [b"in the transport", self.TEXT, self.TEXT]
        assert handler.send_queues.held_bytes == 0

    @pytest.mark.parametrize("drop_oldest", [True])
    def test_who_has_nothing_to_drop_is_closed(self, handler: HubHandler, a: Channel):
        """What the transport holds cannot be dropped: its client goes."""
        session = handler.open(a)
        transport_of(session).stalled = True
        deliver(handler, a, b"x" * 200_000)
        handler.rest()
        assert session.state is State.CLOSING
        assert len(handler.send_queues) == 0

    @pytest.mark.parametrize("drop_oldest", [False, True])
    def test_a_room_full_of_slow_ones(self, handler: HubHandler, a: Channel):
        """The same messages in many queues are no overload: they are in memory once."""
        slow = [handler.open(a, stalled=True) for _ in range(50)]
        deliver(handler, a, *[self.TEXT] * 5)
        handler.rest()
        for session in slow:
            assert session.state is State.OPEN
            transport_of(session).resume()
            assert len(received(session)) == 6
        assert handler.dropped == {}

    @pytest.mark.parametrize("drop_oldest", [False, True])
    def test_stalled_while_it_closes(self, handler: HubHandler, a: Channel, b: Channel):
        """A client whose socket is full with the first of what its close sends gets the rest."""
        session = handler.open(a, b)
        deliver(handler, a, b"1")
        deliver(handler, b, b"2")
        transport_of(session).stalled = True
        handler.hub.catch_up(session)
        session.close(CloseCode.GOING_AWAY)
        assert len(handler.send_queues) == 0
        transport_of(session).resume()
        assert received(session) == [b"1", b"2"]
        frames = server_frames(b"".join(transport_of(session).writes))
        assert frames[-1] == (CLOSE, (1001).to_bytes(2, "big"))
