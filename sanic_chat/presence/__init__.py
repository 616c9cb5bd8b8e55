"""Presence: joins and leaves of a room, told to the sessions that asked for it, on all pods.

Joins and leaves are gathered for a while, and published on a channel of the room's own. Must not
know who listens.
"""
