"""Error replies of Redis, and their meaning for the next attempt.

May live here: what an error's text means. Must not know connections.
"""

from __future__ import annotations


def is_withheld(error: str) -> bool:
    """Whether a command is refused for good: by the ACL, or because the server does not know it."""
    return error.startswith("NOPERM") or "unknown command" in error.lower()


def is_needed(command: str, error: str) -> bool:
    """Whether a connection is of no use if this command of its introduction is refused.

    That is so for AUTH, for a database that does not exist, and for an error that may pass by
    itself. Other commands, and SELECT if the ACL refuses it, are dispensable.
    """
    if command == "AUTH":
        return True
    if command == "SELECT":
        return not is_forbidden(error)
    return error.startswith(("NOAUTH", "BUSY", "LOADING", "MASTERDOWN", "TRYAGAIN"))


def is_forbidden(error: str) -> bool:
    """Whether the ACL refuses a command or its arguments. Any other error may pass by itself."""
    return error.startswith("NOPERM")


def is_about_the_command(error: str) -> bool:
    """Whether the ACL refuses the command itself, whatever its arguments."""
    return "command" in error
