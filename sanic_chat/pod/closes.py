"""Closes: the ended sessions of a pod, by who ended them and by close code.

    session ─→ note ─→ counts

May live here: which codes are told apart. Must not know what a code is good for: who is logged for
one is `bad_ends`' affair.
"""

from __future__ import annotations

from collections import Counter

from ..session.handler import NO_CODE, NO_FRAME, EndedBy, Ending
from ..websocket.frames import CloseCode

FIRST_OF_LIBRARIES, FIRST_OF_APPLICATIONS = 3000, 4000
"""The codes from which on a client, or a backend, may choose its own: each thousand of these counts
as one."""

OF_LIBRARIES, OF_APPLICATIONS = "3000-3999", "4000-4999"

_USUAL = (
    *((EndedBy.SERVER, str(int(code))) for code in CloseCode),
    *((EndedBy.CLIENT, str(code)) for code in (1000, 1001, NO_CODE)),
    (EndedBy.BACKEND, OF_APPLICATIONS),
    (EndedBy.SILENCE, str(NO_FRAME)),
    (EndedBy.NOBODY, str(NO_FRAME)),
)
"""The ends that are told of before there has been any."""


class Closes:
    """Counts ended sessions. Codes that clients and backends choose count together."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[EndedBy, str]] = Counter(dict.fromkeys(_USUAL, 0))

    def note(self, ending: Ending) -> None:
        """Count the end of a session."""
        self._counts[ending.by, code_of(ending)] += 1

    def counts(self) -> dict[str, dict[str, int]]:
        """The number of ended sessions, by who ended them and by code."""
        counts: dict[str, dict[str, int]] = {}
        for (by, code), number in self._counts.items():
            counts.setdefault(by.value, {})[code] = number
        return counts


def code_of(ending: Ending) -> str:
    """The code of an end, or the thousand of codes that it was chosen from."""
    code = ending.code
    if code is None:  # as `told_code`, without a call for each client that is lost
        return str(NO_CODE if ending.by is EndedBy.CLIENT else NO_FRAME)
    if ending.by in (EndedBy.CLIENT, EndedBy.BACKEND) and code >= FIRST_OF_LIBRARIES:
        return OF_APPLICATIONS if code >= FIRST_OF_APPLICATIONS else OF_LIBRARIES
    return str(int(code))
