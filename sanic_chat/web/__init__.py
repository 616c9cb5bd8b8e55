"""The routes, the pages, and how errors look.

Nothing here is on a message's path. May live here: requests and their answers. Must not know what
the parts of a worker do inside.
"""
