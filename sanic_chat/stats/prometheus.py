"""The metrics of a server, for Prometheus.

    entries (of `Board.collect`) ─→ the families of the server, of its processes, of its workers

May live here: the families of the server and of its processes, and the order of all. Must not know
where a value comes from, nor who asks.

Labels are `worker`, `reason`, `code`, `direction` and a histogram's `le`, none of which clients can
make more of, and `version` in `build_info`. What is known of a label before is told from the start
on, with 0: of a counter that appears with 1 nobody can tell that it has grown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from .board import Entry
from .exposition import OPENMETRICS_END, Family, Sample, labelled, single
from .metrics import MainMetrics, ProcessMetrics, WorkerMetrics
from .worker_families import OF_WORKERS

WORKER_ENDS = ("died", "hung", "not_made", "replaced", "stopped")


class Server(NamedTuple):
    """All processes of a server at one moment."""

    workers: int


def exposition(entries: Sequence[Entry], *, openmetrics: bool) -> Iterator[str]:
    """Yield the text of each family; together the pieces are what Prometheus reads."""
    metrics = [(entry.name, entry.metrics) for entry in entries]
    workers = [(name, one) for name, one in metrics if isinstance(one, WorkerMetrics)]
    main = [("", one) for _, one in metrics if isinstance(one, MainMetrics)]
    write = partial(_write, openmetrics=openmetrics)
    yield from write(OF_SERVER, [("", Server(len(workers)))])
    yield from write(OF_MAIN, main)
    yield from write(OF_ENTRIES, [(entry.name, entry) for entry in entries])
    yield from write(OF_PROCESSES, [(name, one.process) for name, one in metrics])
    yield from write(OF_WORKERS, workers)
    if openmetrics:
        yield OPENMETRICS_END


T = TypeVar("T")


def _write(
    families: Sequence[Family[T]], sources: Sequence[tuple[str, T]], *, openmetrics: bool
) -> Iterator[str]:
    for family in families:
        yield family.write(sources, openmetrics=openmetrics)


def _build(entry: Entry) -> Iterator[Sample]:
    yield Sample("", f',version="{entry.metrics.version}"', 1)


# -- the families ----------------------------------------------------------------------------------

OF_SERVER: tuple[Family[Server], ...] = (
    single(
        "workers",
        "gauge",
        "Workers that are told of here, draining ones included.",
        lambda server: server.workers,
    ),
)

OF_MAIN: tuple[Family[MainMetrics], ...] = (
    single(
        "workers_wanted",
        "gauge",
        "Workers that there should be.",
        lambda main: main.workers,
    ),
    labelled(
        "worker_ends",
        "counter",
        "Workers that have ended, or could not be made.",
        "reason",
        WORKER_ENDS,
        lambda main: main.worker_ends,
    ),
    single(
        "last_reload_refused",
        "gauge",
        "Whether the last reload was refused (1), and the workers go on as before it.",
        lambda main: main.last_reload_refused,
    ),
)

OF_ENTRIES: tuple[Family[Entry], ...] = (
    single(
        "snapshot_age_seconds",
        "gauge",
        "Time since the process wrote what is told of it: a second at most, unless it hangs.",
        lambda entry: entry.age,
    ),
    Family("build", "info", "The version of sanic_chat that the process runs.", _build),
)

OF_PROCESSES: tuple[Family[ProcessMetrics], ...] = (
    single("process_pid", "gauge", "The process ID, by which the log names it.", lambda it: it.pid),
    single(
        "process_start_time_seconds",
        "gauge",
        "The time at which the process began, since 1970.",
        lambda it: it.started_at,
    ),
    single(
        "process_cpu_seconds",
        "counter",
        "User and system CPU time.",
        lambda it: it.cpu_seconds,
    ),
    single(
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory.",
        lambda it: it.resident_bytes,
    ),
    single(
        "process_open_fds",
        "gauge",
        "Open file descriptors.",
        lambda it: it.open_descriptors,
    ),
    single(
        "process_max_fds",
        "gauge",
        "File descriptors that the process may have (soft limit).",
        lambda it: it.max_descriptors,
    ),
)

FAMILIES = (*OF_SERVER, *OF_MAIN, *OF_ENTRIES, *OF_PROCESSES, *OF_WORKERS)
"""All there are."""
