"""The hub: the members of each channel on this pod, and the fan-out to them.

    deliver ─→ channel.pending ─┐ (end of the loop turn)
                                ├─→ a short fan-out: one write per member
                                ├─→ a long one: a FanOut, a slice per turn
                                └─→ members with frames of several channels: merged, in order

May live here: join, leave, deliver, and the order in which fan-outs get their turns. Nothing here
awaits, so each call is atomic. Must not know JSON, Redis, Sanic or asyncio beyond the `call_soon`
that it is given.

Channels are kept by their names on Redis, so an envelope finds its members with one look-up. Every
kind of channel (of a room, of a room's presence, global) is fanned out in the same way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

from .channel import Channel, Member
from .fanout import FanOut, Lost, Run, messages_in, write_to_all
from .merge import in_several, merge

CallSoon = Callable[[Callable[[], None]], Any]

SLICE_MEMBERS = 256
"""The members that a long fan-out writes to before everything else gets a turn: some 2 ms."""


class Hub:
    """The channels and sessions of one pod.

    `deliver` only notes a frame. At the end of the loop turn every member of a channel gets all
    frames of that turn in one write, of at most `write_messages` and `write_bytes` (or a single
    message); the rest waits for the next turn. `ready_messages`, if more, are written to a short
    channel whose members are all `writable`, and so have none that waits.

    A channel of more than `slice_members` is written to slice by slice, a loop turn each, while
    short fan-outs overtake it; frames that it gets meanwhile make its next fan-out.

    Each session gets its frames in the order of the calls of `deliver`, over all its channels. No
    channel is written to sooner for that.

    Slow consumers, and members at which writing raises an error, are closed one after the other
    when the turn's writing is done. The consequences of closing them (they leave channels, which is
    announced) are noted like everything else, so the stack does not grow with their number.

    `on_empty(channel)` is called when the last member has left a channel, which is then gone.
    """

    def __init__(
        self,
        *,
        call_soon: CallSoon,
        everyone: Channel,
        write_messages: int,
        write_bytes: int,
        ready_messages: int = 0,
        slice_members: int = SLICE_MEMBERS,
    ) -> None:
        self.everyone = everyone
        """The global channel: every session is a member from `add` to `remove`."""
        self.channels: dict[bytes, Channel] = {everyone.name: everyone}
        self.deliveries = 0
        """Messages handed to sessions so far."""
        self.undelivered = 0
        """Messages that sessions did not get because they were closed before that."""
        self.held_bytes = 0
        """The bytes of pending frames and fan-outs under way, about."""
        self.on_empty: Callable[[Channel], None] = _nothing
        self.call_soon = call_soon
        """Asked for each turn; may be replaced at any time."""
        self._write_messages = write_messages
        self._write_bytes = write_bytes
        self._ready_messages = ready_messages
        self._slice_members = slice_members
        self._place = 0  # of the next frame, in the order of delivery
        self._dirty: list[Channel] = []  # channels with something pending
        self._fan_outs: list[FanOut] = []  # in the order of delivery
        self._turn_scheduled = False

    # -- coming and going ------------------------------------------------------------------

    def add(self, session: Member) -> None:
        """Add a session: from now on it gets global messages."""
        self._enter(session, self.everyone)

    def join(self, session: Member, channel: Channel) -> bool:
        """Make a session a member of a channel, which gets into `channels` with its first member.

        Returns whether it is a member now: False if it was removed, or never added. To join twice
        is to join once.
        """
        if session in channel.members:
            return True
        if session not in self.everyone.members:
            return False
        if session.channels:
            channel.shared += 1
            if len(session.channels) == 1:
                session.channels[0].shared += 1
        self.channels[channel.name] = channel
        session.channels += self._alone_in(channel)
        self._enter(session, channel)
        return True

    def _alone_in(self, channel: Channel) -> tuple[Channel, ...]:
        """The channels of who is in this one only: with the first member's, it takes no memory."""
        alone = (channel,)
        for first in channel.members:
            return first.channels if first.channels == alone else alone
        return alone

    def _enter(self, session: Member, channel: Channel) -> None:
        channel.members[session] = None
        if channel.pending:
            channel.skip(session)  # it came before

    def leave(self, session: Member, channel: Channel) -> None:
        """Take a session out of a channel; first it is written what was delivered there before."""
        if session in channel.members and (channel.fan_outs or channel.is_due(session)):
            self.catch_up(session)
        if session not in channel.members:
            return
        place = session.channels.index(channel)
        channels = session.channels = session.channels[:place] + session.channels[place + 1 :]
        if channels:
            channel.shared -= 1
            if len(channels) == 1:
                channels[0].shared -= 1
        self._exit(session, channel)

    def remove(self, session: Member) -> None:
        """Take a session out of all channels; it does not get what was delivered before either."""
        if self._fan_outs or self._dirty:
            self.undelivered += self._withdraw(session)
        channels, session.channels = session.channels, ()
        self.everyone.members.pop(session, None)
        if self.everyone.pending:
            self.everyone.forget(session)
        for channel in channels:
            if len(channels) > 1:
                channel.shared -= 1
            self._exit(session, channel)

    def _exit(self, session: Member, channel: Channel) -> None:
        del channel.members[session]
        if channel.pending:
            channel.forget(session)
        if not channel.members:
            self.channels.pop(channel.name, None)
            self.on_empty(channel)

    def _withdraw(self, session: Member) -> int:
        """Take back what a session was still to get; return the number of messages."""
        messages = sum(fan_out.withdraw(session) for fan_out in self._fan_outs)
        for channel in self._pending_channels(session):
            messages += channel.forget(session)
            channel.skip(session)
        return messages

    # -- delivering ------------------------------------------------------------------------

    def deliver(self, channel: Channel, frame: bytes, sender: Member | None = None) -> None:
        """Deliver a frame with one message to all members of a channel.

        It is written in this loop turn, unless the channel is a large one or has more than fits
        into a write. No session is written to or closed before this returns.

        A `sender` on this pod gets it too, unless its `echo` is off, and before all others: it is
        the likeliest to answer, and its answer then joins the next turn.
        """
        if not channel.pending:
            self._dirty.append(channel)
            if not self._turn_scheduled:
                self._turn_scheduled = True
                self.call_soon(self._turn)
        if sender is not None and sender in channel.members:
            del channel.members[sender]
            channel.members[sender] = None
            if not sender.echo:
                channel.mute(sender)
        channel.pending.append((self._place, frame))
        self._place += 1
        size = len(frame)
        channel.pending_bytes += size
        self.held_bytes += size

    def is_behind(self, channel: Channel) -> bool:
        """Whether a frame delivered to a channel now may wait for more than this loop turn."""
        return channel.fan_outs > 0 or not self._fits(channel)

    def _fits(self, channel: Channel) -> bool:
        """Whether all that is pending in a channel fits into one write."""
        return (
            len(channel.pending) <= self._write_messages
            and channel.pending_bytes <= self._write_bytes
        )

    def catch_up(self, session: Member) -> None:
        """Write to a session now everything that was delivered for it so far.

        A slow consumer is closed by that.
        """
        lost = self._serve_earlier((session,))
        channels = self._pending_channels(session)
        if channels:
            lost += self._serve({session: channels}, keeping=channels)
        self._close(lost)

    def _pending_channels(self, session: Member) -> list[Channel]:
        """The channels of a session that have something pending for it."""
        if len(self._dirty) <= len(session.channels):
            return [c for c in self._dirty if session in c.members and c.is_due(session)]
        channels = [c for c in session.channels if c.pending and c.is_due(session)]
        everyone = self.everyone
        if everyone.pending and session in everyone.members and everyone.is_due(session):
            channels.append(everyone)
        return channels

    @property
    def delivered(self) -> int:
        """The frames delivered to channels so far."""
        return self._place

    # -- the end of a loop turn ------------------------------------------------------------

    def _turn(self) -> None:
        self._turn_scheduled = False
        lost = self._write_pending() if self._dirty else []
        budget = self._slice_members
        while self._fan_outs and budget > 0:
            fan_out = self._fan_outs[0]
            waiting = len(fan_out.waiting)
            lost += fan_out.write(budget)
            budget -= waiting
            if not fan_out.waiting:
                self._finish(self._fan_outs.pop(0))
        if (self._fan_outs or self._dirty) and not self._turn_scheduled:
            self._turn_scheduled = True
            self.call_soon(self._turn)
        if lost:
            self._close(lost)

    def _write_pending(self) -> list[Lost]:
        """Write what is pending, or make long fan-outs of it; return the members to be closed."""
        ready, self._dirty = self._dirty, []
        if self._fan_outs:
            gathering = {channel for channel in ready if self._gathers(channel)}
            self._dirty = [channel for channel in ready if channel in gathering]
            ready = [channel for channel in ready if channel not in gathering]
        several: dict[Member, list[Channel]] = {}
        if len(ready) > 1 or self._dirty:
            several = in_several(ready, self._dirty, self.everyone)
        lost: list[Lost] = []
        if several:
            keeping = {channel for channel in ready if not self._fits(channel)}.union(self._dirty)
            lost += self._serve(several, keeping=keeping)
        for channel in ready:
            frames = channel.take(self._write_messages, self._write_bytes)
            if channel.pending and self._may_take_more(channel, frames):
                frames += channel.take(self._ready_messages - len(frames), self._write_bytes)
            messages = len(frames)
            joined = frames[0] if messages == 1 else b"".join(frames)
            self.held_bytes -= len(joined)
            members = channel.members
            if several or channel.served or channel.muted:
                members, late = self._write_exceptions(channel, frames, several)
                lost += late
            if channel.pending:
                self._dirty.append(channel)
            lost += self._write(members, joined, [(joined, messages, channel)])
        return lost

    def _may_take_more(self, channel: Channel, frames: list[bytes]) -> bool:
        """Whether more than `frames`, taken from a short channel, fit into all its members."""
        return (
            len(channel.members) <= self._slice_members
            and len(frames) < self._ready_messages
            and sum(map(len, frames)) + channel.pending_bytes <= self._write_bytes
            and all(member.writable for member in channel.members)
        )

    def _gathers(self, channel: Channel) -> bool:
        """Whether a channel keeps its pending frames while fan-outs are under way.

        One that has a fan-out does. So does a large one whose members may wait in others too: it
        would have to take what is pending there as well, and each fan-out would become many.
        """
        if channel.fan_outs:
            return True
        if len(channel.members) <= self._slice_members:
            return False
        if self.everyone.fan_outs or self.everyone.pending:
            return True
        return channel.shared > 0 and any(
            other.shared for fan_out in self._fan_outs for other in fan_out.channels
        )

    def _serve(
        self, several: dict[Member, list[Channel]], *, keeping: Collection[Channel]
    ) -> list[Lost]:
        """Write to members all that is pending for them in their channels, in order of delivery.

        Members that get the same share the same bytes. In the channels of `keeping` the frames stay
        pending for the other members. Returns the members to be closed.
        """
        groups: dict[tuple[object, ...], list[Member]] = {}
        for member, channels in several.items():
            key: tuple[object, ...] = tuple(channels)
            for channel in channels:
                if (channel.served and member in channel.served) or member in channel.muted:
                    key += (member,)  # it gets something else than the others
                    break
            if key in groups:
                groups[key].append(member)
            else:
                groups[key] = [member]
        lost: list[Lost] = []
        for members in groups.values():
            channels = several[members[0]]
            runs = merge(channels, members[0])
            for channel in channels:
                if channel in keeping:
                    for member in members:
                        channel.skip(member)
            if runs:
                frames = b"".join([frames for frames, _, _ in runs])
                lost += self._write(dict.fromkeys(members), frames, runs)
        return lost

    def _write_exceptions(
        self, channel: Channel, frames: list[bytes], several: Collection[Member]
    ) -> tuple[dict[Member, None], list[Lost]]:
        """Write to the members with exceptions what they get of `frames`, which were just taken.

        Returns the members without exceptions, to which nothing is written yet, and those to be
        closed. Members in `several` have got everything.
        """
        lost: list[Lost] = []
        for members, rest in channel.exceptions(frames):
            late = [m for m in members if m not in several] if several else members
            if rest and late:
                joined = b"".join(rest)
                runs = [(joined, len(rest), channel)]
                lost += self._write(dict.fromkeys(late), joined, runs)
        plain = {
            member: None
            for member in channel.members
            if member not in channel.served
            and member not in channel.muted
            and member not in several
        }
        channel.forget_taken()
        return plain, lost

    def _write(self, members: dict[Member, None], frames: bytes, runs: list[Run]) -> list[Lost]:
        """Write to few members now, the last first, and to many slice by slice."""
        if len(members) > self._slice_members:
            fan_out = FanOut(members.copy(), frames, runs)
            for channel in fan_out.channels:
                channel.fan_outs += 1
            self.held_bytes += fan_out.held_bytes
            self._fan_outs.append(fan_out)
            return []
        lost = self._serve_earlier(members) if self._fan_outs else []
        late = write_to_all([*reversed(members)], frames, runs)
        messages = runs[0][1] if len(runs) == 1 else messages_in(runs)
        self.deliveries += messages * len(members)
        for member_lost in late:
            self.deliveries -= member_lost.messages
        return lost + late

    def _serve_earlier(self, members: Collection[Member]) -> list[Lost]:
        """Write to members what they still wait for in fan-outs under way."""
        lost: list[Lost] = []
        for fan_out in self._fan_outs:
            for member in [member for member in members if member in fan_out.waiting]:
                lost += fan_out.write_to(member)
        return lost

    def _finish(self, fan_out: FanOut) -> None:
        for channel in fan_out.channels:
            channel.fan_outs -= 1
        self.deliveries += fan_out.delivered
        self.held_bytes -= fan_out.held_bytes

    def _close(self, lost: list[Lost]) -> None:
        """Close members, each once. None is in a channel afterwards."""
        messages: Counter[Member] = Counter()
        errors: dict[Member, Exception] = {}
        for member, missing, error in lost:
            messages[member] += missing
            if error is not None:
                errors.setdefault(member, error)
        for member, missing in messages.items():
            missing += self._withdraw(member)
            try:
                if member in errors:
                    self.undelivered += missing
                    member.fail(errors[member])
                elif member in self.everyone.members:
                    member.overflow(missing)
                else:  # closed meanwhile
                    self.undelivered += missing
            except Exception as error:
                member.fail(error)
            finally:
                if member in self.everyone.members:
                    self.remove(member)


def _nothing(channel: Channel) -> None:
    """The default of `on_empty`."""
