"""Everything that travels, and nothing that moves it.

The JSON of messages, commands, events and envelopes; the names of rooms and channels, IDs and
timestamps. Pure functions and values: no socket, no frame, no loop, no clock but that of `stamp`. A
client library needs this room and no other.
"""
