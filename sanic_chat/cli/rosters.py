"""Rosters on the command line: who is in a room, and who comes and goes, as text.

    roster, changed ─→ take ─→ (one was missed) ─→ ask
                    └→ words ─→ a line

May live here: what is shown of each, and when to ask anew. Must not know how a server is reached.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

ASK_SECONDS = 1.5
"""The time between two rosters that are asked for; a server gives one a second."""


def is_told(message: dict[str, Any]) -> bool:
    """Whether a message is the server's, about who is in a room."""
    from ..protocol.events import RESERVED_EVENTS  # msgspec, which `--help` does not need

    data = message["data"]
    return (
        message["type"] == "presence"
        and message["from"] == "server"
        and isinstance(data, dict)
        and data.get("event") in RESERVED_EVENTS
    )


class Rosters:
    """Follows the rosters of rooms by their numbers; `ask` gets a room of which one was missed."""

    def __init__(self, ask: Callable[[str], None]) -> None:
        self._ask = ask
        self._seq: dict[str, int] = {}
        self._asked_at = -ASK_SECONDS

    def take(self, room: str, event: dict[str, Any]) -> None:
        """Take a roster, or a change, which counts only right behind what was taken last."""
        if event["event"] == "roster" or event["seq"] == self._seq.get(room, -1) + 1:
            self._seq[room] = event["seq"]
        elif time.monotonic() >= self._asked_at + ASK_SECONDS:
            self._asked_at = time.monotonic()
            self._ask(room)


def words(event: dict[str, Any]) -> str:
    """Say a roster, or what has changed: + for who has come, ~ for a new info, - for who has gone.

    It is text of clients, not printable yet.
    """
    users = f"{event['users']} user{'' if event['users'] == 1 else 's'}"
    if not event.get("exact", True):
        users = f"about {users}"
    sessions = f"{event['sessions']} session{'' if event['sessions'] == 1 else 's'}"
    missing = "" if event.get("complete", True) else ", some may be missing"
    return f"{users}, {sessions}{missing}{''.join(f' {name}' for name in _names(event))}"


def _names(event: dict[str, Any]) -> Iterator[str]:
    for key, sign in (("members", ""), ("joined", "+"), ("updated", "~")):
        for member in event.get(key) or ():
            info = f" {json.dumps(member['info'], ensure_ascii=False)}" if "info" in member else ""
            yield f"{sign}{json.dumps(member['user'], ensure_ascii=False)}{info}"
    for gone in event.get("left") or ():
        yield f"-{json.dumps(gone['user'], ensure_ascii=False)} ({gone['reason']})"
