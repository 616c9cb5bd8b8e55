"""Time that a test lets pass, processes that may stand still, and a Redis that carries their words.

What a pod says gets to each other pod in its order, some time later, unless the test has it lost.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial
from itertools import count
from random import Random
from typing import Protocol


class Timer:
    """A callback that is due at a time."""

    __slots__ = ("_callback", "_when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self._when = when
        self._callback: Callable[[], None] | None = callback

    def when(self) -> float:
        return self._when

    def cancel(self) -> None:
        self._callback = None

    def run(self) -> None:
        if self._callback is not None:
            self._callback()


class Clock:
    """The time of all processes; what is due is called in its order."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = count()

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(when, callback)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while self._timers and self._timers[0][0] <= until:
            when, _, timer = heapq.heappop(self._timers)
            self.now = max(self.now, when)
            timer.run()
        self.now = until


class Process:
    """The event loop of a process. While it stands still, what is due waits, and is not read."""

    def __init__(self, clock: Clock) -> None:
        self.is_dead = False
        self.is_frozen = False
        self._clock = clock
        self._frozen_at = self._thawed_at = -1e9
        self._due: list[Timer] = []
        self._unread: list[Callable[[], None]] = []

    def time(self) -> float:
        return self._clock.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(self._clock.now + delay, callback)
        self._clock.call_at(timer.when(), partial(self._fire, timer))
        return timer

    def call_soon(self, callback: Callable[[], None]) -> Timer:
        return self.call_later(0.0, callback)

    def _fire(self, timer: Timer) -> None:
        if self.is_frozen:
            self._due.append(timer)
        elif not self.is_dead:
            timer.run()

    def read(self, callback: Callable[[], None]) -> None:
        """Have something arrive on its socket."""
        if self.is_frozen:
            self._unread.append(callback)
        elif not self.is_dead:
            callback()

    def freeze(self) -> None:
        """Have it stand still."""
        self.is_frozen = True
        self._frozen_at = self._clock.now

    def heard_until(self, seconds: float) -> float:
        """The time until which it has read all, if it needs so long after it stood still."""
        return self._frozen_at if self._clock.now < self._thawed_at + seconds else self._clock.now

    def thaw(self, *, timers_first: bool) -> None:
        """Let it go on: its timers fire, and its socket is read, or the other way round."""
        self.is_frozen = False
        self._thawed_at = self._clock.now
        due, self._due = self._due, []
        unread, self._unread = self._unread, []
        for part in (due, unread) if timers_first else (unread, due):
            for each in part:
                if self.is_dead:
                    return
                if isinstance(each, Timer):
                    each.run()
                else:
                    each()


class Listening(Protocol):
    """A pod, as the bus sees it."""

    id: str
    process: Process

    def received(self, pod_id: str, kind: str, content: bytes) -> None:
        """Take what a pod says, be it this one."""


class Link:
    """A pod's two connections to Redis."""

    def __init__(self) -> None:
        self.is_publishing = True
        self.is_subscribed = True
        self.stuck: list[Callable[[], None]] | None = None
        """What was said on a connection that is about to be replaced, and comes later."""


class Bus:
    """The Redis between pods."""

    def __init__(self, clock: Clock, random: Random) -> None:
        self.is_down = False
        self.loss = 0.0
        """The share of what is lost on the way to each pod."""
        self.lost: set[str] = set()
        """Kinds of words that no other pod gets."""
        self.delay = 0.05
        """The longest time that a word takes."""
        self.said: list[tuple[float, str, str]] = []
        """When each word was said, by whom, and its kind."""
        self.links: dict[str, Link] = {}
        self._pods: dict[str, Listening] = {}
        self._waiting: dict[str, list[Callable[[], None]]] | None = None
        self._clock = clock
        self._random = random
        self._arrival: dict[tuple[str, str], float] = {}

    def add(self, pod: Listening) -> None:
        self._pods[pod.id] = pod
        self.links[pod.id] = Link()

    def publish(self, sender: str, to: str | None, kind: str, content: bytes) -> None:
        """Carry a pod's words to one pod, or to all, itself included."""
        self.said.append((self._clock.now, sender, kind))
        link = self.links[sender]
        if self.is_down or not link.is_publishing:
            return
        pods = list(self._pods) if to is None else [to]
        if self._waiting is not None:
            self._waiting.setdefault(sender, []).append(
                partial(self._deliver, sender, pods, kind, content)
            )
        elif link.stuck is not None:
            link.stuck.append(partial(self._deliver, sender, pods, kind, content, late=True))
        else:
            self._deliver(sender, pods, kind, content)

    def _deliver(
        self, sender: str, pods: list[str], kind: str, content: bytes, *, late: bool = False
    ) -> None:
        for pod_id in pods:
            pod = self._pods.get(pod_id)
            if (
                pod is None
                or (kind in self.lost and pod_id != sender)
                or pod.process.is_dead
                or not self.links[pod_id].is_subscribed
                or self._random.random() < self.loss
            ):
                continue
            at = self._clock.now + self._random.random() * self.delay
            if not late:
                at = self._arrival[sender, pod_id] = max(
                    at, self._arrival.get((sender, pod_id), 0.0)
                )
            arrive = partial(pod.received, sender, kind, content)
            self._clock.call_at(at, partial(pod.process.read, arrive))

    def stall(self) -> None:
        """Have Redis read nothing that is said."""
        self._waiting = {}

    def go_on(self) -> None:
        """Have Redis read all that waits, of one pod after the other, in any order."""
        waiting, self._waiting = self._waiting or {}, None
        for sender in self._random.sample(list(waiting), len(waiting)):
            for word in waiting[sender]:
                word()

    def unstick(self, sender: str, seconds: float) -> None:
        """Replace a pod's stuck connection; what was said there comes within so many seconds."""
        link = self.links[sender]
        stuck, link.stuck = link.stuck, None
        times = sorted(self._random.random() * seconds for _ in stuck or ())
        for delay, word in zip(times, stuck or (), strict=True):
            self._clock.call_at(self._clock.now + delay, word)
