"""The lifecycle, as backends are told of it: who comes, who goes, and which pods were lost.

    pod ─→ opened, closed ─→ Redis: the events of this pod's sessions, in order
    control.heard ─→ (a pod is silent for ten seconds) ─→ Redis: pod_lost, told by each that notices
    a start, the end of an outage, somebody who asks ─→ tell_all ─→ Redis: pod_open, all opens

Whoever listens drops what it knew of a pod when it hears `pod_open` or `pod_lost` of it. So its
table becomes right again, whatever was lost on the way.

May live here: what is told to whoever listens on Redis. Must not know who that is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from ..protocol import lifecycle as events
from ..protocol.channels import RedisNames
from ..protocol.envelope import envelope_head
from ..session.handler import Ending
from ..session.inbound import State
from ..session.session import Session
from .control import MAX_PODS, Control

LOST_SECONDS = 10.0
"""The silence after which a pod that has not said goodbye counts as lost."""

TICK_SECONDS = 1.0

STALL_SECONDS = 3.0
"""A pod that looks so late was frozen itself: it has not heard the others, and one of them may have
told that it was lost."""

PER_TURN = 128
"""The sessions that are told of before everything else gets a turn."""

PAUSE_SECONDS = 0.05
"""The wait, between turns, while Redis does not keep up."""

RETELL_SECONDS = 60.0
"""The least time between two times that all is told because Redis has refused something."""

UNTOLD = (None, b"")
"""The receipt of what is told of sessions: that of no session."""

LOST = "lost"
"""The kind of what a pod is told that was lost, and is heard again."""

Publish = Callable[[bytes, bytes, tuple[None, bytes] | None, bytes], None]
"""`Publisher.publish`."""


class Lifecycle:
    """Tells backends of the sessions of one pod, and of other pods that were lost.

    `sessions()` are those that are open, and `is_congested()` whether Redis takes no more just now.
    While `is_proven()` is false, and for `LOST_SECONDS` after that, no pod is lost.
    """

    def __init__(
        self,
        pod_id: str,
        control: Control,
        *,
        names: RedisNames,
        publish: Publish,
        sessions: Callable[[], Iterable[Session]],
        is_proven: Callable[[], bool],
        is_congested: Callable[[], bool],
    ) -> None:
        self._pod_id = pod_id
        self._control = control
        self._channel = names.lifecycle_channel
        self._publish = publish
        self._sessions = sessions
        self._is_proven = is_proven
        self._is_congested = is_congested
        self._head = envelope_head(pod_id)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._suspects: dict[str, float] = {}
        """Pods that there have been, and the moments since which they should have been heard."""
        self._lost: set[str] = set()
        self._last_tick = self._sure_since = time.monotonic()
        self._telling: asyncio.Task[None] | None = None
        self._tell_again = False
        self._is_untold = False
        self._retell_at = 0.0
        control.on_goodbye.append(self._said_goodbye)
        control.handle(LOST, lambda pod_id, content: self.tell_all())

    # -- sessions of this pod ------------------------------------------------------------------

    def opened(self, session: Session) -> None:
        """Tell that a session has opened."""
        self._tell(events.opened(session.sender, session.client_id))

    def closed(self, session: Session, ending: Ending) -> None:
        """Tell that a session has ended."""
        self._tell(events.closed(session.sender, session.client_id, ending.told_code))

    def untold(self) -> None:
        """Tell all anew, soon: something that was told of sessions has perhaps not arrived."""
        self._is_untold = True

    def tell_all(self) -> None:
        """Tell of all sessions that there are, so that whoever listens may begin anew."""
        self._is_untold = False
        self._tell_again = True
        if self._telling is None or self._telling.done():
            self._telling = self._loop.create_task(self._tell_all(), name="lifecycle")

    async def _tell_all(self) -> None:
        while self._tell_again:
            self._tell_again = False
            sessions = [*self._sessions()]
            self._tell(events.pod_opened(len(sessions)))
            for count, session in enumerate(sessions, 1):
                if session.state is State.OPEN:  # else its end was told meanwhile
                    self.opened(session)
                if count % PER_TURN == 0:
                    await asyncio.sleep(PAUSE_SECONDS if self._is_congested() else 0)
            await asyncio.sleep(TICK_SECONDS)  # the least time between two of them

    def _tell(self, event: bytes) -> None:
        self._publish(self._channel, event, UNTOLD, self._head)

    # -- other pods ----------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to look for pods that are lost."""
        self._timer = self._loop.call_later(TICK_SECONDS, self._tick)

    def close(self) -> None:
        """Look no more, and tell of no sessions."""
        if self._timer is not None:
            self._timer.cancel()
        if self._telling is not None:
            self._telling.cancel()

    def suspect(self, pod_ids: Iterable[str]) -> None:
        """Have pods that there were before count as lost, if they are not heard any more."""
        now = time.monotonic()
        self._suspects = dict.fromkeys(set(pod_ids) - {self._pod_id}, now)

    def _tick(self) -> None:
        self._timer = self._loop.call_later(TICK_SECONDS, self._tick)
        now = time.monotonic()
        was_frozen = now - self._last_tick > STALL_SECONDS
        self._last_tick = now
        is_proven = self._is_proven()
        if was_frozen or not is_proven:
            self._sure_since = now
        if was_frozen:
            self.tell_all()  # who has told that this pod was lost may be gone
        elif self._is_untold and is_proven and now >= self._retell_at:
            self._retell_at = now + RETELL_SECONDS
            self.tell_all()
        for pod_id, heard_at in {**self._suspects, **self._control.heard}.items():
            if now - max(heard_at, self._sure_since) > LOST_SECONDS:
                self._bury(pod_id, now - heard_at)
        for pod_id in self._lost & self._control.heard.keys():
            self._lost.discard(pod_id)
            self._control.send_to(pod_id, LOST, b"{}")

    def _bury(self, pod_id: str, seconds: float) -> None:
        self._said_goodbye(pod_id)
        self._control.forget(pod_id)
        if len(self._lost) < MAX_PODS:
            self._lost.add(pod_id)
        event = events.pod_lost(pod_id, silent_seconds=seconds, told_by=self._pod_id)
        self._publish(self._channel, event, None, events.OBJECT)

    def _said_goodbye(self, pod_id: str) -> None:
        self._suspects.pop(pod_id, None)
