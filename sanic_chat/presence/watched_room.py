"""A room that sessions of this pod watch: its view, its audience, and what that was told.

    view ─→ changes ─→ roster, for who is new; changed, for all others ─→ audience

May live here: who gets a roster and who a change, and what stands in it. Must not know where the
view comes from.
"""

from __future__ import annotations

from collections.abc import Callable

from ..protocol import events
from ..protocol.presence import Reason
from .audience import Audience
from .view import Changes, View

MAX_EVENT_BYTES = 32 * 1024
"""The JSON of one event. More changes than fit are told as a roster, which is bounded itself."""
ROSTER_CHANGES = 50
"""With more changes, after other pods were asked anew, everybody gets a roster in their place."""
PATIENCE_SECONDS = 1.0
"""The time for which a newcomer waits for a roster that is complete."""

Frame = Callable[[str, bytes], bytes]
"""Makes the frame of a presence event in a room, given its JSON."""


class WatchedRoom:
    """Tells one room's audience what is in its view. `frame` makes a frame of an event's JSON."""

    __slots__ = ("_frame", "_is_complete", "_seq", "_since", "audience", "view")

    def __init__(self, view: View, audience: Audience, frame: Callable[[bytes], bytes]) -> None:
        self.view = view
        self.audience = audience
        self._frame = frame
        self._seq = 0
        self._is_complete = True  # as it was told last
        self._since: float | None = None  # the time since which newcomers wait

    def tell(
        self,
        now: float,
        *,
        heard_until: float,
        is_complete: bool,
        may_wait: bool,
        is_rebuilt: bool,
    ) -> bool:
        """Tell what is new; return whether to call this again in the next window in any case.

        `heard_until`: what other pods said till then is known, so holds that ended before are
        over. `is_complete`: nothing is known to be missing; else no hold ends. `may_wait`: that is
        worth waiting for. `is_rebuilt`: some of the view was replaced.
        """
        audience = self.audience
        audience.settle()
        changes = self.view.take_changes(
            now, heard_until=heard_until if is_complete else float("-inf")
        )
        roster_for_all = (
            changes.mode_differs
            or (is_complete and not self._is_complete)
            or (is_rebuilt and len(changes.joined) + len(changes.left) > ROSTER_CHANGES)
        )
        if changes or roster_for_all:
            self._seq += 1  # so that whoever misses it, be it a roster, notices
        if changes and not roster_for_all:
            roster_for_all = not self._tell_changes(changes)
        if not audience.newcomers.members:
            self._since = None
        elif self._since is None:
            self._since = now
        waits = (
            may_wait
            and not is_complete
            and (self._since is not None and now < self._since + PATIENCE_SECONDS)
        )
        if roster_for_all or (audience.newcomers.members and not waits):
            frame = self._frame(self._roster(is_complete))
            audience.send_roster(frame, to_newcomers=not waits, to_watchers=roster_for_all)
            self._is_complete = is_complete
            if not waits:
                self._since = None
        return bool(
            self.view.holds
            or audience.newcomers.members
            or not self._is_complete
            or audience.is_empty
        )

    def _tell_changes(self, changes: Changes) -> bool:
        """Tell those who have a roster; False if that is too much."""
        users, sessions = self.view.numbers
        is_named = self.view.is_named
        event = events.encode(
            events.Changed(
                self._seq,
                users,
                sessions,
                joined=self._members(changes.joined) if is_named else None,
                updated=self._members(changes.updated) if is_named else None,
                left=[_departed(*each) for each in changes.left] if is_named else None,
            )
        )
        if len(event) > MAX_EVENT_BYTES:
            return False
        self.audience.send_changes(self._frame(event))
        return True

    def _roster(self, is_complete: bool) -> bytes:
        users, sessions = self.view.numbers
        is_named = self.view.is_named
        members = self._members(self.view.members()) if is_named else None
        return events.encode(
            events.Roster(self._seq, users, sessions, is_named, is_complete, members)
        )

    def _members(self, users: list[str]) -> list[events.RosterMember]:
        members = []
        for user in users:
            info = self.view.info_of(user)
            members.append(events.RosterMember(user, None if info is None else info.content))
        return members


def _departed(user: str, reason: Reason) -> events.Departed:
    return events.Departed(user, "lost" if reason == "drained" else reason)
