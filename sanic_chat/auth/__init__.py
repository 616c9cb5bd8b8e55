"""Tokens, and the keys that they are checked with.

    a setting, a file, a URL ─→ key_sources ─→ key_refresh ─→ keys ─┐
    token ──────────────────────────────────────────────────────────┴→ auth ─→ Identity

May live here: what makes a token good, and how keys come and go. Must not know where a client has
put its token, nor what becomes of one that is refused.
"""
