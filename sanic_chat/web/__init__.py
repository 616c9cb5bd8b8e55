"""The HTTP side: routes, pages and how errors look. Nothing here is on a message's path."""
