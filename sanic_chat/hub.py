"""Who is in which room on this pod, and the fan-out to them.

May live here: join, leave, deliver, and in which order fan-outs get their turns. Nothing here
awaits, so each of them is atomic. Must not know JSON, Redis, Sanic or asyncio beyond the
`call_soon` it is given.

Rooms are kept by the name of their Redis channel, so what arrives there finds its members with
one look-up, and every kind of channel (rooms, presence, global) is fanned out in the same way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from .fanout import FanOut, Overflow, take_pending, write_to_all
from .room import Member, Room

CallSoon = Callable[[Callable[[], None]], Any]

SLICE_MEMBERS = 256
"""To how many members a long fan-out writes before everything else gets a turn: some 2 ms."""


class Hub:
    """The rooms and sessions of one pod.

    `deliver` only notes a frame; at the end of the loop turn every member of a room gets all
    frames of that turn in one write. A room of more than `slice_members` is written to slice by
    slice, a loop turn each, while short fan-outs overtake it; what it is given meanwhile makes its
    next fan-out. Frames reach a session in the order in which `deliver` was called, across rooms
    too.
    """

    def __init__(
        self, *, call_soon: CallSoon, everyone: Room, slice_members: int = SLICE_MEMBERS
    ) -> None:
        self.everyone = everyone
        """The global room: every session is a member, and nobody leaves it but by closing."""
        self.rooms: dict[bytes, Room] = {everyone.channel: everyone}
        self.deliveries = 0
        """Messages handed to sessions so far."""
        self.held_bytes = 0
        """Bytes that pending frames and fan-outs under way hold, about."""
        self._call_soon = call_soon
        self._slice_members = slice_members
        self._dirty: list[Room] = []  # rooms with something pending
        self._dirty_shared = False
        self._dirty_global = False
        self._fan_outs: list[FanOut] = []  # in the order of delivery
        self._turn_scheduled = False

    # -- coming and going ------------------------------------------------------------------

    def add(self, session: Member) -> None:
        """A session begins to receive global messages."""
        if self.everyone.pending:
            self.flush()  # they came before it did
        self.everyone.members[session] = None

    def join(self, session: Member, room: Room) -> bool:
        """A session begins to receive a room's messages; True if it is a member now.

        Joining twice is joining once. `room` is in `rooms`, or becomes so with this first member.
        False if the session was closed as a slow consumer meanwhile, or was never added.
        """
        if session in room.members:
            return True
        if room.pending or session.rooms:
            # What is pending came before it did; and if it may now get two rooms' frames, their
            # common order starts here.
            self.flush()
        if session not in self.everyone.members:
            return False
        if session.rooms:
            room.shared += 1
            if len(session.rooms) == 1:
                session.rooms[0].shared += 1
        self.rooms[room.channel] = room
        room.members[session] = None
        session.rooms += (room,)
        return True

    def leave(self, session: Member, room: Room) -> bool:
        """A session stops receiving a room's messages. True if the room is empty and gone now."""
        if session in room.members and (room.pending or room.fan_outs):
            self.catch_up(session)  # they are still for it
        if session not in room.members:
            return False
        del room.members[session]
        if len(session.rooms) > 1:
            room.shared -= 1
        session.rooms = tuple(other for other in session.rooms if other is not room)
        if len(session.rooms) == 1:
            session.rooms[0].shared -= 1
        if room.members:
            return False
        self.rooms.pop(room.channel, None)
        return True

    def remove(self, session: Member) -> list[Room]:
        """A session stops receiving anything; returns the rooms that are empty and gone now."""
        if self.everyone.pending or self.everyone.fan_outs:
            self.catch_up(session)
        self.everyone.members.pop(session, None)
        return [room for room in session.rooms if self.leave(session, room)]

    # -- delivering ------------------------------------------------------------------------

    def deliver(self, room: Room, frame: bytes, sender: Member | None = None) -> None:
        """Send a frame, which holds a message, to all members of a room.

        It leaves in this loop turn unless the room is a large one.

        A `sender` on this pod gets it too, unless its `echo` is off, and before all others: who
        has just spoken is the likeliest to answer, and its answer then joins the next turn.
        """
        if not room.pending:
            self._mark_dirty(room)
        if sender is not None and sender in room.members:
            del room.members[sender]
            room.members[sender] = None
            if not sender.echo:
                if room.muted is None:
                    room.muted = {}
                room.muted.setdefault(sender, set()).add(len(room.pending))
        room.pending.append(frame)
        self.held_bytes += len(frame)

    def flush(self) -> None:
        """Take what is pending as it is now, and write all of it that is short.

        Members that cannot keep up are closed. What is delivered from now on comes after it, and
        who joins from now on gets none of it.
        """
        if self._dirty:
            self._take(self._dirty, left=[])

    def catch_up(self, session: Member) -> None:
        """Write to a session now everything that was delivered for it so far."""
        self.flush()
        overflows = [o for fan_out in self._fan_outs for o in fan_out.write_to(session)]
        self._close(overflows)

    def _mark_dirty(self, room: Room) -> None:
        # Frames are joined per room, which would reorder two rooms' frames for a session that is
        # in both. Where such a session can exist, what came first is taken first.
        # Who overflows in a flush may cause more to be delivered, hence `while`.
        while self._dirty and (
            room.is_global or self._dirty_global or (room.shared and self._dirty_shared)
        ):
            self.flush()
        if room.pending:
            return  # what was delivered meanwhile has marked it already
        self._dirty.append(room)
        if room.is_global:
            self._dirty_global = True
        elif room.shared:
            self._dirty_shared = True
        self._schedule_turn()

    def _schedule_turn(self) -> None:
        if not self._turn_scheduled:
            self._turn_scheduled = True
            self._call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_scheduled = False
        ready: list[Room] = self._dirty
        busy: list[Room] = []
        if self._fan_outs:
            # A room whose last fan-out is under way gathers more for its next one.
            ready = [room for room in self._dirty if not room.fan_outs]
            busy = [room for room in self._dirty if room.fan_outs]
        self._take(ready, left=busy)
        if self._fan_outs:
            self._close(self._fan_outs[0].write(self._slice_members))
        if self._fan_outs or self._dirty:
            self._schedule_turn()

    def _take(self, rooms: list[Room], *, left: list[Room]) -> None:
        """Make fan-outs of what is pending in `rooms`, and write all that are short by now."""
        self._dirty = left
        self._dirty_global = self.everyone in left
        self._dirty_shared = any(room.shared for room in left)
        overflows: list[Overflow] = []
        for room in rooms:
            if len(room.members) > self._slice_members or room.muted or self._fan_outs:
                fan_out = FanOut(room)
                self.held_bytes += fan_out.held_bytes - fan_out.frame_bytes  # these it held before
                self._fan_outs.append(fan_out)
            else:
                overflows += self._write_at_once(room)
        long: list[FanOut] = []
        for fan_out in self._fan_outs:
            if len(fan_out.waiting) > self._slice_members:
                long.append(fan_out)
                continue
            if long:  # it overtakes them, but not for a session that is in both
                for session in tuple(fan_out.waiting):
                    for earlier in long:
                        overflows += earlier.write_to(session)
            overflows += fan_out.write(self._slice_members)
            self._finish(fan_out)
        self._fan_outs = long
        self._close(overflows)

    def _write_at_once(self, room: Room) -> list[Overflow]:
        """The whole fan-out to a room that is short, with nothing before it or of its own."""
        frames, messages = take_pending(room)
        overflows = write_to_all(reversed(room.members), frames, messages, room)
        self.deliveries += messages * (len(room.members) - len(overflows))
        self.held_bytes -= len(frames)
        return overflows

    def _finish(self, fan_out: FanOut) -> None:
        fan_out.room.fan_outs -= 1
        self.deliveries += fan_out.delivered
        self.held_bytes -= fan_out.held_bytes

    def _close(self, overflows: list[Overflow]) -> None:
        """Close slow consumers. Closing may deliver more, and changes who is in which room."""
        if not overflows:
            return
        lost: Counter[Member] = Counter()
        for session, messages in overflows:
            lost[session] += messages
        for session, messages in lost.items():
            messages += sum(fan_out.withdraw(session) for fan_out in self._fan_outs)
            session.overflow(messages)
