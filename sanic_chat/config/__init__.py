"""Every setting: its variable, default, bounds and meaning.

    environment, files ─→ environment ─→ readers (text → value) ─→ settings.Config ─→ worker
                                                       consistency ─┘

Settings are read once and handed down as values. May live here: what is allowed. Must not know what
a setting does.
"""
