"""Measures connections themselves: what idle ones weigh, what a new one costs, a storm of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.harness import RedisProcess

from ..load.check import Faults
from ..load.client import Client
from ..load.crowd import CannotMeasure, connect_all, make_clients, must_open
from ..load.loop import Loop
from ..results.result import Latency, Result
from ..scenarios import Connects, Idle, Storm
from .meter import Meter
from .processes import resident_bytes
from .servers import Server

WARM_UP_CONNECTIONS = 200
"""Opened and closed before the first look: what they grow is the process's, not a connection's."""

STORM_SECONDS = 20.0
"""Clients that are not back by then have given up."""

PROBE_SECONDS = 10.0


def measure_idle(scenario: Idle, server: Server, *, loop: Loop, redis: RedisProcess) -> Result:
    """Memory of connections, in rooms of 50, that are open and silent.

    The server must be a new one. Raises CannotMeasure if it takes no more memory than before.
    """
    _warm_up(loop, server, scenario.settle)
    before = resident_bytes(server.pids)
    with _clients(loop, server, scenario.connections, per_room=50) as clients:
        meter = Meter(server, redis)
        failed = connect_all(loop, clients)
        loop.run(time.monotonic() + 2 * scenario.settle)
        meter.stop()
        grown = resident_bytes(server.pids) - before
        if grown <= 0:
            raise CannotMeasure(
                f"{scenario.connections} connections take no memory that it had not"
            )
        return _result(
            scenario,
            server,
            meter,
            clients,
            failed,
            kib_per_connection=grown / scenario.connections / 1024,
        )


def measure_connects(
    scenario: Connects, server: Server, *, loop: Loop, redis: RedisProcess
) -> Result:
    """Time and CPU of handshakes, in rooms of 20; the latency is that of one, from SYN to 101."""
    _warm_up(loop, server, scenario.settle)
    with _clients(loop, server, scenario.connections, per_room=20) as clients:
        return _connect(scenario, server, loop, redis, clients, scenario.in_flight)


def measure_storm(scenario: Storm, server: Server, *, loop: Loop, redis: RedisProcess) -> Result:
    """Cut all connections at once and open as many at once; then each room must work."""
    with _clients(loop, server, scenario.connections, per_room=scenario.members) as clients:
        must_open(loop, clients)
    with _clients(loop, server, scenario.connections, per_room=scenario.members) as clients:
        result = _connect(scenario, server, loop, redis, clients, len(clients))
        _prove_rooms_work(loop, clients, result.faults)
        return result


def _connect(
    scenario: Connects | Storm,
    server: Server,
    loop: Loop,
    redis: RedisProcess,
    clients: list[Client],
    in_flight: int,
) -> Result:
    meter = Meter(server, redis)
    failed = connect_all(loop, clients, in_flight=in_flight, seconds=STORM_SECONDS)
    meter.stop()
    result = _result(scenario, server, meter, clients, failed)
    result.latency = Latency.of([c.opened_ns - c.began_ns for c in clients if c.is_open])
    return result


def _prove_rooms_work(loop: Loop, clients: list[Client], faults: Faults) -> None:
    """One message in each room has to reach all its members; who lacks it has lost it."""
    senders = {client.room: client for client in clients if client.is_open}
    for sender in senders.values():
        sender.prepare_to_send(64)
        sender.probe()
    loop.run(
        time.monotonic() + PROBE_SECONDS, done=lambda: all(c.texts for c in clients if c.is_open)
    )
    faults.lost += sum(1 for client in clients if client.is_open and not client.texts)
    faults.duplicated += sum(max(0, len(client.texts) - 1) for client in clients)


def _warm_up(loop: Loop, server: Server, settle: float) -> None:
    with _clients(loop, server, WARM_UP_CONNECTIONS, per_room=20) as clients:
        must_open(loop, clients)
    time.sleep(settle)


@contextmanager
def _clients(loop: Loop, server: Server, count: int, *, per_room: int) -> Iterator[list[Client]]:
    """Clients that are not connected yet, and closed at the end."""
    clients = make_clients(loop, server, range(count), per_room=per_room)
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


def _result(
    scenario: Idle | Connects | Storm,
    server: Server,
    meter: Meter,
    clients: list[Client],
    failed: list[Client],
    kib_per_connection: float | None = None,
) -> Result:
    opened = sum(client.is_open for client in clients)
    return Result(
        scenario=scenario.name,
        system=server.system.name,
        kib_per_connection=kib_per_connection,
        faults=Faults(closed=len(clients) - opened),
        note=failed[0].failure[:80] if failed else "",
        **meter.figures(opened),
    )
