"""The role of a server: only a primary, or a node of a Cluster, is one to publish on.

A replica passes a PUBLISH on to nobody but its own subscribers, so a pod there hears the others and
is not heard. `HELLO` tells the role whatever the ACL says, and `ROLE` where there is no HELLO. In a
Cluster every node passes everything on, so a replica is as good.

May live here: what a reply says of the role. Must not know connections.
"""

from __future__ import annotations

from .connection import Reply

HELLO = ("HELLO", "2")
ROLE = ("ROLE",)

REPLICA = "it is a replica, which passes on to no other pod what is published there"
SENTINEL = "it is a Sentinel, and no Redis: REDIS_URL must lead to the primary"

_WRONG = {
    b"slave": REPLICA,  # in ROLE
    b"replica": REPLICA,  # in HELLO
    b"sentinel": SENTINEL,
}


def why_wrong(reply: Reply) -> str:
    """The fault of a server that answered `HELLO` or `ROLE` so; empty if none is known."""
    if not isinstance(reply, list) or is_in_a_cluster(reply):
        return ""
    pairs = zip(reply[::2], reply[1::2], strict=False)
    told = reply[:1] + [value for name, value in pairs if name in (b"mode", b"role")]
    return next((wrong for word, wrong in _WRONG.items() if word in told), "")


def is_in_a_cluster(reply: Reply) -> bool:
    """Whether a server that answered `HELLO` so is a node of a Cluster. `ROLE` does not tell."""
    return isinstance(reply, list) and (b"mode", b"cluster") in zip(
        reply[::2], reply[1::2], strict=False
    )
