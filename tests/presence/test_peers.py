"""Other pods: which are living, what is doubted of them, and when they are forgotten."""

from __future__ import annotations

import pytest

from sanic_chat.presence import peers as module
from sanic_chat.presence.peers import (
    FORGET_BEATS,
    QUIET_BEATS,
    SKIPPED_BEATS,
    Peer,
    Peers,
)


def heard(peers: Peers, pod_id: str) -> Peer:
    peer = peers.heard(pod_id, 0.0)
    assert peer is not None
    return peer


def living(peers: Peers) -> list[str]:
    return [pod_id for pod_id, _ in peers.living()]


def test_silence() -> None:
    """A pod is silent after five beats without a word, is told of once, and not doubted then."""
    peers = Peers()
    quiet = heard(peers, "quiet")
    peers.doubt(quiet, ["a"])
    for _ in range(QUIET_BEATS):
        heard(peers, "loud")
        assert peers.beat() == ([], [])
    heard(peers, "loud")
    assert peers.beat() == ([quiet], [])
    assert peers.beat() == ([], [])
    assert living(peers) == ["loud"]
    assert (peers.doubted(), len(peers)) == (set(), 2)


def test_coming_back() -> None:
    """A pod that was silent is living again, and the number of its stream is not known."""
    peers = Peers()
    heard(peers, "a").n = 7
    for _ in range(QUIET_BEATS + 1):
        peers.beat()
    assert living(peers) == []
    assert heard(peers, "a").n is None
    assert living(peers) == ["a"]


def test_after_an_outage() -> None:
    """Some beats do not count, and those before it neither."""
    peers = Peers()
    heard(peers, "a")
    for _ in range(QUIET_BEATS):
        peers.beat()
    peers.skip_beats()
    for _ in range(SKIPPED_BEATS + QUIET_BEATS):
        assert peers.beat() == ([], [])
    assert peers.beat()[0] != []


def test_forgetting() -> None:
    """A silent pod watches for ten minutes more; then another one may have its bit."""
    peers = Peers()
    gone = heard(peers, "gone")
    gone.watching = True
    for _ in range(FORGET_BEATS):
        _, forgotten = peers.beat()
        assert forgotten == []
    assert peers.are_watching()
    assert peers.beat() == ([], ["gone"])
    assert not peers.are_watching()
    assert len(peers) == 0
    assert heard(peers, "new").bit == gone.bit


def test_bits() -> None:
    """Each pod has one of its own, and none of them is the view's."""
    peers = Peers()
    bits = [heard(peers, pod_id).bit for pod_id in "abcdef"]
    assert sum(bits) & 0b11 == 0
    assert len({bit.bit_length() for bit in bits}) == 6
    assert all(bit.bit_count() == 1 for bit in bits)


def test_goodbyes() -> None:
    """A pod that has said goodbye is listened to no more; only so many are remembered."""
    peers = Peers()
    peer = heard(peers, "a")
    assert peers.goodbye("a") is peer
    assert peers.goodbye("never heard") is None
    assert peers.heard("a", 0.0) is peers.heard("never heard", 0.0) is None
    for number in range(module.REMEMBERED_GOODBYES):
        peers.goodbye(f"pod {number}")
    assert heard(peers, "a") is not peer


def test_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """More pods than can be are ignored."""
    monkeypatch.setattr(module, "MAX_PEERS", 2)
    peers = Peers()
    for pod_id in "ab":
        heard(peers, pod_id)
    assert peers.heard("c", 0.0) is None
    assert living(peers) == ["a", "b"]


def test_doubts() -> None:
    """An answer settles those that were there before its request, and no others."""
    peers = Peers()
    peer, other = heard(peers, "a"), heard(peers, "b")
    peers.doubt(peer, ["x", "y"])
    request = peers.next_request()
    peers.doubt(peer, ["y"])
    peers.doubt(other, ["z"])
    assert peers.doubted() == {"x", "y", "z"}
    peers.settle(peer, ["x", "y", "z"], request)
    assert (list(peer.doubts), list(peer.to_ask)) == (["y"], ["y"])
    peers.settle(peer, ["x", "y"], peers.next_request())
    assert peers.doubted() == {"z"}
    peers.trust(other, "z")
    peers.trust(other, "z")
    assert (peers.doubted(), other.to_ask) == (set(), {})
