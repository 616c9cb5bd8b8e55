"""The listener: what other pods say of their members, put together to views of watched rooms.

    stream, canary, parts ─→ peers (whom to believe) ─→ views
                                └─→ doubts ─→ (each window) wants

May live here: what follows from a word, from a missing one, and from silence. Must not know who is
told of a view.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import or_

from ..protocol.presence import (
    ENVELOPE_BYTES,
    MAX_WORDS_BYTES,
    Canary,
    Member,
    Part,
    Parts,
    Stream,
    Want,
    encode,
)
from .holds import LOST_SECONDS, SETTLE_SECONDS, Hold
from .peers import QUIET_BEATS, Peer, Peers
from .speaker import SendTo, Speaker
from .view import OWN, View


class Listener:
    """The views of the rooms that this pod watches.

    All that a pod says arrives in its order, so a part is true as of the stream envelope before it.
    A request is repeated after `beat` seconds without an answer.
    """

    def __init__(self, pod_id: str, speaker: Speaker, send_to: SendTo, *, beat: float) -> None:
        self.views: dict[str, View] = {}
        """The rooms that are watched here."""
        self.peers = Peers()
        self.touched: set[str] = set()
        """The rooms whose view may have changed; whoever looks at one discards it."""
        self.rebuilt: set[str] = set()
        """Those of them of which a pod's whole part was replaced."""
        self._pod_id = pod_id
        self._speaker = speaker
        self._send_to = send_to
        self._beat_seconds = beat

    # -- watching --------------------------------------------------------------------------

    def watch(self, room: str, now: float) -> View:
        """Begin to watch a room: all pods are asked for their parts with the next stream."""
        view = self.views[room] = View()
        view.change(OWN, self._speaker.watch(room, now), now)
        self.touched.add(room)
        for _, peer in self.peers.living():
            self.peers.doubt(peer, (room,))
            del peer.to_ask[room]  # the stream asks
            peer.ask_again_at = max(peer.ask_again_at, now + self._beat_seconds)
        return view

    def unwatch(self, room: str) -> None:
        """Watch a room no more."""
        del self.views[room]
        self.touched.discard(room)
        self.rebuilt.discard(room)
        for _, peer in self.peers.living():
            self.peers.trust(peer, room)
        self._speaker.unwatch(room)

    def own_changed(self, room: str, members: list[Member], now: float) -> None:
        """Take in what has changed on this pod."""
        self._change(room, OWN, members, now)

    def came(self, room: str, users: Iterable[str], now: float) -> None:
        """Note that sessions of users have come, here or elsewhere."""
        view = self.views.get(room)
        if view is not None:
            for user in users:
                view.came(user, now)

    # -- what other pods say ---------------------------------------------------------------

    def canary_received(self, pod_id: str, canary: Canary, now: float) -> None:
        """Take the number of a pod's last stream envelope: is one missing here?"""
        peer = self._heard(pod_id, canary.n, canary.n, now)
        if peer is not None:
            self._is_watching(pod_id, peer, canary.watching)

    def stream_received(self, pod_id: str, stream: Stream, now: float) -> None:
        """Take what a pod says to all."""
        peer = self._heard(pod_id, stream.n - 1, stream.n, now)
        if peer is None:
            return
        self._speaker.unwatched_by(pod_id, stream.unwatch)
        self._is_watching(pod_id, peer, stream.watching)
        self._speaker.wanted_by(pod_id, stream.watch, stream.req)
        self.peers.doubt(peer, [room for room in stream.first if room in self.views])
        if self._pod_id in stream.forgot:
            self.peers.doubt(peer, self.views)
        self._speaker.came_elsewhere(stream.came)
        for room, users in stream.came.items():
            self.came(room, users, now)
        for room, part in stream.changes.items():
            if stream.leaving:
                self._adopt(peer, room, part, now)
            else:
                self._change(room, peer.bit, part, now)

    def goodbye_received(self, pod_id: str, now: float) -> None:
        """Take a pod off all views: it has no members any more, and says nothing more."""
        peer = self.peers.goodbye(pod_id)
        if peer is not None:
            self._remove((peer,), Hold(now + LOST_SECONDS, "lost"))
            self._speaker.forget((pod_id,))

    def want_received(self, pod_id: str, want: Want, now: float) -> None:
        """Take a pod's request."""
        peer = self.peers.heard(pod_id, now)
        if peer is not None:
            self._is_watching(pod_id, peer, True)
            self._speaker.wanted_by(pod_id, want.rooms, want.req)

    def parts_received(self, pod_id: str, parts: Parts, now: float) -> None:
        """Take a pod's answer."""
        peer = self._heard(pod_id, parts.n, parts.n, now)
        if peer is None:
            return
        peer.ask_again_at = now + self._beat_seconds
        self.peers.settle(peer, parts.rooms, parts.req)
        for room, part in parts.rooms.items():
            view = self.views.get(room)
            if view is not None:
                view.replace(peer.bit, part, now)
                self.touched.add(room)
                self.rebuilt.add(room)

    def _heard(self, pod_id: str, expected: int, n: int, now: float) -> Peer | None:
        """Note that a pod has said what follows number `expected` of its stream, and makes it `n`.

        Returns None if that is to be ignored: what was said on an old connection may come after
        what was said on the new one, and is known to be missing by then.
        """
        peer = self.peers.heard(pod_id, now)
        if peer is None or (peer.n is not None and expected < peer.n):
            return None
        if peer.n != expected:
            self.peers.doubt(peer, self.views)
        peer.n = n
        return peer

    def _is_watching(self, pod_id: str, peer: Peer, watching: bool) -> None:
        if peer.watching and not watching:
            self._speaker.forget((pod_id,))  # be it that an `unwatch` was lost
        elif peer.may_return and watching:
            self._speaker.has_forgotten(pod_id)
        peer.may_return = False
        peer.watching = watching

    def _change(self, room: str, bit: int, part: Part, now: float) -> None:
        view = self.views.get(room)
        if view is not None:
            view.change(bit, part, now)
            self.touched.add(room)

    def _adopt(self, peer: Peer, room: str, part: Part, now: float) -> None:
        """Hold for others whom a pod holds that leaves.

        A view has heard of the hold before, if all is well, and of who has come back since.
        """
        view = self.views.get(room)
        for member in part if isinstance(part, list) else ():
            hold: Hold | None = Hold(now + member.hold_ms / 1000, member.reason)
            if view is not None:
                if room in peer.doubts or view.is_on(member.user, peer.bit):
                    self._change(room, peer.bit, [member], now)
                hold = view.holds.get(member.user)
            if hold is not None:
                self._speaker.adopt(room, member.user, hold)

    # -- time ------------------------------------------------------------------------------

    def beat(self, now: float) -> None:
        """Count a beat: this pod has heard all that was said before."""
        silent = self.peers.beat()
        if not silent:
            return
        seconds = LOST_SECONDS - QUIET_BEATS * self._beat_seconds  # since it was last heard
        until = now + max(seconds, SETTLE_SECONDS)
        self._remove(silent.values(), Hold(until, "lost"))
        for room in {room for peer in silent.values() for room in peer.doubts}:
            self.views[room].holds.extend(until)  # who is held there may be on one of them
        self._speaker.forget(silent)

    def doubt_all(self) -> None:
        """Doubt everything: other pods' words may have been missed."""
        for _, peer in self.peers.living():
            self.peers.doubt(peer, self.views)

    def _remove(self, peers: Iterable[Peer], hold: Hold) -> None:
        bits = reduce(or_, (peer.bit for peer in peers))
        self.touched.update(room for room, view in self.views.items() if view.remove(bits, hold))

    # -- asking ----------------------------------------------------------------------------

    @property
    def has_doubts(self) -> bool:
        """Whether any pod is to be asked."""
        return any(peer.doubts for _, peer in self.peers.living())

    def flush(self, now: float, budget: int) -> None:
        """Ask pods that are doubted, with so many envelopes; the rest waits."""
        for pod_id, peer in self.peers.living():
            if peer.doubts and not peer.to_ask and peer.ask_again_at <= now:
                peer.to_ask = dict.fromkeys(peer.doubts)
            while peer.to_ask and budget > 0:
                budget -= 1
                want = Want(self.peers.next_request(), _take_chunk(peer.to_ask))
                self._send_to(pod_id, "want", encode(want))
                peer.ask_again_at = now + self._beat_seconds


def _take_chunk(rooms: dict[str, None]) -> list[str]:
    """Take as many rooms as fit into an envelope."""
    chunk: list[str] = []
    size = ENVELOPE_BYTES
    for room in rooms:
        size += len(encode(room)) + 1
        if size > MAX_WORDS_BYTES:
            break
        chunk.append(room)
    for room in chunk:
        del rooms[room]
    return chunk
