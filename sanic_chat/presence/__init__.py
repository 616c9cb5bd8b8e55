"""Presence: joins and leaves of a room, told to the sessions that asked for it, on all pods.

Joins and leaves of all rooms are gathered for a while, and told to other pods in one stream. Must
not know how words get there.
"""
