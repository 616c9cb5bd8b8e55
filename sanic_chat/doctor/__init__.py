"""Checks of a deployment: each measures one thing, and says what to do about it.

    examination ─→ machine, redis_server, redis_access, subscribers, cluster, site ─→ findings
                         └──────────── certificates ────────────┘

A check is a small function of its subject that returns a Finding. May live here: what is measured,
what is well, why it matters, what mends it. Must not know how findings are shown.
"""
