"""What servers say of their role, and which of them a pod has no use for."""

from __future__ import annotations

import pytest

from sanic_chat.broker.role import REPLICA, SENTINEL, is_in_a_cluster, why_wrong


@pytest.mark.parametrize(
    ("reply", "is_wrong"),
    [
        ([b"master", 0, []], False),
        ([b"slave", b"10.0.0.1", 6379, b"connected", 0], True),
        ([b"sentinel", [b"chat"]], True),
        ([b"server", b"redis", b"mode", b"standalone", b"role", b"master"], False),
        ([b"server", b"redis", b"mode", b"standalone", b"role", b"replica"], True),
        ([b"server", b"redis", b"mode", b"cluster", b"role", b"replica"], False),
        ([b"server", b"redis", b"mode", b"sentinel", b"modules", []], True),
        ([[b"mode"], [b"role"], b"role"], False),
        ([], False),
        (b"OK", False),
        (None, False),
        (7, False),
    ],
)
def test_why_wrong(reply, is_wrong):
    """What servers say of themselves; what cannot be understood says nothing."""
    assert bool(why_wrong(reply)) == is_wrong


def test_it_is_said_what_is_wrong() -> None:
    """A replica and a Sentinel are told apart; a node of a Cluster is neither."""
    assert why_wrong([b"slave", b"10.0.0.1", 6379, b"connected", 0]) == REPLICA
    assert why_wrong([b"sentinel", [b"chat"]]) == SENTINEL
    assert is_in_a_cluster([b"server", b"redis", b"mode", b"cluster"])
    assert not is_in_a_cluster([b"server", b"redis", b"mode", b"standalone"])
    assert not is_in_a_cluster(b"OK")
