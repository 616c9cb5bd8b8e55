"""The reload: new workers, with settings, certificate and program as they are now, for the old.

    SIGHUP ─→ read settings ─→ Rehearsal ─→ a successor for each worker, one by one ─→ they serve
                     │             │                 │
                     └─────────────┴── an objection ─┴─→ the old workers go on as before
    they serve ─→ the old workers leave (Handover) ─→ over

It is a generator that the supervisor resumes between two looks at the workers, so that it never
meets them in another thread.

May live here: the order of a reload, and what is said of it. Must not know settings, nor how
workers are made, ended or restarted: that is `Crew`'s.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, Protocol

from ..errors import ConfigError
from ..logs.logger import logger
from .rehearsal import Rehearsal

START_SECONDS = 30.0
"""The time in which the program must be loaded, and each new worker be up."""


class NewSettings(NamedTuple):
    """Settings that a reload brings."""

    environment: Mapping[str, str]
    """The environment of workers with them."""
    apply: Callable[[], None]
    """Makes it the environment of what this process makes from now on."""
    undo: Callable[[], None]
    """Makes it again what it was."""
    accepted: Callable[[], None]
    """Is called when all workers have them."""


class Crew(Protocol):
    """The workers, each at a place that has a name, as a reload sees them."""

    def names(self) -> list[str]:
        """The names of all places."""

    def process(self, name: str) -> BaseProcess | None:
        """The newest process at a place; None if there is no such place any more."""

    def is_up(self, process: BaseProcess) -> bool:
        """Whether a process has ever served."""

    def succeed(self, name: str) -> None:
        """Have a new process made at a place, beside the old one."""

    def put_back(self, name: str, process: BaseProcess) -> None:
        """Make a process that was replaced that of its place again."""

    def before_next_start(self, call: Callable[[], None]) -> None:
        """Have something called before the next process is made, where that is done."""

    def tls(self) -> Any:
        """The certificates, as Sanic gives them to each worker."""

    def rehearse(self, environment: Mapping[str, str]) -> Rehearsal:
        """Try what a worker does first."""

    def anybody_leaves(self) -> bool:
        """Whether there are workers that have been replaced, and still live."""


class Refused(Exception):
    """A reload cannot be done; the text says why."""


class Reload:
    """Reloads when it is asked to, one reload at a time.

    `read` reads the settings, and the certificate that `Crew.tls` names; it raises ConfigError.
    """

    def __init__(self, crew: Crew, *, read: Callable[[Any], NewSettings]) -> None:
        self._crew = crew
        self._read = read
        self._wanted = threading.Event()
        self._steps: Generator[None] | None = None
        self._not_made: dict[str, str] = {}
        self.starting: str | None = None
        """The place whose new process is not up yet, and is nobody else's concern if it dies."""
        self.was_refused = False
        """Whether the last reload has changed nothing."""
        self.keeps_everybody = False
        """Whether workers that were replaced may be needed again."""

    def request(self) -> None:
        """Ask for a reload, in any thread; one that is under way is finished first."""
        is_under_way = self._steps is not None
        self._wanted.set()
        logger.info("Received SIGHUP: reloading%s", ", after this reload" * is_under_way)

    def not_made(self, name: str, error: str) -> None:
        """Note that the new process of a place could not be made."""
        self._not_made[name] = error

    def look(self) -> None:
        """Go on with a reload, or begin the one that was asked for."""
        if self._steps is None and self._wanted.is_set():
            self._wanted.clear()
            self._steps = self._run()
        if self._steps is not None and next(self._steps, self) is self:
            self._steps = None

    def close(self) -> None:
        """Give up a reload that is under way, as the server ends."""
        if self._steps is not None:
            self._steps.close()

    def _run(self) -> Generator[None]:
        began = time.monotonic()
        try:
            settings = self._read(self._crew.tls())
            logger.debug("Settings and certificate are in order; the program is tried")
            yield from self._rehearse(settings)
            yield from self._replace_all(settings)
            settings.accepted()
            self.was_refused = False
        except (ConfigError, Refused) as why:
            self.was_refused = True
            logger.error("The reload is refused, and the workers go on as before: %s", why)
        except Exception:
            self.was_refused = True
            logger.exception("The reload has failed, and the workers go on as before")
        else:
            logger.info("All new workers serve; the old ones leave, one after the other")
            yield
            while self._crew.anybody_leaves():
                yield
            logger.info("The reload is over, after %.1f s", time.monotonic() - began)

    def _rehearse(self, settings: NewSettings) -> Generator[None]:
        try:
            rehearsal = self._crew.rehearse(settings.environment)
        except OSError as error:
            raise Refused(f"no process can be made: {error}") from None
        try:
            while not rehearsal.is_over:
                yield
        finally:
            rehearsal.close()
        if rehearsal.problem is not None:
            raise Refused(rehearsal.problem)

    def _replace_all(self, settings: NewSettings) -> Generator[None]:
        replaced: dict[str, BaseProcess] = {}
        self.keeps_everybody = True
        self._crew.before_next_start(settings.apply)
        try:
            for name in self._crew.names():
                process = self._crew.process(name)
                if process is not None:
                    replaced[name] = process
                    yield from self._replace(name, process)
        except Exception:
            self._crew.before_next_start(settings.undo)
            for name, process in replaced.items():
                self._crew.put_back(name, process)
            raise
        finally:
            self.starting = None
            self.keeps_everybody = False

    def _replace(self, name: str, old: BaseProcess) -> Generator[None]:
        """Have a place's process succeeded; return once the new one is up. Raises Refused."""
        deadline = time.monotonic() + START_SECONDS
        self.starting = name
        self._not_made.pop(name, None)
        self._crew.succeed(name)
        while True:
            yield
            new = self._crew.process(name)
            if new is None:  # the server was scaled down meanwhile
                return
            if name in self._not_made:
                raise Refused(f"worker {name} cannot be made: {self._not_made[name]}")
            if new is not old and new.pid is not None:
                if self._crew.is_up(new):
                    return
                if new.exitcode is not None:
                    raise Refused(
                        f"worker {name} (PID {new.pid}) died with exit code {new.exitcode} while "
                        "it started; its own lines in the log say why"
                    )
            if time.monotonic() > deadline:
                if new is not old and new.pid is not None:
                    new.kill()
                raise Refused(f"worker {name} is not up within {START_SECONDS:g} s")
