"""Everything that travels, and nothing that moves it.

RFC 6455 on one side, the JSON of messages, commands, events and envelopes on the other; the names
of rooms and channels, IDs and timestamps. Pure functions and values: no socket, no loop, no clock
but that of `stamp`. A client library needs this room and no other.
"""
