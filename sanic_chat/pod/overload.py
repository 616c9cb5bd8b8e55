"""Overload by other pods: they publish faster than this pod can pass on.

    envelope for a room with a backlog ─→ hold the link, for as long as there is patience
                                   └────→ drop it, count it, and tell sessions with ?events=system

All rooms come over one link: to hold it for one delays them all, and Redis keeps what is not read
only up to a bound.

May live here: for how long the link is held, and what is told of drops. Must not know how far
behind a room is, nor what is in an envelope.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from ..hub.channel import Channel
from .backpressure import Source

PATIENCE_SECONDS = 2.0
"""The time for which the link may be held in all before envelopes are dropped instead.

The proof of delivery comes over this link too, and must not be overdue by that.
"""

REFILL = 0.1
"""The share of the time by which patience grows again."""

TELL_SECONDS = 1.0
"""The time for which drops are counted before clients are told of them."""


class PatientLink:
    """A link that is held, as a `Source`, for at most `PATIENCE_SECONDS` in all.

    `on_impatient(source)` is called when patience has run out. It is back once half of it has grown
    again. The caller notes each envelope that it drops meanwhile with `drop`, and
    `tell(channel, messages)` is called once a second for each channel.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        link: Source,
        *,
        on_impatient: Callable[[Source], None],
        tell: Callable[[Channel, int], None],
    ) -> None:
        self.dropped = 0
        """The envelopes that were dropped for want of patience."""
        self._loop = loop
        self._link = link
        self._on_impatient = on_impatient
        self._tell = tell
        self._patience = PATIENCE_SECONDS  # at the time of the last change
        self._changed_at = loop.time()
        self._has_run_out = False
        self._timer: asyncio.TimerHandle | None = None  # while it is held
        self._drops: Counter[Channel] = Counter()

    @property
    def is_patient(self) -> bool:
        """Whether the link may be held, or is."""
        if self._has_run_out and self._left() >= PATIENCE_SECONDS / 2:
            self._has_run_out = False
        return not self._has_run_out

    def _left(self) -> float:
        since = self._loop.time() - self._changed_at
        if self._timer is not None:
            return self._patience - since
        return min(PATIENCE_SECONDS, self._patience + since * REFILL)

    def hold(self) -> None:
        """Read nothing more from the link until `release`, or until patience runs out."""
        self._change(held=True)
        self._link.hold()

    def release(self) -> None:
        """Read again."""
        self._change(held=False)
        self._link.release()

    def _change(self, *, held: bool) -> None:
        left = self._left()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._patience = left
        self._changed_at = self._loop.time()
        if held:
            self._timer = self._loop.call_later(max(0.0, left), self._run_out)

    def _run_out(self) -> None:
        self._has_run_out = True
        self._on_impatient(self)

    def drop(self, channel: Channel) -> None:
        """Note that an envelope for a channel was dropped."""
        self.dropped += 1
        if not self._drops:
            self._loop.call_later(TELL_SECONDS, self._tell_all)
        self._drops[channel] += 1

    def _tell_all(self) -> None:
        drops, self._drops = self._drops, Counter()
        for channel, messages in drops.items():
            self._tell(channel, messages)
