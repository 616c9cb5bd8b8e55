"""Bad ends of clients, in the log: who was closed for what, and how many.

May live here: which ends are bad, and what is logged of them. Must not know how a session ends.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from ..logs.logger import logger
from ..session.handler import EndedBy, Ending

SECOND = 1.0

HEARTBEAT = "heartbeat"
DISCONNECTED = "disconnected"
TOKEN = "token"
_BAD_CODES = frozenset({1002, 1003, 1007, 1008, 1009, 1013})
"""The close codes of clients that broke a rule, or did not keep up."""


def kind_of(ending: Ending) -> str | None:
    """The kind of a session's end; None if it is not bad, or not the client's fault."""
    if ending.by is EndedBy.SILENCE:
        return HEARTBEAT
    if ending.by is EndedBy.BACKEND:
        return DISCONNECTED
    is_bad = ending.by is EndedBy.SERVER and ending.code in _BAD_CODES
    return str(int(ending.code or 0)) if is_bad else None


def reason_of(ending: Ending, heartbeat_timeout: float) -> str:
    """The reason of a bad end, as a sentence."""
    if ending.by is EndedBy.SILENCE:
        return f"no sign of life for {heartbeat_timeout:g} s"
    if ending.by is EndedBy.BACKEND:
        return f"by a backend, with {ending.code} {ending.reason!r}"
    return ending.reason


class BadEnds:
    """Logs bad ends, in one line a second at most, and none uncounted.

    The first is logged at once, with what is known of it. Those that follow within a second are
    counted by their kind, and logged at its end with what is known of the last. At debug each has
    a line of its own. Kinds are close codes, `HEARTBEAT`, `TOKEN` and
    `DISCONNECTED`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._counts: Counter[str] = Counter()
        self._last: tuple[str, str, str | None, str] = "", "", None, ""
        self._timer: asyncio.TimerHandle | None = None

    def note(self, kind: str, reason: str, *, user: str | None, address: str) -> None:
        """Note the end of a client, of `user` if that is known; `reason` is a sentence of ours."""
        logger.debug("A bad end: %s (%s), user %r, address %s", kind, reason, user, address)
        self._counts[kind] += 1
        self._last = kind, reason, user, address
        if self._timer is None:
            self._log()

    def close(self) -> None:
        """Log what waits, and nothing later."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._counts:
            self._log()

    def _tick(self) -> None:
        self._timer = None
        if self._counts:
            self._log()

    def _log(self) -> None:
        kind, reason, user, address = self._last
        counts, self._counts = dict(self._counts.most_common()), Counter()
        count = sum(counts.values())
        kinds = ", ".join(f"{number} {name}" for name, number in counts.items())
        fields = {
            "event": "bad_ends",
            "counts": counts,
            "kind": kind,
            "reason": reason,
            "user": user,
            "address": address,
        }
        who = "user %(user)r, address %(address)s" if user is not None else "address %(address)s"
        what = f"%(kind)s (%(reason)s), {who}"
        text = what if count == 1 else f"{count} within a second ({kinds}); the last: {what}"
        logger.warning(f"Clients that ended badly: {text}", fields)
        self._timer = self._loop.call_later(SECOND, self._tick)
