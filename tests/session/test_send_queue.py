"""Send queues by themselves: what is dropped, where gaps are told of, what all hold together."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sanic_chat.session.send_queue import (
    ENTRY_BYTES,
    FLUSH_BYTES,
    SendQueue,
)
from sanic_chat.websocket.frames import frame_size, ping_frame, text_frame

from ..support.send_queues import EVERYONE, A, B, ignore, opened, pool, push, taken
from ..support.sessions import gap_frames


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_frame_size(size: int) -> None:
    """The size of a frame is read from its header, wherever it starts."""
    frame = text_frame(b"x" * size)
    assert frame_size(frame, 0) == len(frame)
    assert frame_size(ping_frame() + frame + ping_frame(), 2) == len(frame)


class TestDropOldest:
    def test_as_many_as_needed(self) -> None:
        """The oldest messages go, no more of them than the new ones need, and are told of first."""
        queue = opened(pool())
        assert [push(queue, b"%d" % number) for number in range(4)] == [0] * 4
        assert push(queue, b"4", b"5") == 2
        assert push(queue, b"6") == 1
        assert taken(queue) == [b"gap a slow 3", b"3", b"4", b"5", b"6"]

    def test_part_of_what_came_together(self) -> None:
        """Of messages that came together the first are dropped, and the others stay."""
        queue = opened(pool())
        push(queue, b"0", b"1", b"2", b"3")
        assert push(queue, b"4") == 1
        assert push(queue, b"5") == 1
        assert taken(queue) == [b"gap a slow 2", b"2", b"3", b"4", b"5"]

    def test_as_many_bytes_as_needed(self) -> None:
        """A large message takes the place of several small ones; what is unsent counts."""
        queue = opened(pool(messages=100, bytes=1000))
        for number in range(8):
            assert push(queue, b"%d" % number * 98) == 0  # 100 bytes
        assert push(queue, b"x" * 246, unsent=100) == 2  # 250 bytes
        assert [text[:1] for text in taken(queue)] == [b"g", *b"2 3 4 5 6 7 x".split()]

    def test_what_is_the_client_s_own_stays(self) -> None:
        """Answers and pongs are not dropped, and a gap stands where its messages were."""
        queue = opened(pool(messages=6))
        push(queue, b"answer", room=None)
        push(queue, b"0")
        push(queue, b"1")
        push(queue, b"another", room=None)
        push(queue, b"2")
        push(queue, b"3")
        assert push(queue, b"third", room=None) == 1
        assert push(queue, b"4", b"5") == 2
        assert taken(queue) == [
            b"answer", b"gap a slow 2", b"another", b"gap a slow 1",
            b"3", b"third", b"4", b"5",
        ]  # fmt: skip

    def test_only_its_own(self) -> None:
        """When there is nothing to drop for it, what is the client's own does not fit."""
        queue = opened(pool(messages=2))
        assert push(queue, b"0", room=None) == 0
        assert push(queue, b"1") == 0
        assert push(queue, b"2", room=None) == 1
        assert push(queue, b"3", room=None) is None
        assert taken(queue) == [b"0", b"gap a slow 1", b"2"]

    def test_a_message_larger_than_the_queue(self) -> None:
        """What could not fit at all is dropped itself, and nothing else is for its sake."""
        queue = opened(pool(bytes=1000))
        push(queue, b"0")
        assert push(queue, b"x" * 1000) == 1
        push(queue, b"1")
        assert push(queue, b"y" * 900, unsent=200) == 1
        assert taken(queue) == [b"0", b"gap a slow 1", b"1", b"gap a slow 1"]

    def test_more_at_once_than_the_queue_holds(self) -> None:
        """Of more messages than the queue holds the last ones are kept."""
        queue = opened(pool())
        push(queue, b"old")
        assert push(queue, *[b"%d" % number for number in range(6)]) == 3
        assert taken(queue) == [b"gap a slow 3", b"2", b"3", b"4", b"5"]

    def test_gaps_of_several_rooms(self) -> None:
        """One gap per room and reason, however many messages, wherever there is nothing between."""
        queue = opened(pool(messages=3))
        for room in (A, EVERYONE, A):
            push(queue, b"old", room=room)
        assert queue.drop() == 3
        for number, room in enumerate((B, A, B, A, B)):
            push(queue, b"%d" % number, room=room)
        assert taken(queue) == [
            b"gap a overload 2", b"gap * overload 1", b"gap b slow 1", b"gap a slow 1",
            b"2", b"3", b"4",
        ]  # fmt: skip

    def test_a_gap_takes_no_place(self) -> None:
        """Gaps count neither as messages nor as bytes, and are told of with nothing behind them."""
        queue = opened(pool(messages=2))
        push(queue, b"0", b"1")
        queue.drop()
        assert (queue.bytes, queue.messages) == (0, 0)
        assert not queue.is_empty
        assert push(queue, b"2", b"3") == 0
        queue.drop()
        assert taken(queue) == [b"gap a overload 4"]
        assert queue.is_empty

    def test_who_did_not_ask_is_not_told(self) -> None:
        """Without a way to tell of gaps nothing is said of them."""
        queue = pool().open(shed=ignore)
        for number in range(6):
            push(queue, b"%d" % number)
        assert taken(queue) == [b"2", b"3", b"4", b"5"]
        push(queue, b"6")
        queue.drop()
        assert queue.is_empty


