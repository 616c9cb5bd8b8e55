"""Results as pictures, PNG or SVG by the file's name. The only module that knows matplotlib."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..scenarios import SCENARIOS
from ..systems import title
from .fit import Line
from .result import Result

Summary = dict[str, dict[str, Result]]

_PANELS: tuple[tuple[str, Callable[[Result], float | None]], ...] = (
    ("events per second", lambda result: result.rate),
    ("server CPU, µs per event", lambda result: result.cpu_us),
    ("latency, p99, ms", lambda result: result.latency.p99 if result.latency else None),
    ("server memory, MiB", lambda result: result.server_mib),
)


def draw_summary(summary: Summary, path: Path) -> None:
    """Draw throughput, CPU, latency and memory of every scenario and system, side by side."""
    systems = list(dict.fromkeys(system for by_system in summary.values() for system in by_system))
    height = 1.2 + len(summary) * (0.25 + 0.16 * len(systems))
    figure = Figure(figsize=(15, height), layout="constrained")
    axes = figure.subplots(1, len(_PANELS), sharey=True)
    for each, (label, value) in zip(axes, _PANELS, strict=True):
        _bars(each, summary, systems, label, value)
    axes[0].set_yticks(range(len(summary)), [_scenario_title(name) for name in summary])
    axes[0].invert_yaxis()
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(systems)
    )
    _save(figure, path)


def _bars(
    axes: Axes,
    summary: Summary,
    systems: list[str],
    label: str,
    value: Callable[[Result], float | None],
) -> None:
    thickness = 0.8 / len(systems)
    for index, system in enumerate(systems):
        places, widths = [], []
        for place, by_system in enumerate(summary.values()):
            width = value(by_system[system]) if system in by_system else None
            if width:
                places.append(place - 0.4 + (index + 0.5) * thickness)
                widths.append(width)
        bars = axes.barh(places, widths, thickness * 0.9, label=title(system))
        axes.bar_label(bars, [_short(width) for width in widths], padding=2, fontsize=7)
    axes.set_title(label, fontsize=10)
    if "memory" not in label:
        axes.set_xscale("log")
    axes.margins(x=0.25)
    axes.grid(axis="x", alpha=0.3)
    axes.tick_params(labelsize=8)


def draw_line(
    points: dict[str, list[tuple[float, float]]],
    lines: dict[str, Line],
    path: Path,
    *,
    heading: str,
    x: str,
    y: str,
    logarithmic: bool = False,
) -> None:
    """Draw measured points, and the line that was fitted to each series."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for (name, series), colour in zip(points.items(), ("C0", "C1", "C2"), strict=False):
        xs = [at for at, _ in series]
        axes.scatter(xs, [value for _, value in series], color=colour, zorder=3)
        line = lines[name]
        axes.plot(xs, [line.at(at) for at in xs], color=colour, label=f"{name}: {line}")
    axes.set_title(heading)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if logarithmic:
        axes.set_xscale("log")
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)


def draw_histograms(
    series: dict[str, list[float]], path: Path, *, bucket: float, x: str, y: str
) -> None:
    """Draw how many values of each series are in each bucket, side by side."""
    figure = Figure(figsize=(5 * len(series), 3.2), layout="constrained")
    axes = figure.subplots(1, len(series), sharex=True, squeeze=False)[0]
    for each, (name, values) in zip(axes, series.items(), strict=True):
        counts = Counter(int(value / bucket) for value in values)
        each.bar(
            [index * bucket for index in counts], counts.values(), width=0.9 * bucket, align="edge"
        )
        each.set_title(name, fontsize=10)
        each.set_xlabel(x)
        each.set_xlim(left=0)
        each.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel(y)
    _save(figure, path)


def _scenario_title(name: str) -> str:
    scenario = SCENARIOS.get(name)
    return (scenario.title if scenario else name).replace(", ", ",\n", 1)


def _short(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    if value >= 1e3:
        return f"{value / 1e3:.3g} k"
    return f"{value:.3g}"


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Text stays text, which keeps the file small; the same figures give the same bytes.
    metadata = {"Date": None} if path.suffix == ".svg" else {}
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "sanic_chat"}):
        figure.savefig(path, dpi=150, metadata=metadata)
