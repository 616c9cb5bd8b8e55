"""Runs scenarios against systems, round by round, in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager

from tests.support.harness import RedisProcess

from ..load.check import Faults
from ..load.crowd import CannotMeasure
from ..load.loop import Loop
from ..results.result import Result
from ..scenarios import Connects, Fanout, Idle, Mixed, Scenario, Storm
from ..systems import SEND_PRICE, System
from . import connections
from .fanout import FanoutRound
from .mixed import MixedRound
from .processes import allow_descriptors, settle_on_load_core
from .servers import Server, Servers, wait_until_quiet

SPARE_DESCRIPTORS = 500

Progress = Callable[[str], None]
"""Told what is measured now."""


class Bench:
    """A Redis and the load's loop, both on the load's core."""

    def __init__(self, redis: RedisProcess, loop: Loop) -> None:
        self.redis = redis
        self.loop = loop

    @contextmanager
    def server(
        self,
        system: System,
        *,
        workers: int = 1,
        options: tuple[str, ...] = (),
        settings: Mapping[str, str] | None = None,
    ) -> Iterator[Server]:
        """A server that is ready, and killed in the end."""
        server = Server(
            system, redis_url=self.redis.url, workers=workers, options=options, settings=settings
        )
        with closing(server):
            server.wait_ready()
            yield server

    def measure(self, scenario: Scenario, server: Server, *, seconds: float) -> Result:
        """One round. What cannot be measured comes back as faults, with a note that says why."""
        try:
            return self._measure(scenario, server, seconds)
        except CannotMeasure as reason:
            return Result(
                scenario=scenario.name, system=server.system.name, seconds=1, events=0,
                cpu_us=0, server_cpu=0, load_cpu=0, redis_cpu=0, others_cpu=0,
                redis_commands=0, redis_bytes_in=0, redis_bytes_out=0, server_mib=0,
                faults=Faults(closed=1), note=str(reason),
            )  # fmt: skip

    def _measure(self, scenario: Scenario, server: Server, seconds: float) -> Result:
        loop, redis = self.loop, self.redis
        match scenario:
            case Fanout():
                return FanoutRound(scenario, server, loop).measure(redis, seconds)
            case Mixed():
                return MixedRound(scenario, server, loop).measure(redis, seconds)
            case Idle():
                # Of memory that others have left free, new connections seem to take nothing.
                with self.server(server.system) as fresh:
                    return connections.measure_idle(scenario, fresh, loop=loop, redis=redis)
            case Connects():
                return connections.measure_connects(scenario, server, loop=loop, redis=redis)
            case Storm():
                return connections.measure_storm(scenario, server, loop=loop, redis=redis)


@contextmanager
def bench() -> Iterator[Bench]:
    """Take the load's core, and start Redis on it."""
    settle_on_load_core()
    with closing(RedisProcess()) as redis, closing(Loop()) as loop:
        redis.start()
        yield Bench(redis, loop)


def measure_all(
    scenarios: Iterable[Scenario],
    systems: list[System],
    *,
    rounds: int,
    seconds: float,
    keep_servers: bool,
    on_start: Progress,
    tick: Callable[[], None],
) -> Iterator[Result]:
    """Every scenario with every system; systems take turns within a scenario.

    All servers of a scenario run side by side, and only one of them is under load; the next
    scenario gets new ones, unless `keep_servers`. `on_start` is told what comes next, `tick` is
    called four times a second meanwhile.
    """
    with bench() as the_bench, closing(Servers(the_bench.redis.url)) as all_servers:
        _call_regularly(the_bench.loop, tick)
        for scenario in scenarios:
            allow_descriptors(scenario.connections + SPARE_DESCRIPTORS)
            servers = all_servers.get(
                taking_part(scenario, systems), workers=getattr(scenario, "workers", 1)
            )
            for number in range(rounds_of(scenario, rounds)):
                for server in servers:
                    on_start(f"{scenario.name} · {server.system.name} · {number + 1}")
                    wait_until_quiet(servers)
                    yield the_bench.measure(scenario, server, seconds=seconds)
            if not keep_servers:
                all_servers.close()


def taking_part(scenario: Scenario, systems: list[System]) -> list[System]:
    """The systems, and with them the floor where that is of interest.

    Those that know no commands stay out of what is mixed.
    """
    if isinstance(scenario, Mixed):
        return [system for system in systems if system.is_sanic_chat]
    wants_floor = isinstance(scenario, Fanout) and scenario.floor
    return [*systems, SEND_PRICE] if wants_floor else systems


def rounds_of(scenario: Scenario, rounds: int) -> int:
    """The number of rounds of a scenario: one if it is long, and the same every time."""
    return 1 if isinstance(scenario, Idle | Storm) else rounds


def _call_regularly(loop: Loop, tick: Callable[[], None]) -> None:
    def again() -> None:
        tick()
        loop.call_at(time.monotonic() + 0.25, again)

    again()