def test_disconnect() -> None:
    """Where the oldest is not to be dropped, what does not fit leaves the queue as it was."""
    queue = opened(pool(drop_oldest=False))
    assert push(queue, b"0", b"1", b"2") == 0
    assert push(queue, b"3", b"4") is None
    assert push(queue, b"3", b"4", room=None) is None
    assert push(queue, b"3") == 0
    assert queue.drop() == 0
    assert taken(queue) == [b"0", b"1", b"2", b"3"]


class TestTaking:
    def test_small_ones_are_joined(self) -> None:
        """Small messages make writes of up to `FLUSH_BYTES`; none is cut."""
        queue = opened(pool(messages=1000))
        for number in range(100):
            push(queue, b"%03d" % number * 200)
        sizes = []
        while not queue.is_empty:
            sizes.append(len(queue.take()))
        assert len(sizes) == -(-100 * 604 // FLUSH_BYTES)
        assert max(sizes) <= FLUSH_BYTES

    def test_a_large_one_is_not_copied(self) -> None:
        """What is larger than a write, and came at once, is taken as it is."""
        queue = opened(pool())
        frames = text_frame(b"x" * 2 * FLUSH_BYTES)
        for _ in range(2):
            queue.push(frames, 1, A, unsent=0)
        assert queue.take() is frames
        assert queue.take() is frames

    def test_what_was_taken_counts_until_it_is_sent(self) -> None:
        """Messages that the transport holds count against the bound, and cannot be dropped."""
        queue = opened(pool(messages=2))
        push(queue, b"0", b"1")
        frames = queue.take()
        queue.transport_holds(len(frames))
        assert queue.waiting_messages == 2
        assert push(queue, b"2", unsent=len(frames)) == 1
        queue.transport_holds(0)
        assert push(queue, b"3", b"4") == 0
        assert taken(queue) == [b"gap a slow 1", b"3", b"4"]


class Clients:
    """Queues whose clients drop what they can, or else close, as sessions do."""

    def __init__(self, *, messages: int = 1000, total: int, drop_oldest: bool = True) -> None:
        self.turn: list[Callable[[], None]] = []
        self.queues = pool(messages=messages, total=total, drop_oldest=drop_oldest, turn=self.turn)
        self.shed: list[SendQueue] = []
        self.closed: list[SendQueue] = []

    def open(self) -> SendQueue:
        queue = self.queues.open(shed=lambda: self.make_room(queue), gap_frames=gap_frames)
        return queue

    def make_room(self, queue: SendQueue) -> None:
        self.shed.append(queue)
        if not queue.drop():
            queue.close()
            self.closed.append(queue)

    def end_turn(self) -> None:
        """Let the loop turn, until nothing is to be called any more."""
        for _ in range(10):
            callbacks, self.turn[:] = self.turn[:], []
            assert len(callbacks) <= 1
            for callback in callbacks:
                callback()
        assert self.turn == []


class TestAllTogether:
    def test_the_fattest_goes_first(self) -> None:
        """Beyond the bound for all the longest queues go, and only until there is room again."""
        clients = Clients(total=100_000, drop_oldest=False)
        thin, fat, fatter = (clients.open() for _ in range(3))
        for size, client in ((1000, thin), (3000, fat), (5000, fatter)):
            for _ in range(10):
                push(client, b"x" * size)
        clients.end_turn()
        assert clients.closed == []
        for _ in range(10):
            push(thin, b"x" * 1000)
        clients.end_turn()
        assert clients.closed == [fatter]
        assert len(clients.queues) == 2

    def test_not_in_the_middle_of_a_fan_out(self) -> None:
        """Nobody is shed before the turn is over, and then nobody for what is over as well."""
        clients = Clients(total=100_000)
        one, other = clients.open(), clients.open()
        push(one, b"x" * 90_000)
        push(other, b"x" * 80_000)
        assert clients.shed == []
        taken(one)
        clients.end_turn()
        assert clients.shed == []
        push(one, b"x" * 90_000)
        clients.end_turn()
        assert clients.shed == [one]

    def test_what_transports_hold_counts(self) -> None:
        """A client may be the fattest for what is in its transport, though its queue is empty."""
        clients = Clients(total=100_000)
        first, second = clients.open(), clients.open()
        first.transport_holds(60_000)
        push(second, b"x" * 30_000)
        clients.end_turn()
        assert clients.shed == []
        push(second, b"x" * 20_000)
        clients.end_turn()
        assert (clients.shed, clients.closed) == ([first], [first])
        assert clients.queues.held_bytes < 60_000

    def test_dropping_comes_before_closing(self) -> None:
        """Who has something to drop stays, and is told; who has not is closed."""
        clients = Clients(total=100_000)
        queue = clients.open()
        push(queue, b"x" * 30_000)
        queue.transport_holds(90_000)
        clients.end_turn()
        assert (clients.shed, clients.closed) == ([queue], [])
        assert clients.queues.held_bytes == 90_000
        push(queue, b"x" * 30_000)
        queue.transport_holds(110_000)
        clients.end_turn()
        assert clients.closed == [queue]
        assert clients.queues.held_bytes == 0

    def test_the_same_bytes_count_once(self) -> None:
        """What a room got waits once in memory, and counts so, whoever has it in a queue."""
        queues = pool(total=10**6)
        frames = text_frame(b"x" * 60_000)
        clients = [opened(queues) for _ in range(100)]
        for client in clients:
            client.push(frames, 1, A, unsent=0)
        assert queues.held_bytes == len(frames) + 100 * ENTRY_BYTES
        for client in clients[1:]:
            client.take()
        assert queues.held_bytes == len(frames) + ENTRY_BYTES
        clients[0].close()
        assert queues.held_bytes == 0

    @pytest.mark.parametrize("drop_oldest", [False, True], ids=["disconnect", "drop oldest"])
    def test_many_small_messages(self, drop_oldest: bool) -> None:
        """Queues of tiny messages weigh more than these; the bound holds after every turn."""
        clients = Clients(total=200_000, drop_oldest=drop_oldest)
        queues = [clients.open() for _ in range(50)]
        for _ in range(100):
            for queue in queues:
                if queue not in clients.closed:
                    push(queue, b"x")
            clients.end_turn()
            assert clients.queues.held_bytes <= 200_000
        assert clients.shed
        assert bool(clients.closed) == (not drop_oldest)
