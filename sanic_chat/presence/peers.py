"""The other pods, as this one hears them: their streams' numbers, their silence, and doubts.

    stream, canary ─→ heard ─→ a number is missing? ─→ doubts ─→ wants ─→ parts ─→ settled
    (each beat) ─→ nothing heard? ─→ forgotten

A doubt is a room of which a pod may have said something that was not heard here. Silence is counted
in this pod's own canaries that came back, so that one that stood still, or hears nothing, believes
nobody dead.

May live here: whom to believe, and what to ask. Must not know who is in a room.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .view import OWN, TOLD

QUIET_BEATS = 5
"""The beats without a word after which a pod is forgotten, and told of nothing any more."""
SKIPPED_BEATS = 3
"""The beats that do not count after this pod was cut off, since others may be so for longer."""
MAX_PEERS = 1000
"""The pods that are heard; more are ignored."""
REMEMBERED_GOODBYES = 1000
"""The pods that have left and are remembered, since words of theirs may still be under way."""


class Peer:
    """Another pod."""

    __slots__ = (
        "ask_again_at",
        "bit",
        "doubts",
        "heard_at",
        "may_return",
        "n",
        "quiet_beats",
        "to_ask",
        "watching",
    )

    def __init__(self, bit: int, *, may_return: bool) -> None:
        self.bit = bit
        """The bit by which views know it."""
        self.n: int | None = None
        """The number of the last stream envelope that was heard; None before the first."""
        self.watching = False
        """Whether anybody on it watches any room."""
        self.may_return = may_return
        """Whether it may have been forgotten here, and believe that it is told of what it watches;
        until it has said whether it watches anything."""
        self.heard_at = 0.0
        self.quiet_beats = 0
        self.doubts: dict[str, int] = {}
        """The rooms that are doubted, each with the first request whose answer settles it."""
        self.to_ask: dict[str, None] = {}
        """Those of them that are in no request yet."""
        self.ask_again_at = 0.0
        """The time at which to ask for all of them, if nothing is answered."""


class Peers:
    """The pods that are heard, until they say goodbye or nothing any more."""

    def __init__(self) -> None:
        self.request = 0
        """The number of this pod's last request."""
        self._peers: dict[str, Peer] = {}
        self._gone: dict[str, None] = {}
        self._bits = TOLD | OWN  # those that are taken
        self._have_forgotten = False
        self._skipped_beats = 0

    def __len__(self) -> int:
        """The number of pods that are heard."""
        return len(self._peers)

    def living(self) -> Iterator[tuple[str, Peer]]:
        """The pods that are heard, each with its ID."""
        return iter(self._peers.items())

    def are_watching(self) -> bool:
        """Whether anybody on any of them watches any room, as far as is known."""
        return any(peer.watching for peer in self._peers.values())

    def next_request(self) -> int:
        """Number a request."""
        self.request += 1
        return self.request

    # -- what is heard ---------------------------------------------------------------------

    def heard(self, pod_id: str, now: float) -> Peer | None:
        """Note that a pod was heard; None if it has said goodbye, or there are too many.

        A pod that is new, or was forgotten, has to be doubted: its `n` is None.
        """
        peer = self._peers.get(pod_id)
        if peer is None:
            if pod_id in self._gone or len(self._peers) >= MAX_PEERS:
                return None
            bit = ~self._bits & (self._bits + 1)  # the smallest that is free
            self._bits |= bit
            peer = self._peers[pod_id] = Peer(bit, may_return=self._have_forgotten)
        peer.quiet_beats = 0
        peer.heard_at = now
        return peer

    def heard_until(self, now: float) -> float:
        """The time since which some living pod has not been heard; now, if there is none."""
        return min((peer.heard_at for _, peer in self.living()), default=now)

    def goodbye(self, pod_id: str) -> Peer | None:
        """Forget a pod that leaves, and listen to it no more; return what was known of it."""
        self._gone[pod_id] = None
        if len(self._gone) > REMEMBERED_GOODBYES:
            del self._gone[next(iter(self._gone))]
        return self._forget(pod_id)

    def doubt(self, peer: Peer, rooms: Iterable[str]) -> None:
        """Doubt what a pod has said of rooms. Only requests from now on settle that."""
        for room in rooms:
            peer.doubts[room] = self.request + 1
            peer.to_ask[room] = None

    def settle(self, peer: Peer, rooms: Iterable[str], request: int) -> None:
        """End the doubts that were there before a request, which has been answered."""
        for room in rooms:
            if peer.doubts.get(room, request + 1) <= request:
                self.trust(peer, room)

    def trust(self, peer: Peer, room: str) -> None:
        """Doubt a room no more."""
        peer.doubts.pop(room, None)
        peer.to_ask.pop(room, None)

    def doubted(self) -> set[str]:
        """The rooms about which any pod is doubted."""
        return {room for _, peer in self.living() for room in peer.doubts}

    # -- beats -----------------------------------------------------------------------------

    def skip_beats(self) -> None:
        """Forget nobody for a while: this pod could not hear."""
        self._skipped_beats = SKIPPED_BEATS
        for peer in self._peers.values():
            peer.quiet_beats = 0

    def beat(self) -> dict[str, Peer]:
        """Count a beat in which this pod could hear.

        Returns the pods that are forgotten now, each with what is doubted of it.
        """
        if self._skipped_beats:
            self._skipped_beats -= 1
            return {}
        silent = {}
        for pod_id, peer in self._peers.items():
            peer.quiet_beats += 1
            if peer.quiet_beats > QUIET_BEATS:
                silent[pod_id] = peer
        for pod_id in silent:
            self._forget(pod_id)
            self._have_forgotten = True
        return silent

    def _forget(self, pod_id: str) -> Peer | None:
        peer = self._peers.pop(pod_id, None)
        if peer is not None:
            self._bits &= ~peer.bit
        return peer
