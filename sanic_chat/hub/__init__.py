"""The members of each channel on this pod, and one delivery to all of them.

    deliver ─→ hub ─→ channel (members, pending frames) ─→ fanout ─→ write

Synchronous, so that join, leave and deliver are atomic. Must not know JSON, Redis, nor asyncio
beyond the `call_soon` that it is given. A member is anything with the attributes of
`channel.Member`.
"""
