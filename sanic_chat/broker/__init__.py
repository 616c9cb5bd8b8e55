"""The Redis pub/sub path, and the truth about whether it works.

    publish ─→ publisher ─→ link ─→ Redis ─→ link ─→ subscriber ─→ handler.envelope_received
                   └── proof: a canary goes the same way, once a second ──┘

`broker.Broker` is all that a pod sees of it. Below it: links that are supervised (`link`), one
socket (`connection`), the place of Redis (`endpoint`, `addresses`, `tls`), the meaning of its
errors (`refusals`, `role`), and a `client` for commands with an answer. May live here: the way to
Redis and back. Must not know anything but channels and bytes.
"""
