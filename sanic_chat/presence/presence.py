"""The presence of one pod: it listens to the others, speaks to them, and tells its sessions.

    rooms ─→ joined, left, watch ─→ speaker ─→ other pods
    other pods ─→ listener ─→ views ─→ (each window) rosters and changes ─→ audiences

All of a window, of 250 ms, is told at its end, to pods and to sessions. When nobody in the cluster
has watched any room for a minute, nothing is noted and nothing is said.

May live here: the timers, and when a session is told what. Must not know what a room's messages
are, nor how words get to other pods.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from ..hub.hub import Hub
from ..protocol import presence as words
from ..protocol.channels import RedisNames
from ..session.handler import Ending
from ..session.session import Session
from .audience import Audience
from .holds import HEARSAY_SECONDS, SETTLE_SECONDS, Hold, brief_hold, hold_of
from .listener import Listener
from .speaker import MAX_ENVELOPES, Members, Send, SendTo, Speaker
from .watched_room import Frame, WatchedRoom

WINDOW_SECONDS = 0.25
"""The time in which joins and leaves are gathered."""
UNWATCH_SECONDS = 5.0
"""The time for which a room is still watched after the last session that is told of it."""
IN_USE_SECONDS = 60.0
"""The time for which joins and leaves are still noted after the last room was watched anywhere."""
UNHELD_SECONDS = 5.0
"""The end of it, in which nobody is held: on other pods it may be over, so they tell of nobody."""
ASK_SECONDS = 1.0
"""The least time between two rosters that a session asks for."""
MIN_BEAT_SECONDS = 1.0
BEAT_SHARE = 0.9
"""The share of a beat after which a canary that comes back counts as the next one."""


class PresenceStats(NamedTuple):
    """The sizes of what presence keeps at one moment."""

    watched_rooms: int
    """The rooms that sessions of this pod are told of."""
    registrations: int
    """The rooms of this pod that other pods watch, once for each pod."""
    held_users: int
    """The users that are held in rooms of this pod, or in watched ones."""
    peers: int
    """The other pods that are heard."""


class Presence:
    """Tells the sessions of one pod who is in their rooms, on all pods.

    `send` and `send_to` speak to all other pods, and to one; `prove` has a canary sent now.
    `frame(room, event)` makes the frame of an event. A beat is `beat` seconds, or one, if that is
    more: each pod says something in it.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pod_id: str,
        hub: Hub,
        names: RedisNames,
        *,
        members: Members,
        send: Send,
        send_to: SendTo,
        prove: Callable[[], None],
        frame: Frame,
        beat: float,
    ) -> None:
        self.in_use = False
        """Whether anybody in the cluster watches a room, or did so a minute ago."""
        self.draining = False
        """Whether this pod proves no more that it lives, so that beats have to say so."""
        self._loop = loop
        self._hub = hub
        self._names = names
        self._frame = frame
        self._beat_seconds = max(beat, MIN_BEAT_SECONDS)
        self._send = send
        self._send_to = send_to
        self._prove = prove
        self.speaker = Speaker(members, self._say, self._say_to, on_changed=self._own_changed)
        self.listener = Listener(pod_id, self.speaker, self._say_to, beat=self._beat_seconds)
        self._rooms: dict[str, WatchedRoom] = {}
        self._due: dict[str, None] = {}  # rooms to be looked at in the next window
        self._unwatch_at: dict[str, float] = {}
        self._reconnect_at: dict[Session, float] = {}
        self._asked_at: dict[Session, float] = {}
        self._is_cut_off = True
        self._complete_from = float("inf")
        self._used_until = 0.0
        self._beaten_at = 0.0
        self._proven_until = float("-inf")
        self._window: asyncio.TimerHandle | None = None
        self._must_speak = False
        self._waits_for_words = False  # so that holds may end
        self._beat: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Say the last words, and stop. Nobody is told anything any more."""
        if self.in_use:
            now = self._loop.time()
            peers = self.listener.peers
            self.speaker.flush(now, req=peers.next_request(), others_watch=peers.are_watching())
            self.speaker.say_goodbye(now)
        for timer in (self._window, self._beat):
            if timer is not None:
                timer.cancel()
        self.in_use = False

    def stats(self) -> PresenceStats:
        """The sizes of what is kept now."""
        holds = [each.holds for each in self.speaker.parts.values()]
        holds += [each.holds for each in self.listener.views.values()]
        return PresenceStats(
            watched_rooms=len(self.listener.views),
            registrations=sum(map(len, self.speaker.watchers.values())),
            held_users=sum(map(len, holds)),
            peers=len(self.listener.peers),
        )

    # -- what sessions do ------------------------------------------------------------------

    def joined(self, session: Session, room: str, *, is_first: bool) -> None:
        """Note that a session has joined a room; `is_first`: as its only member on this pod."""
        if self.in_use:
            self.speaker.note(room, session.user, None, is_first=is_first)
            self.listener.came(room, (session.user,), self._loop.time())
            self._wake()

    def info_changed(self, session: Session, room: str) -> None:
        """Note that a member of a room has another info."""
        if self.in_use:
            self.speaker.info_changed(room, session.user)
            self._wake()

    def left(self, session: Session, room: str, reason: words.Reason = "left") -> None:
        """Note that a session leaves a room, by its own wish or not."""
        if self.in_use:
            hold = Hold(self._loop.time() + SETTLE_SECONDS, reason)
            self.speaker.note(room, session.user, hold)
            self._wake()

    def ended(self, session: Session, rooms: list[str], ending: Ending) -> None:
        """Note that a session ends, which is in these rooms. To be called only while in use."""
        self._asked_at.pop(session, None)
        reconnect_at = self._reconnect_at.pop(session, None)
        now = self._loop.time()
        hold = hold_of(ending, now, reconnect_at)
        for room in rooms:
            is_back = reconnect_at is not None and (room, session.user) in self.speaker.returned
            self.speaker.note(room, session.user, brief_hold(now) if is_back else hold)
            if room in self._rooms:
                self._due[room] = None
        self._wake()

    def told_to_reconnect(self, session: Session, at: float) -> None:
        """Note that a session was told to come back at that time of the loop."""
        if self.in_use:
            self._reconnect_at[session] = at
            self.speaker.expect_elsewhere(session.user)

    def watch(self, session: Session, room: str) -> None:
        """Tell a session, a member of the room, who is in it, from the next window on."""
        self._watched(room).audience.add(session)

    def unwatch(self, session: Session, room: str) -> bool:
        """Tell a session no more who is in a room; return whether it would have been told."""
        watched = self._rooms.get(room)
        if watched is None:
            return False
        self._look_soon(room)
        return watched.audience.discard(session)

    def ask(self, session: Session, room: str) -> bool:
        """Give a session a roster of a room. Returns False if it has asked within a second."""
        now = self._loop.time()
        if now < self._asked_at.get(session, 0.0) + ASK_SECONDS:
            return False
        self._asked_at[session] = now
        self._watched(room).audience.ask(session)
        return True

    def _watched(self, room: str) -> WatchedRoom:
        watched = self._rooms.get(room)
        if watched is None:
            self._use()
            view = self.listener.watch(room, self._loop.time())
            audience = Audience(self._hub, self._names, room)
            watched = self._rooms[room] = WatchedRoom(view, audience, partial(self._frame, room))
        self._unwatch_at.pop(room, None)
        self._look_soon(room)
        return watched

    # -- what other pods say ---------------------------------------------------------------

    def canary_words(self) -> bytes:
        """Make what this pod's next canary says."""
        return words.encode(words.Canary(self.speaker.n, self.speaker.is_watching()))

    def canary_received(self, pod_id: str, content: bytes) -> None:
        """Take another pod's canary. Raises BadEnvelope, as the others do."""
        canary = words.read_canary(content)
        peers = len(self.listener.peers)
        self.listener.canary_received(pod_id, canary, self._loop.time())
        self._heard(canary.watching)
        if self.in_use and len(self.listener.peers) > peers:
            self._must_speak = True  # so that a pod that has just started notes who comes, too
            self._wake()

    def stream_received(self, pod_id: str, content: bytes) -> None:
        """Take what a pod says to all."""
        stream = words.read_stream(content)
        self.listener.stream_received(pod_id, stream, self._loop.time())
        self._heard(stream.watching or stream.leaving)
        if stream.in_use_ms:
            self._use(min(IN_USE_SECONDS, stream.in_use_ms / 1000))

    def goodbye_received(self, pod_id: str) -> None:
        """Note that a pod has left, and says nothing more."""
        self.listener.goodbye_received(pod_id, self._loop.time())
        self._heard(False)

    def want_received(self, pod_id: str, content: bytes) -> None:
        """Take a pod's request."""
        self.listener.want_received(pod_id, words.read_want(content), self._loop.time())
        self._heard(True)

    def parts_received(self, pod_id: str, content: bytes) -> None:
        """Take a pod's answer."""
        self.listener.parts_received(pod_id, words.read_parts(content), self._loop.time())
        self._heard(False)

    def _heard(self, watching: bool) -> None:
        if watching:
            self._use()
        if self.in_use and (
            self.listener.touched or self.listener.has_doubts or self.speaker.has_news
        ):
            self._wake()

    # -- what becomes of Redis -------------------------------------------------------------

    def could_hear(self, seconds: float) -> None:
        """Note that a canary of this pod has come back, after so many seconds.

        What other pods said before it left has been heard, unless Redis stood still: then the
        canary may be the first of all that waited there. These are the beats in which other pods
        have to be heard.
        """
        now = self._loop.time()
        self._proven_until = max(self._proven_until, now - 2 * seconds)
        if not self._is_cut_off and now >= self._beaten_at + BEAT_SHARE * self._beat_seconds:
            self._beaten_at = now
            self.listener.beat(now)
            self._heard(False)

    def cut_off(self) -> None:
        """Note that other pods are not heard for certain: nobody has left for lack of words."""
        self._is_cut_off = True

    def connected(self) -> None:
        """Note that other pods are heard again: all of them are asked anew, and ask us."""
        self._is_cut_off = False
        self._complete_from = self._loop.time() + 1.2 * self._beat_seconds
        self.listener.peers.skip_beats()
        self.listener.doubt_all()
        self.speaker.skip()
        self._due.update(dict.fromkeys(self._rooms))
        if self.in_use:
            self._wake()

    def _say(self, kind: str, content: bytes) -> None:
        if self._may_speak:  # else the others will notice that a number is missing
            self._send(kind, content)

    def _say_to(self, pod_id: str, kind: str, content: bytes) -> None:
        if self._may_speak:
            self._send_to(pod_id, kind, content)

    @property
    def _may_speak(self) -> bool:
        """Whether words get to other pods; a draining pod does not know, as it proves nothing."""
        return self.draining or not self._is_cut_off

    # -- windows ---------------------------------------------------------------------------

    def _own_changed(self, room: str, members: list[words.Member]) -> None:
        self.listener.own_changed(room, members, self._loop.time())

    def _look_soon(self, room: str) -> None:
        self._due[room] = None
        self._wake()

    def _wake(self) -> None:
        if self._window is None:
            self._window = self._loop.call_later(WINDOW_SECONDS, self._flush)

    def _flush(self) -> None:
        self._window = None
        now = self._loop.time()
        request = self.listener.peers.next_request()
        said = self.speaker.flush(
            now,
            req=request,
            others_watch=self.listener.peers.are_watching(),
            in_use_ms=max(0, round(1000 * (self._used_until - now))),
            must_speak=self._must_speak,
        )
        self._must_speak = False
        self.listener.flush(now, MAX_ENVELOPES - said)
        due, self._due = self._due | dict.fromkeys(self.listener.touched), {}
        self.listener.touched.clear()
        is_sure = not self._is_cut_off and now >= self._complete_from
        doubted = self.listener.peers.doubted() if due and is_sure else set()
        heard_until = self._heard_until(now) if due and is_sure else now
        for room in due:
            watched = self._rooms.get(room)
            if watched is not None and self._tell(
                room,
                watched,
                now,
                heard_until=heard_until,
                is_complete=is_sure and room not in doubted,
            ):
                self._due[room] = None
        self.listener.rebuilt.clear()
        if self._waits_for_words:
            self._speak_soon()
        self._unwatch(now)
        if self._due or self._unwatch_at or self.listener.has_doubts or self.speaker.has_news:
            self._wake()

    def _heard_until(self, now: float) -> float:
        """The time until which all words are known here. (A pod that drains proves nothing.)"""
        proven_until = now if self.draining else self._proven_until
        return min(proven_until, self.listener.peers.heard_until(now))

    def _tell(
        self,
        room: str,
        watched: WatchedRoom,
        now: float,
        *,
        heard_until: float,
        is_complete: bool,
    ) -> bool:
        """Tell sessions of a room; return whether to look at it again in the next window."""
        if watched.audience.is_empty:
            self._unwatch_at.setdefault(room, now + UNWATCH_SECONDS)
        looks_again = watched.tell(
            now,
            heard_until=heard_until,
            is_complete=is_complete,
            may_wait=not self._is_cut_off,
            is_rebuilt=room in self.listener.rebuilt,
        )
        if is_complete and watched.view.holds.are_over(now - HEARSAY_SECONDS):
            self._waits_for_words = True
        return looks_again

    def _speak_soon(self) -> None:
        """Have this pod heard, by itself and by others that wait for the same holds to end."""
        self._waits_for_words = False
        if self.draining:
            self._must_speak = True
        else:
            self._prove()

    def _unwatch(self, now: float) -> None:
        for room, at in list(self._unwatch_at.items()):
            if at <= now:
                del self._unwatch_at[room]
                if self._rooms[room].audience.is_empty:
                    del self._rooms[room]
                    self._due.pop(room, None)
                    self.listener.unwatch(room)

    # -- beats -----------------------------------------------------------------------------

    def _use(self, seconds: float = IN_USE_SECONDS) -> None:
        self._used_until = max(self._used_until, self._loop.time() + seconds)
        self.in_use = True
        if self._beat is None:
            self._listen_on()

    def _listen_on(self) -> None:
        self._beat = self._loop.call_later(self._beat_seconds, self._on_beat)

    def _on_beat(self) -> None:
        self._beat = None
        now = self._loop.time()
        if self.listener.views or self.listener.peers.are_watching():
            self._used_until = now + IN_USE_SECONDS
        self.in_use = now < self._used_until
        self.speaker.sweep(now if now < self._used_until - UNHELD_SECONDS else float("inf"))
        since = now - ASK_SECONDS
        self._asked_at = {session: at for session, at in self._asked_at.items() if at > since}
        if self.draining and self.listener.peers.are_watching():
            self._must_speak = True
            self._wake()
        if self.in_use or self.speaker.parts:
            self._listen_on()
