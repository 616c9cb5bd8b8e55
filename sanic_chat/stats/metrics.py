"""The metrics of one process, as it leaves them for whichever worker of its server is asked.

    WorkerMetrics, MainMetrics ─→ encode_metrics ─→ bytes in shared memory ─→ parse_metrics

May live here: their shape. Must not know where they are kept, nor how they are shown.

After a reload a server may have workers of two versions: a field that is not known is ignored, and
one that is added later needs a default.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from ..errors import BadReport
from .histogram import Histogram
from .report import Count, PodReport


class HistogramMetrics(Struct, array_like=True):
    """A histogram at one moment: see `Histogram`."""

    bounds: tuple[float, ...]
    counts: tuple[Count, ...]
    sum: float

    @classmethod
    def of(cls, histogram: Histogram) -> HistogramMetrics:
        """The values of a histogram, as they are now."""
        return cls(histogram.bounds, tuple(histogram.counts), histogram.sum)


class ProcessMetrics(Struct, kw_only=True):
    """The use that a process makes of the machine. None: the system does not tell."""

    pid: int
    started_at: float
    cpu_seconds: float
    resident_bytes: int | None = None
    open_descriptors: int | None = None
    max_descriptors: int | None = None


class WorkerMetrics(Struct, kw_only=True, tag="worker"):
    """All that a worker tells: the report of its pod, and what only metrics have."""

    version: str
    process: ProcessMetrics
    report: PodReport
    unready: str | None
    """The code of the reason why the pod is not ready; None: it is."""
    serving_since: float | None = None
    """The moment (`time.monotonic()`) from which on it takes new clients; None: it does not."""
    is_away: bool
    """Whether other pods are not reached for certain."""
    fan_outs: Count
    closes: dict[str, dict[str, Count]]
    """The ended sessions, by who ended them and by close code."""
    reconnects: dict[str, Count]
    """The connections to Redis that were built anew, by direction."""
    descriptor_shortages: Count
    histograms: dict[str, HistogramMetrics]


class MainMetrics(Struct, kw_only=True, tag="main"):
    """All that the main process tells."""

    version: str
    process: ProcessMetrics
    workers: Count
    """The workers that there should be."""
    worker_ends: dict[str, Count]
    """The ends of workers, by reason."""
    last_reload_refused: bool = False
    """Whether the workers go on with what they had before the last reload."""


Metrics = WorkerMetrics | MainMetrics

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Metrics)


def encode_metrics(metrics: Metrics) -> bytes:
    """Encode metrics for another process: 2 to 4 KiB for a worker."""
    return _encoder.encode(metrics)


def parse_metrics(content: bytes) -> Metrics:
    """Read metrics of another process. Raises BadReport for those of another version, maybe."""
    try:
        metrics: Metrics = _decoder.decode(content)
        return metrics
    except msgspec.DecodeError as error:
        raise BadReport(str(error)) from None
