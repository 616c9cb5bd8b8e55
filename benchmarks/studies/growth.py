"""How sanic_chat's cost grows: with a room's size, with connections, with rooms and with pods.

    python -m benchmarks.studies.growth --directory results

Prints each line that fits the measured points, and what it says for a million connections; draws
one picture each.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from tqdm import tqdm

from ..load.client import Client
from ..load.crowd import make_clients, must_open, open_rooms
from ..measure.fanout import FanoutRound
from ..measure.processes import allow_descriptors, resident_bytes
from ..measure.rounds import SPARE_DESCRIPTORS, Bench, bench
from ..measure.servers import Server
from ..results.files import machine
from ..results.fit import Line
from ..results.picture import draw_line
from ..results.result import Result
from ..scenarios import Fanout
from ..systems import SYSTEMS

ROOM_SIZES = (2, 5, 10, 20, 50, 100, 200, 500, 1000)
CONNECTIONS = (500, 1000, 2500, 5000, 7500, 10_000)
ROOMS = (25, 50, 100, 200, 400)
PODS = (1, 2, 3, 4)
MESSAGES_PER_POD = 50
MESSAGES = 200

MILLION = 1_000_000
CONNECTIONS_PER_POD = 50_000
"""The predictions assume as many: twenty pods for a million."""

OURS = SYSTEMS["sanic_chat"]

Points = list[tuple[float, float]]


def _fanout(the_bench: Bench, server: Server, seconds: float, **options: int | float) -> Result:
    scenario = Fanout("growth", "", senders=1, checked=1, **options)  # type: ignore[arg-type]
    return FanoutRound(scenario, server, the_bench.loop).measure(the_bench.redis, seconds)


def cpu_against_room_size(the_bench: Bench, seconds: float) -> dict[str, Points]:
    """Server CPU per message, one sender, closed loop."""
    points: Points = []
    with the_bench.server(OURS) as server:
        for size in _shown("room size", ROOM_SIZES):
            result = _fanout(the_bench, server, seconds, rooms=1, members=size)
            points.append((size, result.cpu_us * size))
    return {"µs per message": points}


def memory_against_connections(the_bench: Bench) -> dict[str, Points]:
    """Resident memory of one worker, with silent connections in rooms of 50."""
    points: Points = []
    with the_bench.server(OURS) as server:
        # What the first connections grow is the process's.
        for client in open_rooms(the_bench.loop, server, rooms=CONNECTIONS[-1] // 50, members=1):
            client.close()
        clients: list[Client] = []
        for count in _shown("connections", CONNECTIONS):
            more = make_clients(the_bench.loop, server, range(len(clients), count), per_room=50)
            must_open(the_bench.loop, more)
            clients += more
            the_bench.loop.run(time.monotonic() + 1)
            points.append((count, resident_bytes(server.pids) / 2**20))
        for client in clients:
            client.close()
    return {"MiB": points}


def redis_against_rooms(the_bench: Bench, seconds: float) -> dict[str, Points]:
    """Redis traffic of one pod, at the same messages per second in more and more rooms of 2."""
    results = []
    for rooms in _shown("rooms", ROOMS):
        with the_bench.server(OURS) as server:
            result = _fanout(the_bench, server, seconds, rooms=rooms, members=2, rate=MESSAGES)
        results.append((rooms, 1, result))
    return _traffic(results)


def redis_against_pods(the_bench: Bench, seconds: float) -> dict[str, Points]:
    """Redis traffic per pod, when each pod says as much and has members in all rooms."""
    results = []
    for pods in _shown("pods", PODS):
        with the_bench.server(OURS, workers=pods) as server:
            result = _fanout(
                the_bench, server, seconds,
                rooms=10, members=2 * pods, rate=MESSAGES_PER_POD * pods, workers=pods,
            )  # fmt: skip
        results.append((pods, pods, result))
    return _traffic(results)


def _traffic(results: list[tuple[int, int, Result]]) -> dict[str, Points]:
    """The traffic of one pod; each result comes with its x and how many pods there were."""
    return {
        "commands/s": [(x, r.redis_commands / pods) for x, pods, r in results],
        "KB/s to Redis": [(x, r.redis_bytes_in / pods / 1000) for x, pods, r in results],
        "KB/s from Redis": [(x, r.redis_bytes_out / pods / 1000) for x, pods, r in results],
    }


def _shown(what: str, values: Iterable[int]) -> Iterator[int]:
    yield from tqdm(values, desc=what, disable=None, leave=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="per point, at most 10")
    parser.add_argument("--directory", type=Path, default=Path("results"))
    options = parser.parse_args()
    allow_descriptors(CONNECTIONS[-1] + SPARE_DESCRIPTORS)
    with bench() as the_bench:
        measured = {
            "room_size": cpu_against_room_size(the_bench, options.seconds),
            "connections": memory_against_connections(the_bench),
            "rooms": redis_against_rooms(the_bench, options.seconds),
            "pods": redis_against_pods(the_bench, options.seconds),
        }
    lines = {
        name: {series: Line.through(points) for series, points in by_series.items()}
        for name, by_series in measured.items()
    }
    _draw(measured, lines, options.directory)
    for name, by_series in lines.items():
        for series, line in by_series.items():
            print(f"- {name}: {series} = {line}")
    print()
    print("\n".join(_predictions(lines)))
    data = {"machine": machine(), "points": measured}
    (options.directory / "growth.json").write_text(json.dumps(data, indent=1))


def _draw(
    measured: dict[str, dict[str, Points]], lines: dict[str, dict[str, Line]], directory: Path
) -> None:
    labels = {
        "room_size": ("CPU per message against room size", "members", "µs of server CPU"),
        "connections": ("Memory against connections", "connections of a worker", "MiB"),
        "rooms": (f"Redis traffic of a pod, {MESSAGES} messages/s", "rooms", "per second"),
        "pods": (
            f"Redis traffic per pod, {MESSAGES_PER_POD} messages/s of each, rooms on all pods",
            "pods",
            "per second",
        ),
    }
    for name, (heading, x, y) in labels.items():
        draw_line(
            measured[name],
            lines[name],
            directory / f"growth_{name}.svg",
            heading=heading,
            x=x,
            y=y,
            logarithmic=name == "room_size",
        )


def _predictions(lines: dict[str, dict[str, Line]]) -> Iterator[str]:
    """Yield what the lines say for a million connections."""
    pods = MILLION // CONNECTIONS_PER_POD
    cpu = lines["room_size"]["µs per message"]
    memory = lines["connections"]["MiB"]
    heard = lines["pods"]["KB/s from Redis"]
    said = lines["pods"]["KB/s to Redis"]
    yield (
        f"- A message costs {cpu.base:.0f} µs, and {cpu.slope:.1f} µs for each member: a core that "
        f"writes every delivery by itself makes {1e6 / cpu.slope:,.0f} of them per second."
    )
    one_pod = memory.at(CONNECTIONS_PER_POD)
    yield (
        f"- {CONNECTIONS_PER_POD:,} idle connections take {one_pod:,.0f} MiB in a pod; a million "
        f"in {pods} pods take {one_pod * pods / 1024:.1f} GiB."
    )
    yield (
        f"- With {pods} pods that say {MESSAGES_PER_POD} messages/s each, in rooms that have "
        f"members on every pod, each pod sends {said.at(pods):,.0f} KB/s to Redis and gets "
        f"{heard.at(pods):,.0f} KB/s; Redis writes {heard.at(pods) * pods / 1000:,.1f} MB/s in all."
    )


if __name__ == "__main__":
    main()
