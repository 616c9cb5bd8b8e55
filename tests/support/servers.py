"""The Redis servers that tests can be run with."""

from __future__ import annotations

import shutil

from sanic_chat.process.embedded_redis import find_server_program

PROGRAMS = list(
    dict.fromkeys(
        program
        for program in (find_server_program(), shutil.which("redis-server"))
        if program is not None
    )
)
"""The one that is embedded, and Debian's Redis if it is installed."""


def program_name(program: str) -> str:
    """For the ID of a test."""
    return program.rpartition("/")[2]
