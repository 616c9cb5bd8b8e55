"""Other pods: which are heard, what is doubted of them, and when they are forgotten."""

from __future__ import annotations

import pytest

from sanic_chat.presence import peers as module
from sanic_chat.presence.peers import (
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
    """A pod is forgotten after five beats without a word: it watches nothing, nor is doubted."""
    peers = Peers()
    quiet = heard(peers, "quiet")
    quiet.watching = True
    peers.doubt(quiet, ["a"])
    for _ in range(QUIET_BEATS):
        heard(peers, "loud")
        assert peers.beat() == {}
    assert peers.are_watching()
    heard(peers, "loud")
    assert peers.beat() == {"quiet": quiet}
    assert peers.beat() == {}
    assert living(peers) == ["loud"]
    assert (peers.doubted(), len(peers), peers.are_watching()) == (set(), 1, False)


def test_coming_back() -> None:
    """Of a pod that was forgotten nothing is known; none comes back before any was."""
    peers = Peers()
    peer = heard(peers, "a")
    peer.n = 7
    assert not peer.may_return
    for _ in range(QUIET_BEATS + 1):
        peers.beat()
    assert living(peers) == []
    again = heard(peers, "a")
    assert (again.n, again.may_return, again.watching) == (None, True, False)
    assert living(peers) == ["a"]


def test_after_an_outage() -> None:
    """Some beats do not count, and those before it neither."""
    peers = Peers()
    heard(peers, "a")
    for _ in range(QUIET_BEATS):
        peers.beat()
    peers.skip_beats()
    for _ in range(SKIPPED_BEATS + QUIET_BEATS):
        assert peers.beat() == {}
    assert list(peers.beat()) == ["a"]


def test_bits() -> None:
    """Each pod has one of its own, the smallest that is free, and none of them is the view's."""
    peers = Peers()
    assert [heard(peers, pod_id).bit for pod_id in "abcd"] == [4, 8, 16, 32]
    for pod_id in "cab":
        peers.goodbye(pod_id)
    assert [heard(peers, pod_id).bit for pod_id in "efgh"] == [4, 8, 16, 64]


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
    """More pods than can be are ignored, until those are forgotten that were heard but once."""
    monkeypatch.setattr(module, "MAX_PEERS", 3)
    peers = Peers()
    for pod_id in ("invented 1", "invented 2", "a"):
        heard(peers, pod_id)
    for _ in range(QUIET_BEATS + 1):
        assert peers.heard("b", 0.0) is None
        heard(peers, "a")
        peers.beat()
    assert heard(peers, "b").bit < heard(peers, "a").bit
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
