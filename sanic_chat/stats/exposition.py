"""The text format in which Prometheus, and all that read as it does, are told of metrics.

    a family, its sources ─→ HELP, TYPE, and a line for each source and label

Both formats are written: Prometheus' text format 0.0.4, and OpenMetrics 1.0. They differ in the
head of a family, and in the last line.

May live here: the format, and the kinds of families. Must not know which families there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Generic, Literal, NamedTuple, TypeVar

from msgspec import UNSET, UnsetType

from .metrics import HistogramMetrics

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
OPENMETRICS_END = "# EOF\n"

PREFIX = "sanic_chat_"
UNITS = ("seconds", "bytes")

Kind = Literal["counter", "gauge", "histogram", "info"]
Value = int | float | UnsetType | None
"""A value; UNSET or None if the source does not tell it."""

S = TypeVar("S")


class Sample(NamedTuple):
    """A line of a family."""

    suffix: str
    """The part of its name behind that of the family."""
    labels: str
    """Each with a comma before it."""
    value: Value


class Family(NamedTuple, Generic[S]):
    """A metric of many sources."""

    name: str
    """Without the prefix, and without the end that a counter's and an info's samples have."""
    kind: Kind
    help: str
    """One line, with neither a backslash nor a quotation mark in it."""
    samples: Callable[[S], Iterator[Sample]]

    @property
    def sample_name(self) -> str:
        """The name of its samples, but for a histogram's suffixes."""
        return PREFIX + self.name + {"counter": "_total", "info": "_info"}.get(self.kind, "")

    def write(self, sources: Sequence[tuple[str, S]], *, openmetrics: bool) -> str:
        """Write the family, with the samples of each source under its name as label `worker`.

        A source without a name has none. It is nothing at all if there is no sample.
        """
        lines = []
        for worker, source in sources:
            for suffix, labels, value in self.samples(source):
                if value is not None and value is not UNSET:
                    named = f'worker="{worker}"{labels}' if worker else labels[1:]
                    labelled = f"{{{named}}}" if named else ""
                    lines.append(f"{self.sample_name}{suffix}{labelled} {_number(value)}\n")
        return self._head(openmetrics=openmetrics) + "".join(lines) if lines else ""

    def _head(self, *, openmetrics: bool) -> str:
        name, kind = PREFIX + self.name, self.kind
        if not openmetrics:
            name, kind = self.sample_name, "gauge" if kind == "info" else kind
        head = f"# HELP {name} {self.help}\n# TYPE {name} {kind}\n"
        unit = name.rpartition("_")[2]
        return f"{head}# UNIT {name} {unit}\n" if openmetrics and unit in UNITS else head


def _number(value: object) -> str:
    if isinstance(value, float):
        return "+Inf" if value == math.inf else repr(value)
    return str(int(value)) if isinstance(value, int) else "NaN"


def single(name: str, kind: Kind, help: str, read: Callable[[S], Value]) -> Family[S]:
    """Make a family of one sample for each source."""

    def samples(source: S) -> Iterator[Sample]:
        yield Sample("", "", read(source))

    return Family(name, kind, help, samples)


def labelled(
    name: str,
    kind: Kind,
    help: str,
    label: str,
    known: Sequence[str],
    read: Callable[[S], Mapping[str, Value] | UnsetType],
) -> Family[S]:
    """Make a family of a sample for each value of a label: 0 for each that is `known`, at least."""
    zeros: dict[str, Value] = dict.fromkeys(known, 0)

    def samples(source: S) -> Iterator[Sample]:
        values = read(source)
        if not isinstance(values, UnsetType):
            for key, value in {**zeros, **values}.items():
                yield Sample("", f',{label}="{key}"', value)

    return Family(name, kind, help, samples)


def histogram(name: str, help: str, read: Callable[[S], HistogramMetrics | None]) -> Family[S]:
    """Make a family of histograms, one for each source."""

    def samples(source: S) -> Iterator[Sample]:
        values = read(source)
        if values is not None:
            total = 0
            bounds = (*values.bounds, math.inf)
            for bound, total in zip(bounds, accumulate(values.counts), strict=True):
                yield Sample("_bucket", f',le="{_number(bound)}"', total)
            yield Sample("_sum", "", values.sum)
            yield Sample("_count", "", total)

    return Family(name, "histogram", help, samples)
