"""Makes many connections, and spreads them over rooms and workers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from .client import Client
from .loop import Loop
from .wire import PLAIN, Wire
from .workers import socket_owners

OPEN_SECONDS = 60.0
"""All connections of one go are there by then, or have failed."""

SPREAD_ATTEMPTS = 100

OnOpen = Callable[[Client], None]


class Target(Protocol):
    """The server under load."""

    wire: Wire
    ports: list[int]
    """One that all workers share, or one of each worker."""
    pids: list[int]
    """The workers' processes."""


class CannotMeasure(Exception):
    """The server under load does not do what is needed to measure it; says what."""


def connect_all(
    loop: Loop,
    clients: Iterable[Client],
    *,
    in_flight: int = 100,
    seconds: float = OPEN_SECONDS,
) -> list[Client]:
    """Open them, that many handshakes at a time; returns those that failed, with their failure.

    What is not open after that many seconds is closed and counts as failed.
    """
    waiting = iter(clients)
    busy: set[Client] = set()
    failed: list[Client] = []

    def next_one() -> None:
        client = next(waiting, None)
        if client is not None:
            busy.add(client)
            client.on_open, client.on_close = opened, lost
            client.connect()

    def opened(client: Client) -> None:
        client.on_open = client.on_close = None
        busy.discard(client)
        next_one()

    def lost(client: Client) -> None:
        failed.append(client)
        opened(client)

    for _ in range(in_flight):
        next_one()
    if not loop.run(time.monotonic() + seconds, done=lambda: not busy):
        late = list(busy)
        waiting = iter(())
        for client in late:
            client.close(f"not open after {seconds:g} s")
        failed += late
    return failed


def must_open(loop: Loop, clients: list[Client]) -> None:
    """Connect them all. Raises CannotMeasure if one fails, and then closes the others."""
    failed = connect_all(loop, clients)
    if failed:
        for client in clients:
            client.close()
        raise CannotMeasure(f"{len(failed)} connections failed, one with: {failed[0].failure}")


def open_rooms(loop: Loop, server: Target, *, rooms: int, members: int) -> list[Client]:
    """`members` clients in each room, room by room; the same number of each on every worker.

    Raises CannotMeasure if a connection fails, or the workers cannot be filled evenly.
    """
    if len(server.pids) == 1 or len(server.ports) > 1:
        clients = make_clients(loop, server, range(rooms * members), per_room=members)
        must_open(loop, clients)
        return clients
    return _open_spread(loop, server, rooms, members)


def make_clients(
    loop: Loop, server: Target, numbers: Iterable[int], *, per_room: int
) -> list[Client]:
    """Clients with these numbers, room by room; they are not connected yet."""
    return [_client(loop, server, number=number, room=number // per_room) for number in numbers]


def open_room(loop: Loop, port: int, *, room: int, count: int, wire: Wire = PLAIN) -> list[Client]:
    """So many clients in one room. Raises CannotMeasure if a connection fails."""
    clients = [Client(loop, wire, port=port, room=room, number=number) for number in range(count)]
    must_open(loop, clients)
    return clients


def _open_spread(loop: Loop, server: Target, rooms: int, members: int) -> list[Client]:
    """Workers share a port: connect until each has its members of each room, drop the others."""
    (port,) = server.ports
    share = members // len(server.pids)
    taken: dict[int, list[Client]] = {room: [] for room in range(rooms)}
    number = 0
    for _ in range(SPREAD_ATTEMPTS):
        candidates = []
        for room, kept in taken.items():
            for _ in range(share * len(server.pids) - len(kept)):
                candidates.append(_client(loop, server, number=number, room=room))
                number += 1
        if not candidates:
            # Workers take turns, so that the first members, who send, are on all of them.
            return [c for kept in taken.values() for c in _alternating(kept)]
        must_open(loop, candidates)
        owners = socket_owners(port, server.pids)
        for client in candidates:
            client.worker = server.pids.index(owners[client.port])
            on_worker = Counter(kept.worker for kept in taken[client.room])
            if on_worker[client.worker] < share:
                taken[client.room].append(client)
            else:
                client.close()
    raise CannotMeasure(f"{SPREAD_ATTEMPTS} attempts did not fill the workers evenly")


def _alternating(clients: list[Client]) -> list[Client]:
    seen: Counter[int] = Counter()
    order = {}
    for client in clients:
        order[client] = (seen[client.worker], client.worker)
        seen[client.worker] += 1
    return sorted(clients, key=order.__getitem__)


def _client(loop: Loop, server: Target, *, number: int, room: int) -> Client:
    worker = number % len(server.ports)
    client = Client(loop, server.wire, port=server.ports[worker], room=room, number=number)
    client.worker = worker
    return client
